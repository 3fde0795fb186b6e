"""Blobs as files, or folders of files, beside the records of a workflow."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from functionfuse.errors import CorruptRecord, StorageError

from .._store.layout import checked_blob_id, new_blob_id
from .blob_file import BlobFile
from .disk import os_errors, remove_tree, sync_folder, sync_tree

if TYPE_CHECKING:
    from .._record.format import BlobEntry
    from .._store.transport import RangeReader


class FileBlobs:
    """The blobs of one record, in the folder `.big` of its workflow; see `Blobs`.

    Args:
        folder: of the blobs of the workflow.
        maps: return views of the mapped file where that is faster.
    """

    kind = "file"

    def __init__(self, folder: str, *, maps: bool) -> None:
        self._maps = maps
        self._folder = folder
        self._new: list[str] = []

    def new(self, suffix: str) -> tuple[str, str]:
        """Return the id and the path of a new blob, which the caller then writes.

        Raises:
            OptionError: the suffix is not one of file names.
            StorageError: the workflow was removed meanwhile.
        """
        blob = new_blob_id(suffix)
        folder = Path(self._folder)
        try:
            folder.mkdir(exist_ok=True)
        except FileNotFoundError as error:
            # Its parent was there when this save began.
            raise StorageError(f"workflow removed while saving: {str(folder.parent)!r} is missing") from error
        except OSError as error:
            raise StorageError(f"cannot make folder {self._folder!r}: {error.strerror}") from error
        self._new.append(blob)
        return blob, str(folder / blob)

    def path(self, blob: str) -> str:
        path = self._path(blob)
        if not Path(path).exists():
            raise CorruptRecord(f"blob {blob!r} is missing from {self._folder!r}")
        return path

    def file(self, blob: str) -> RangeReader:
        """Return a blob as a file to read parts of.

        Raises:
            CorruptRecord: it is missing.
        """
        return BlobFile(self.path(blob), maps=self._maps)

    def size(self, blob: str) -> int:
        return _size(self.path(blob))

    def listed(self) -> list[BlobEntry]:
        """Return the new blobs with their sizes in bytes.

        Raises:
            StorageError: a serializer did not write its blob.
        """
        try:
            return [{"id": blob, "size": self.size(blob)} for blob in self._new]
        except CorruptRecord as error:
            raise StorageError(f"{error}: its serializer asked for it and did not write it") from error

    def sync(self) -> None:
        """Make the new blobs survive a power cut."""
        if not self._new:
            return
        for blob in self._new:
            path = self._path(blob)
            with os_errors("sync", path):
                sync_tree(path)
        with os_errors("sync", self._folder):
            sync_folder(self._folder)
            sync_folder(str(Path(self._folder).parent))  # where the folder's own name is

    def discard(self) -> None:
        self.remove(self._new)

    def remove(self, blobs: list[str]) -> None:
        """Delete blobs that no record refers to any more."""
        for blob in blobs:
            with suppress(OSError, CorruptRecord):  # what stays is unreferenced: garbage for gc, never wrong
                remove_tree(self._path(blob))

    def _path(self, blob: str) -> str:
        return str(Path(self._folder, checked_blob_id(blob)))


def _size(path: str) -> int:
    """Return the bytes in a file, or in all files of a folder."""
    try:
        if not Path(path).is_dir():
            return Path(path).stat().st_size
        return sum(Path(folder, name).stat().st_size for folder, _, files in os.walk(path) for name in files)
    except FileNotFoundError:
        raise CorruptRecord(f"blob {path!r} is missing") from None
