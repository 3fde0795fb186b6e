"""Find, check and identify records by the names of workflow and task."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING

from functionfuse.errors import CorruptRecord, OptionError, StorageError, TaskNotFound, UnsupportedRecord
from functionfuse.stores import OBJECTS

from .._record.format import TAIL, Footer, tail_length, unpack_footer
from .._record.names import decode, encode, is_shortened, literal_prefix
from .._record.reading import check_content, footer_of, verify, verify_digest
from .._record.signing import load_key
from .layout import RESULTS
from .transport import Absent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .transport import Transport

STATE = "-state"
ALL_RESULTS = "\0results"
"""What stands for the name of a workflow where the results that recipes find are meant, of all workflows."""


class Records:
    """The records that a transport holds.

    The name in the footer must equal the wanted name: whatever a file system makes of names, an
    alias is "not found", never wrong data.

    Args:
        transport: moves the bytes.
        sign_key: reference to the key of signed records.
    """

    def __init__(self, transport: Transport, sign_key: str | None) -> None:
        self.transport = transport
        self.sign_key = sign_key

    def key(self) -> bytes | None:
        """Return the key that records are signed with, if they are."""
        return load_key(self.sign_key)

    def encode(self, name: str) -> str:
        """Return the file name, without suffix, for a workflow or task name.

        Raises:
            InvalidNameError: the name is anything but a non-empty string.
        """
        return RESULTS if name == ALL_RESULTS else encode(name, fold=self.transport.fold)

    def stem_of(self, workflow: str, digest: str) -> str:
        """Return the stem of the result that a recipe finds.

        Args:
            workflow: name of a workflow; states of stateful objects are other results than those of its tasks.
            digest: of the recipe.
        """
        return encode(digest, fold=self.transport.fold) + STATE * workflow.endswith(OBJECTS)

    def find(self, workflow: str, task: str) -> Footer | None:
        """Return the footer of a result, or None when there is none of exactly this name.

        Args:
            workflow: name of the workflow.
            task: name of the result.

        Raises:
            CorruptRecord: the footer is damaged.
        """
        try:
            footer = self.footer_at(self.encode(workflow), self.encode(task), self.key())
        except Absent:
            return None
        return footer if (footer["name"], footer["workflow"]) == (task, workflow) else None

    def is_valid(self, workflow: str, task: str) -> bool:
        """Return True if there is a result with a sound footer, and a good signature if one is needed.

        Args:
            workflow: name of the workflow.
            task: name of the result.
        """
        try:
            return self.find(workflow, task) is not None
        except CorruptRecord:
            return False

    def replaced_by(self, workflow: str, task: str) -> Footer | None:
        """Return the footer of the record that a save would replace, if it can be read.

        A record of another task is refused: nothing that another name refers to is lost.

        Args:
            workflow: name of the workflow.
            task: name of the result.

        Raises:
            StorageError: the record is of another task.
        """
        folder, stem = self.encode(workflow), self.encode(task)
        try:
            footer = self.footer_at(folder, stem, None)
        except (Absent, CorruptRecord):
            return None
        if footer["name"] != task:
            location = self.transport.location(folder, stem)
            raise StorageError(f"{location!r} holds {footer['name']!r}, not {task!r}; move it away first")
        return footer

    def whole(self, workflow: str, task: str, *, check: bool = True) -> tuple[memoryview, Footer]:
        """Return a record and its footer.

        Args:
            workflow: name of the workflow.
            task: name of the result.
            check: whether to compare the content with its checksums; a signature is always checked.

        Raises:
            Absent: there is no record.
            CorruptRecord: it is damaged.
            TaskNotFound: it is of another task, or refers to a result that was removed.
        """
        folder, stem = self.encode(workflow), self.encode(task)
        record, footer = self._whole(folder, stem, check=check)
        if (footer["name"], footer["workflow"]) != (task, workflow):
            raise TaskNotFound(
                f"{self.transport.location(folder, stem)!r} holds {footer['name']!r} of workflow "
                f"{footer['workflow']!r}, not {task!r} of workflow {workflow!r}"
            )
        result = footer.get("result")
        if result is None:
            return record, footer
        try:
            record, found = self._whole(RESULTS, result, check=check)
        except Absent:
            raise TaskNotFound(f"result {task!r} of workflow {workflow!r} was removed under its other names") from None
        if self.stem_of(found["workflow"], (found["recipe"] or {}).get("digest", "")) != result:
            raise CorruptRecord(f"{self.transport.location(RESULTS, result)!r} is the result of another recipe")
        return record, found

    def _whole(self, folder: str, stem: str, *, check: bool) -> tuple[memoryview, Footer]:
        location = self.transport.location(folder, stem)
        key = self.key()
        try:
            record, footer = self._record_and_content(folder, stem, key)
            if footer.get("result") is not None:
                return record, footer
            if key is not None:
                verify_digest(record, footer)
            if check:
                verify(record, footer)
        except (CorruptRecord, UnsupportedRecord) as error:
            raise type(error)(f"{location!r}: {error}") from error
        return record, footer

    def folder_of_blobs(self, footer: Footer) -> str:
        """Return the folder that the blobs of a record are in."""
        return RESULTS if footer.get("shared") else self.encode(footer["workflow"])

    def _record_and_content(self, folder: str, stem: str, key: bytes | None) -> tuple[memoryview, Footer]:
        """Return what holds the segments of a record, a blob maybe, and its footer."""
        missing = None
        while True:
            record = self.transport.whole(folder, stem)
            footer = footer_of(record, key)
            blob = footer.get("content")
            if blob is None or footer.get("result") is not None:
                return record, footer
            try:
                content = self.transport.content(self.folder_of_blobs(footer), blob)
            except CorruptRecord:
                if blob == missing:
                    raise
                missing = blob  # was the record replaced while it was read, and its content with it?
                continue
            check_content(content, record, footer)
            return content, footer

    def footer_at(self, folder: str, stem: str, key: bytes | None) -> Footer:
        """Return the footer of a record, whichever task it is of.

        Args:
            folder: encoded name of the workflow.
            stem: encoded name of the task.
            key: that the record must be signed with; None accepts any.

        Raises:
            Absent: there is no record.
            CorruptRecord: its footer is damaged.
        """
        wanted = TAIL
        try:
            while True:
                tail, size = self.transport.tail(folder, stem, wanted)
                wanted = tail_length(tail, size)
                if wanted <= len(tail):
                    return unpack_footer(tail[-wanted:], key)
        except (CorruptRecord, UnsupportedRecord) as error:
            raise type(error)(f"{self.transport.location(folder, stem)!r}: {error}") from error

    def listed(self, workflow: str, pattern: str) -> Iterator[tuple[str | None, str]]:
        """Yield the name and the stem of each result whose name matches a glob.

        The name is None, and the stem has to match, where only the footer has the name and cannot be read.

        Args:
            workflow: name of the workflow.
            pattern: a glob over names.

        Raises:
            OptionError: the pattern is no text.
        """
        if not isinstance(pattern, str):
            raise OptionError(f"pattern must be a glob over names, like 'model*', got {pattern!r}")
        folder = self.encode(workflow)
        prefix = literal_prefix(pattern)
        # A prefix is worth something only if it is written as it is in file names.
        usable = prefix if prefix.isascii() and prefix.replace("_", "").isalnum() and len(prefix) > 5 else ""
        matches = re.compile(fnmatch.translate(pattern)).match
        for stem in self.transport.stems(folder, usable):
            name = self.task_of(folder, stem)
            if name is None and not is_shortened(stem):
                continue  # not made by a store
            if pattern == "*" or matches(name or stem):
                yield name, stem

    def task_of(self, folder: str, stem: str) -> str | None:
        """Return the name of the task; None when a stem was not made by a store, or cannot be read.

        Args:
            folder: encoded name of the workflow.
            stem: encoded name of the task.
        """
        name = decode(stem, fold=self.transport.fold)
        if name is not None or not is_shortened(stem):
            return name
        try:
            name = self.footer_at(folder, stem, None)["name"]
        except (Absent, CorruptRecord):
            return None
        return name if self.encode(name) == stem else None

    def workflow_of(self, folder: str) -> str | None:
        """Return the name of the workflow; None when a folder was not made by a store, or cannot be read."""
        name = decode(folder, fold=self.transport.fold)
        if name is not None or not is_shortened(folder):
            return name
        for stem in self.transport.stems(folder):
            try:
                name = self.footer_at(folder, stem, None)["workflow"]
            except (Absent, CorruptRecord):
                continue
            if self.encode(name) == folder:
                return name
        return None
