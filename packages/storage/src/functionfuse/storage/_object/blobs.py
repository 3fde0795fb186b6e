"""Blobs of an S3 store: local files for serializers, or Zarr arrays; objects beside the records."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import uuid
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from functionfuse.errors import CorruptRecord, OptionError, StorageError

from .._file.blob_file import BlobFile
from .._file.process_folder import process_folder
from .._s3.client import asking, client
from .objects import delete_keys, objects_below

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._record.format import BlobEntry
    from .._s3.settings import S3Settings
    from .zarr import S3ZarrStore

_SUFFIX = re.compile(r"(\.[A-Za-z0-9_-]+)*")
_BLOB = re.compile(r"[0-9a-f]{32}(\.[A-Za-z0-9_-]+)*")

_downloads: dict[tuple[int, str], str] = {}


class S3Blobs:
    """The blobs of one record. Serializers write local files, which are uploaded before the record is.

    Attributes:
        announce: called before the first one is made, for gc must know of the writer by then.
    """

    kind = "file"

    def __init__(self, settings: S3Settings, prefix: str) -> None:
        self._settings = settings
        self._prefix = prefix
        self.announce: Callable[[], object] = lambda: None
        self._new: list[str] = []
        self._sent: set[str] = set()
        self._folder = ""

    def new(self, suffix: str) -> tuple[str, str]:
        """Return the id and the local path of a new blob, which the caller then writes."""
        if not _SUFFIX.fullmatch(suffix):
            raise OptionError(f"the suffix of a blob must look like '.h5', got {suffix!r}")
        if not self._folder:
            self._folder = _own_folder(self)
        if not self._new:
            self.announce()
        blob = f"{uuid.uuid4().hex}{suffix}"
        self._new.append(blob)
        return blob, str(Path(self._folder, blob))

    def path(self, blob: str) -> str:
        """Return the path of a local copy, which stays as long as this process. CorruptRecord when it is gone."""
        if blob in self._new:
            return str(Path(self._folder, blob))
        key = self._key(blob)
        known = (os.getpid(), self._settings.address(key))
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
        """Return a local copy of a blob as a file to read parts of. CorruptRecord when it is gone."""
        return BlobFile(self.path(blob), maps=True)

    def zarr_store(self, blob: str) -> S3ZarrStore:
        """Return the Zarr store of a blob: writable if it is new. CorruptRecord when it is gone."""
        from .zarr import S3ZarrStore

        is_new = blob in self._new
        store = S3ZarrStore(self._settings, f"{self._key(blob)}/", read_only=not is_new)
        if is_new:
            self._sent.add(blob)
        elif not store.has("zarr.json"):
            raise CorruptRecord(f"blob {self._settings.address(self._key(blob))!r} is missing")
        return store

    def size(self, blob: str) -> int:
        """Return the bytes in a blob. CorruptRecord when it is gone."""
        return sum(self._objects(blob).values())

    def listed(self) -> list[BlobEntry]:
        """Return the new blobs with their sizes in bytes."""
        return [{"id": blob, "size": self._new_size(blob)} for blob in self._new]

    def upload(self) -> None:
        """Put the new blobs where their record will look for them."""
        local = [blob for blob in self._new if blob not in self._sent]
        if not local:
            return
        from boto3.s3.transfer import TransferConfig

        transfer = TransferConfig(max_concurrency=self._settings.workers)
        for blob in local:
            for path, key in self._files(blob):
                with asking("write", self._settings, key):
                    client(self._settings).upload_file(str(path), self._settings.bucket, key, Config=transfer)

    def discard(self) -> None:
        """Delete the new blobs: their record was not published."""
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
                delete_keys(self._settings, self._objects(blob))

    def _key(self, blob: str) -> str:
        if not _BLOB.fullmatch(blob):  # a crafted record must not point outside
            raise CorruptRecord(f"not the id of a blob: {blob!r}")
        return f"{self._prefix}{blob}"

    def _objects(self, blob: str) -> dict[str, int]:
        """Return the objects that make up a blob, with their sizes. CorruptRecord when there are none."""
        key = self._key(blob)
        found = {
            entry["Key"]: entry["Size"]
            for entry in objects_below(self._settings, key)
            if entry["Key"] == key or entry["Key"].startswith(f"{key}/")
        }
        if not found:
            raise CorruptRecord(f"blob {self._settings.address(key)!r} is missing")
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
        from boto3.s3.transfer import TransferConfig
        from botocore.exceptions import ClientError

        transfer = TransferConfig(max_concurrency=self._settings.workers)
        with asking("read", self._settings, key):
            try:
                client(self._settings).download_file(self._settings.bucket, key, str(target), Config=transfer)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") not in ("404", "NoSuchKey"):
                    raise
                raise CorruptRecord(f"blob {self._settings.address(key)!r} is missing") from error


def _own_folder(owner: S3Blobs) -> str:
    folder = tempfile.mkdtemp(prefix="functionfuse-new-blobs-")
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return folder
