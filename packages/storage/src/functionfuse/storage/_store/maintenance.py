"""Check what is stored, and collect what nothing refers to."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from functionfuse.errors import CorruptRecord, StorageError, UnsupportedRecord

from .collecting import Collected
from .layout import RESULTS
from .transport import Absent

if TYPE_CHECKING:
    from collections.abc import Iterable, Set

    from .._record.format import Footer
    from .collecting import ResultCollector
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


def collect(
    records: Records, folders: Iterable[str], results: ResultCollector, grace: float, *, dry_run: bool
) -> Collected:
    """Remove results that are not kept, unreferenced blobs, and what writers that have ended left.

    Args:
        records: of the store.
        folders: encoded names of the workflows whose blobs and leftovers are removed, beside those of results.
        results: which results are removed.
        grace: seconds for which blobs and leftovers are kept.
        dry_run: remove nothing.
    """
    removals = results.collect()
    gone = {stem for removal in removals for stem in removal.uses}
    leftovers = _Leftovers(records, grace, dry_run=dry_run)
    left = [name for folder in (*folders, RESULTS) for name in leftovers.collect(folder, gone)]
    freed = sum(removal.size for removal in removals) + leftovers.freed
    rows = [removal.cells() for removal in removals] + [(name, "nothing refers to it") for name in left]
    return Collected([*(removal.stem for removal in removals), *left], freed, rows, results.problem)


class _Leftovers:
    """Removes what nothing refers to, folder by folder."""

    def __init__(self, records: Records, grace: float, *, dry_run: bool) -> None:
        self.freed = 0
        self._records = records
        self._transport = records.transport
        self._grace = grace
        self._dry_run = dry_run

    def collect(self, folder: str, gone: Set[str]) -> list[str]:
        """Remove it from one folder; return the names of what was removed.

        Args:
            folder: encoded name of the workflow.
            gone: stems of results that are not there any more, or would not be.
        """
        transport = self._transport
        # The order matters. A blob is listed before its writer is looked for, and its writer before its record:
        # so whoever wrote a blob that is listed here is still seen writing, or its record is seen.
        ages = transport.blob_ages(folder)
        limit = max(self._grace, _DAY) if transport.is_writing(folder) else self._grace
        old = [blob for blob, age in ages if age >= limit]
        referenced = self._referenced(folder, gone) if old else set()
        unreferenced = [] if referenced is None else [blob for blob in old if blob not in referenced]
        for blob in unreferenced:
            with suppress(CorruptRecord):
                self.freed += transport.blobs(folder).size(blob)
        if unreferenced and not self._dry_run:
            transport.remove_blobs(folder, unreferenced)
        return sorted(unreferenced) + sorted(transport.sweep(folder, self._grace, dry_run=self._dry_run))

    def _referenced(self, folder: str, gone: Set[str]) -> set[str] | None:
        """Return the blobs that records refer to; None when a record cannot be read."""
        if folder != RESULTS:
            return _referenced(self._records, [(folder, stem) for stem in self._transport.stems(folder)])
        # A name may have a result that another save of the same recipe has replaced since.
        known = self._transport.identities(RESULTS)
        places = [(RESULTS, stem) for stem in known if stem not in gone or not self._dry_run]
        same = set(known.values())
        for holder in self._transport.folders():
            named = self._transport.identities(holder)
            places += [(holder, stem) for stem, identity in named.items() if identity not in same]
        return _referenced(self._records, places)


def _problem(records: Records, workflow: str, name: str) -> str:
    """Return what is wrong with a result; nothing when it is sound, or replaced faster than checked."""
    for _ in range(_TRIES):
        try:
            _, footer = records.whole(workflow, name)
        except StorageError as error:
            return str(error)
        try:
            return _check_blobs(records.transport, records.folder_of_blobs(footer), footer)
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


def _referenced(records: Records, places: Iterable[tuple[str, str]]) -> set[str] | None:
    """Return the blobs that records refer to; None when a record cannot be read."""
    referenced: set[str] = set()
    for folder, stem in places:
        try:
            footer = records.footer_at(folder, stem, None)
        except Absent:
            continue
        except (CorruptRecord, UnsupportedRecord):
            return None
        referenced.update(blob["id"] for blob in footer["blobs"])
    return referenced
