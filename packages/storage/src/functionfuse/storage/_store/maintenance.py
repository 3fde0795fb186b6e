"""Check what is stored, and collect what nothing refers to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from functionfuse.errors import CorruptRecord, OptionError, StorageError, UnsupportedRecord

from .transport import Absent

if TYPE_CHECKING:
    from .._record.format import Footer
    from .lookup import Records
    from .transport import Transport

_DAY = 86400.0
_TRIES = 3


def check_workflow(records: Records, workflow: str, pattern: str) -> list[tuple[str, str]]:
    """Return the names of damaged results, each with what is wrong.

    A result whose very name cannot be read any more goes by its file name.

    Args:
        records: of the store.
        workflow: name of the workflow.
        pattern: a glob over names.
    """
    problems = []
    for name, stem in records.listed(workflow, pattern):
        try:
            problem = _problem(records, workflow, name) if name else "its footer cannot be read"
        except Absent:
            continue  # removed meanwhile
        if problem:
            problems.append((name or stem, problem))
    return sorted(problems)


def collect(records: Records, workflow: str, grace: float) -> list[str]:
    """Delete unreferenced blobs and what writers that have ended left; return the names of what was deleted.

    Args:
        records: of the store.
        workflow: name of the workflow.
        grace: seconds for which it is kept.

    Raises:
        OptionError: `grace` is no number of seconds.
    """
    if not isinstance(grace, (int, float)) or not grace >= 0:
        raise OptionError(f"grace must be 0 seconds or more, got {grace!r}")
    transport, folder = records.transport, records.encode(workflow)
    # The order matters. A blob is listed before its writer is looked for, and its writer before its record:
    # so whoever wrote a blob that is listed here is still seen writing, or its record is seen.
    ages = transport.blob_ages(folder)
    limit = max(grace, _DAY) if transport.is_writing(folder) else grace
    referenced = _referenced(records, folder) if ages else set()
    unreferenced = []
    if referenced is not None:
        unreferenced = [blob for blob, age in ages if age >= limit and blob not in referenced]
        transport.remove_blobs(folder, unreferenced)
    return sorted(unreferenced) + sorted(transport.sweep(folder, grace))


def _problem(records: Records, workflow: str, name: str) -> str:
    """Return what is wrong with a result; nothing when it is sound, or replaced faster than checked."""
    for _ in range(_TRIES):
        try:
            _, footer = records.whole(workflow, name)
        except StorageError as error:
            return str(error)
        try:
            return _check_blobs(records.transport, records.encode(workflow), footer)
        except CorruptRecord as error:
            if _is_stored(records, workflow, name, footer):
                return str(error)
    return ""


def _check_blobs(transport: Transport, folder: str, footer: Footer) -> str:
    """Return what is wrong with the blobs of a record."""
    blobs = transport.blobs(folder)
    for blob in footer["blobs"]:
        size = blobs.size(blob["id"])
        if size != blob["size"]:
            return f"blob {blob['id']!r} has {size} bytes, {blob['size']} were written"
    return ""


def _is_stored(records: Records, workflow: str, name: str, footer: Footer) -> bool:
    """Return True if a record is still there; if not, its blobs went with it."""
    now = records.find(workflow, name)
    return now is not None and now["blobs"] == footer["blobs"]


def _referenced(records: Records, folder: str) -> set[str] | None:
    """Return the blobs that records refer to; None when a record cannot be read."""
    referenced: set[str] = set()
    for stem in records.transport.stems(folder):
        try:
            footer = records.footer_at(folder, stem, None)
        except Absent:
            continue
        except (CorruptRecord, UnsupportedRecord):
            return None
        referenced.update(blob["id"] for blob in footer["blobs"])
    return referenced
