"""Results that their recipes find, whatever the names of workflow and task under which they were saved.

Such a result is one record in `.results`, named after the digest of its recipe. The name under which it was saved is
a second name of that record, or a copy where it is small. Any other name has a reference: a record whose footer says
which result it means. A copy of the reference beside the result tells who has it, so that the last name takes the
result with it. What is missing of this after a killed writer is found by name, or made again: a listing decides
nothing that a footer does not confirm.
"""

from __future__ import annotations

import time
import uuid
from contextlib import suppress
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

from functionfuse.errors import CorruptRecord, StorageError, TaskNotFound

from .._record.format import pack_footer, pack_prefix
from .layout import COLLECTED, RESULTS, SAME
from .parallel import in_threads
from .transport import Absent, Link

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .._record.format import Footer
    from .lookup import Records
    from .transport import Blobs, Sink

_FEW = 100  # records that are looked up one by one sooner than by a listing
_HOUR = 3600.0


class SharedResults:
    """The results in `.results`, and the names that they have.

    Args:
        records: of the store.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._transport = records.transport

    def find(self, workflow: str, digests: Mapping[str, str]) -> set[str]:
        """Return the names whose recipes find a result.

        Args:
            workflow: name of the workflow.
            digests: of recipes, by name.
        """
        stems = {name: self._records.stem_of(workflow, digest) for name, digest in digests.items()}
        made = self._transport.present(RESULTS, set(stems.values()))
        return {name for name, stem in stems.items() if stem in made}

    def nameless(self, workflow: str, digests: Mapping[str, str]) -> list[str]:
        """Return the names that do not have the results that their recipes find, as far as listings tell.

        Args:
            workflow: name of the workflow.
            digests: of recipes, by name.
        """
        records = self._records
        stems = {name: records.stem_of(workflow, digest) for name, digest in digests.items()}
        places = {name: records.encode(name) for name in stems}
        few = len(stems) <= _FEW
        named = self._transport.identities(records.encode(workflow), places.values() if few else None)
        made = self._transport.identities(RESULTS, stems.values() if few else None)
        nameless = [name for name, stem in stems.items() if stem not in made or named.get(places[name]) != made[stem]]
        references = {name: _reference(stems[name], workflow, name) for name in nameless if places[name] in named}
        if few:
            made = self._transport.identities(RESULTS, references.values())
        referring = {name for name, stem in references.items() if named[places[name]] == made.get(stem)}
        return [name for name in nameless if name not in referring]

    def footer(self, workflow: str, digest: str) -> Footer:
        """Return the footer of the result that a recipe finds.

        Args:
            workflow: name of the workflow.
            digest: of the recipe.

        Raises:
            Absent: there is none.
            CorruptRecord: it is damaged, or of another recipe.
        """
        stem = self._records.stem_of(workflow, digest)
        footer = self._records.footer_at(RESULTS, stem, self._records.key())
        if digest_of(footer) != digest:
            raise CorruptRecord(f"{self._transport.location(RESULTS, stem)!r} is the result of another recipe")
        return footer

    def link(self, workflow: str, name: str, digest: str, may_replace: Callable[[], bool]) -> None:
        """Let a name have the result that a recipe finds.

        Args:
            workflow: name of the workflow.
            name: of the task.
            digest: of the recipe.
            may_replace: called before a record is replaced; see `Transport.publish`.

        Raises:
            Absent: there is no such result.
            CorruptRecord: it is damaged.
        """
        records = self._records
        records.transport.mark_used(RESULTS, records.stem_of(workflow, digest))
        footer = self.footer(workflow, digest)
        present = None
        with suppress(CorruptRecord):
            present = records.find(workflow, name)
        if present is not None:
            if present["uid"] == footer["uid"]:
                return
            may_replace = _always  # it is a record of this very name
        if (footer["workflow"], footer["name"]) == (workflow, name) and may_replace():
            link = Link(records.encode(workflow), records.encode(name))
            self._transport.link(RESULTS, records.stem_of(workflow, digest), link)
            if link.is_made:
                return
        self.refer(workflow, name, footer, may_replace)

    def refer(self, workflow: str, name: str, footer: Footer, may_replace: Callable[[], bool]) -> None:
        """Let a name refer to a result.

        Args:
            workflow: name of the workflow.
            name: of the task.
            footer: of the result.
            may_replace: called before a record is replaced; see `Transport.publish`.
        """
        records = self._records
        stem = records.stem_of(workflow, digest_of(footer))
        reference: Footer = {**footer, "workflow": workflow, "name": name, "result": stem}

        fill = partial(_write_footer, reference, records.key())
        link = Link(records.encode(workflow), records.encode(name))
        place = _reference(stem, workflow, name)
        self._transport.publish(RESULTS, place, fill, may_replace=may_replace, create=False, link=link)
        if not link.is_made:
            self._transport.publish(link.folder, link.stem, fill, may_replace=_always, create=False)

    def equal(self) -> dict[str, str]:
        """Return the recipes whose results have the content of another recipe's result, each with that one."""
        equal = {}
        key = self._records.key()
        for stem in self._transport.stems(SAME):
            digest, separator, other = stem.partition("@")
            with suppress(Absent, StorageError):
                if separator and (key is None or self._records.footer_at(SAME, stem, key).get("equals") == stem):
                    equal[digest] = other
        return equal

    def equate(self, workflow: str, digest: str, other: str) -> None:
        """Note that the results of two recipes have the same content.

        Args:
            workflow: name of a workflow.
            digest: of a recipe.
            other: of the recipe that stands for both.

        Raises:
            Absent: there is no result of the first recipe.
        """
        if not (digest.isascii() and digest.isalnum() and other.isascii() and other.isalnum()):
            return  # not made by a recipe book
        stem = f"{digest}@{other}"
        note: Footer = {**self.footer(workflow, digest), "equals": stem}
        fill = partial(_write_footer, note, self._records.key())
        self._transport.publish(SAME, stem, fill, may_replace=_always, create=False)

    def footers(self, workflow: str) -> list[Footer]:
        """Return the footers of the names of a workflow that have results which recipes find."""
        folder = self._records.encode(workflow)

        def read(stem: str) -> Footer | None:
            with suppress(Absent, StorageError):
                footer = self._records.footer_at(folder, stem, None)
                return footer if footer.get("shared") else None
            return None

        return [footer for footer in in_threads(read, self._transport.stems(folder)) if footer is not None]

    def forget(self, removed: Iterable[Footer]) -> None:
        """Remove the results that names which were removed had, unless other names have them.

        Args:
            removed: the footers of the names.
        """
        gone = {(footer["workflow"], footer["name"]): footer for footer in removed}
        if not gone:
            return
        references: dict[str, list[str]] = {}
        for stem in self._transport.stems(RESULTS):
            references.setdefault(stem.partition("@")[0], []).append(stem)
        for footer in gone.values():
            result = self._records.stem_of(footer["workflow"], digest_of(footer))
            stems = references.pop(result, [])
            if not self.is_named(stems, result):
                self._remove(stems, footer)

    def is_named(self, stems: Iterable[str], result: str) -> bool:
        """Return True if a name has a result: the one that it was saved under, or one that refers to it.

        What cannot be read of a name counts as having it.

        Args:
            stems: of the record of the result, and of references to it.
            result: its stem.
        """
        for stem in stems:
            try:
                claimed = self._records.footer_at(RESULTS, stem, None)
            except (Absent, CorruptRecord):
                continue
            except StorageError:
                return True
            try:
                present = self._records.find(claimed["workflow"], claimed["name"])
            except StorageError:
                return True
            if present is None or not present.get("shared"):
                continue
            if self._records.stem_of(present["workflow"], digest_of(present)) == result:
                return True
        return False

    def held_by(self, folder: str, stem: str) -> tuple[str, ...] | None:
        """Return the stems of the result that a name has, and of its reference to that; None if it cannot be read.

        Args:
            folder: encoded name of the workflow.
            stem: encoded name of the task.
        """
        try:
            footer = self._records.footer_at(folder, stem, None)
        except Absent:
            return ()
        except StorageError:
            return None
        if not footer.get("shared"):
            return ()
        result = self._records.stem_of(footer["workflow"], digest_of(footer))
        return result, _reference(result, footer["workflow"], footer["name"])

    def begin_collecting(self) -> bool:
        """Return True, and note the time, unless that was done within the last hour."""
        now = time.time()
        with suppress(Absent, StorageError):
            last = self._records.footer_at(COLLECTED, "last", self._records.key())["created"]
            if now - _HOUR < last <= now + _HOUR:
                return False
        fill = partial(_write_footer, _last_collected(now), self._records.key())
        self._transport.publish(COLLECTED, "last", fill, may_replace=_always, create=False)
        return True

    def _remove(self, stems: Iterable[str], footer: Footer) -> None:
        blobs = {blob["id"] for blob in footer["blobs"]}
        for stem in stems:
            with suppress(Absent):
                with suppress(StorageError):
                    blobs.update(blob["id"] for blob in self._records.footer_at(RESULTS, stem, None)["blobs"])
                self._transport.remove(RESULTS, stem)
        self._transport.remove_blobs(RESULTS, blobs)


def _last_collected(now: float) -> Footer:
    return {
        "name": "last",
        "workflow": COLLECTED,
        "uid": uuid.uuid4().hex,
        "created": now,
        "recipe": None,
        "type": "",
        "python": "",
        "byteorder": "",
        "packages": {},
        "by_value": [],
        "block": 0,
        "segs": [],
        "serializers": {},
        "blobs": [],
        "meta": {},
    }


def digest_of(footer: Footer) -> str:
    """Return the digest of the recipe of a record; nothing where it has none."""
    return (footer["recipe"] or {}).get("digest", "")


def _write_footer(footer: Footer, key: bytes | None, sink: Sink, blobs: Blobs) -> None:  # noqa: ARG001
    prefix = pack_prefix()
    sink.write(prefix)
    sink.write(pack_footer(footer, len(prefix), key))


def _reference(stem: str, workflow: str, name: str) -> str:
    """Return the stem, beside a result, of the reference that a name has to it."""
    known = f"{workflow}\0{name}".encode("utf-8", "surrogatepass")
    return f"{stem}@{sha256(known).hexdigest()[:16]}"


def _always() -> bool:
    return True


def not_made(workflow: str, digest: str) -> TaskNotFound:
    """Return the error of a result that a recipe does not find.

    Args:
        workflow: name of the workflow.
        digest: of the recipe.
    """
    return TaskNotFound(f"no result of workflow {workflow!r} has a recipe of the digest {digest!r}")
