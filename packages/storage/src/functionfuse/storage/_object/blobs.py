"""Blobs of an object store: local files for serializers, or Zarr arrays; objects beside the records."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from functionfuse.errors import CorruptRecord, StorageError

from .._file.blob_file import BlobFile
from .._file.process_folder import process_folder
from .._store.layout import checked_blob_id, new_blob_id
from .._store.transport import Absent
from .retries import read_persistently

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._record.format import BlobEntry
    from .client import ObjectClient
    from .zarr import ObjectZarrStore

_downloads: dict[tuple[int, str], str] = {}


class ObjectBlobs:
    """The blobs of one record; see `Blobs`. Serializers write local files, which are uploaded before the record is.

    Args:
        client: of the object store.
        prefix: what the keys of the blobs of the workflow start with.

    Attributes:
        announce: called before the first one is made, for gc must know of the writer by then.
    """

    kind = "file"

    def __init__(self, client: ObjectClient, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self.announce: Callable[[], object] = lambda: None
        self._new: list[str] = []
        self._sent: set[str] = set()
        self._folder = ""

    def new(self, suffix: str) -> tuple[str, str]:
        """Return the id and the local path of a new blob, which the caller then writes.

        Raises:
            OptionError: the suffix is not one of file names.
        """
        blob = new_blob_id(suffix)
        if not self._folder:
            self._folder = _own_folder(self)
        if not self._new:
            self.announce()
        self._new.append(blob)
        return blob, str(Path(self._folder, blob))

    def path(self, blob: str) -> str:
        """Return the path of a local copy of a blob, which exists as long as this process.

        Raises:
            CorruptRecord: it is missing.
        """
        if blob in self._new:
            return str(Path(self._folder, blob))
        key = self._key(blob)
        known = (os.getpid(), self._client.address(key))
        if known not in _downloads or not Path(_downloads[known]).exists():
            found = self._objects(blob)
            folder = Path(tempfile.mkdtemp(dir=process_folder()))
            for name in found:
                target = folder / (blob + name[len(key) :])
                target.parent.mkdir(parents=True, exist_ok=True)
                self._download(name, target)
            _downloads[known] = str(folder / blob)
        return _downloads[known]

    def file(self, blob: str) -> BlobFile:
        """Return a local copy of a blob as a file to read parts of.

        Raises:
            CorruptRecord: it is missing.
        """
        return BlobFile(self.path(blob), maps=True)

    def zarr_store(self, blob: str) -> ObjectZarrStore:
        from .zarr import ObjectZarrStore

        is_new = blob in self._new
        store = ObjectZarrStore(self._client, f"{self._key(blob)}/", read_only=not is_new)
        if is_new:
            self._sent.add(blob)
        elif not store.has("zarr.json"):
            raise CorruptRecord(f"blob {self._client.address(self._key(blob))!r} is missing")
        return store

    def size(self, blob: str) -> int:
        return sum(self._objects(blob).values())

    def listed(self) -> list[BlobEntry]:
        return [{"id": blob, "size": self._new_size(blob)} for blob in self._new]

    def upload(self) -> None:
        """Put the new blobs where their record will look for them.

        Raises:
            StorageError: a serializer did not write its blob, or it could not be uploaded.
        """
        local = [blob for blob in self._new if blob not in self._sent]
        for blob in local:
            for path, key in self._files(blob):
                self._client.upload_file(path, key)

    def discard(self) -> None:
        with suppress(StorageError):  # what stays is unreferenced: garbage for gc, never wrong
            self.remove(self._new)
        self.forget()

    def forget(self) -> None:
        """Delete the local files of the new blobs."""
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def remove(self, blobs: list[str]) -> None:
        """Delete blobs that no record refers to any more."""
        for blob in blobs:
            with suppress(CorruptRecord):
                self._client.delete_many(self._objects(blob))

    def _key(self, blob: str) -> str:
        return f"{self._prefix}{checked_blob_id(blob)}"

    def _objects(self, blob: str) -> dict[str, int]:
        """Return the objects that make up a blob, with their sizes."""
        key = self._key(blob)
        found = {
            entry.key: entry.size
            for entry in self._client.list_objects(key)
            if entry.key == key or entry.key.startswith(f"{key}/")
        }
        if not found:
            raise CorruptRecord(f"blob {self._client.address(key)!r} is missing")
        return found

    def _new_size(self, blob: str) -> int:
        if blob in self._sent:
            return self.size(blob)
        return sum(path.stat().st_size for path, _ in self._files(blob))

    def _files(self, blob: str) -> list[tuple[Path, str]]:
        """Return the local files of a new blob, each with its key."""
        path, key = Path(self._folder, blob), self._key(blob)
        files = [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]
        if not files or not all(one.exists() for one in files):
            raise StorageError(f"blob {str(path)!r} is missing: its serializer asked for it and did not write it")
        return [(one, f"{key}{one.as_posix()[len(path.as_posix()) :]}") for one in files]

    def _download(self, key: str, target: Path) -> None:
        try:
            read_persistently(self._client, lambda: self._client.download_file(key, target))
        except Absent as error:
            raise CorruptRecord(f"blob {self._client.address(key)!r} is missing") from error


def _own_folder(owner: ObjectBlobs) -> str:
    folder = tempfile.mkdtemp(prefix="functionfuse-new-blobs-")
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return folder
