"""An object store in the memory of this process: what a client of another object store looks like."""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from dataclasses import dataclass, field

from functionfuse.storage._object.client import (
    ObjectEntry,
    ObjectHead,
    PreconditionFailed,
    ReadInterrupted,
    UploadEntry,
    UploadMissing,
    VersionChanged,
)
from functionfuse.storage._store.transport import Absent

_buckets = {}


@dataclass
class StoredObject:
    body: bytes
    mark: str = ""
    modified: float = field(default_factory=time.time)

    @property
    def version(self):
        return hashlib.sha256(self.body).hexdigest()


@dataclass
class Bucket:
    objects: dict = field(default_factory=dict)
    uploads: dict = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    interruptions: int = 0
    """How many more reads are to end early."""


class MemoryContent:
    def __init__(self, bucket, found, start, end):
        self.size, self.version = len(found.body), found.version
        self._bytes = found.body[start:end] if self.size else b""
        with bucket.lock:
            bucket.interruptions -= (is_interrupted := bucket.interruptions > 0)
        self._is_interrupted = is_interrupted

    def read(self):
        if self._is_interrupted:
            raise ReadInterrupted("half of it")
        return self._bytes

    def read_into(self, view):
        view[:] = self.read()[: len(view)]


@dataclass(frozen=True)
class MemoryClient:
    """Refers to a bucket by its name, so that it can be pickled within this process."""

    name: str
    workers: int = 2
    retry_seconds: float = 0.0

    @property
    def bucket(self):
        return _buckets.setdefault(self.name, Bucket())

    def address(self, key):
        return f"memory://{self.name}/{key}"

    def probing(self):
        return self

    def head(self, key):
        found = self.bucket.objects.get(key)
        return ObjectHead(found.version, found.mark) if found else None

    def get(self, key, start=0, end=None, *, version=""):
        found = self.bucket.objects.get(key)
        if found is None:
            raise Absent
        if version not in ("", found.version):
            raise VersionChanged
        return MemoryContent(self.bucket, found, start, end)

    def put(self, key, body, *, mark="", if_absent=False, if_version=""):
        with self.bucket.lock:
            found = self.bucket.objects.get(key)
            if (if_absent and found) or (if_version and (found is None or found.version != if_version)):
                raise PreconditionFailed
            self.bucket.objects[key] = StoredObject(bytes(body), mark)

    def delete(self, key):
        self.bucket.objects.pop(key, None)

    def upload_file(self, path, key):
        self.put(key, path.read_bytes())

    def download_file(self, key, path):
        path.write_bytes(self.get(key).read())

    def list_objects(self, prefix, *, nested=True, page=1000):
        for key, found in sorted(self.bucket.objects.items()):
            if key.startswith(prefix) and (nested or "/" not in key[len(prefix) :]):
                yield ObjectEntry(key, len(found.body), found.modified, found.version)

    def list_folders(self, prefix):
        rests = (key[len(prefix) :] for key in list(self.bucket.objects) if key.startswith(prefix))
        return sorted({rest.partition("/")[0] for rest in rests if "/" in rest})

    def delete_many(self, keys):
        for key in list(keys):
            self.delete(key)

    def start_upload(self, key, mark):
        upload = uuid.uuid4().hex
        self.bucket.uploads[upload] = (UploadEntry(key, upload, time.time()), mark, {})
        return upload

    def send_part(self, key, upload, number, body):
        if upload not in self.bucket.uploads:
            raise UploadMissing
        self.bucket.uploads[upload][2][number] = bytes(body)
        return number

    def complete_upload(self, key, upload, parts):
        if upload not in self.bucket.uploads:
            raise UploadMissing
        _, mark, bodies = self.bucket.uploads.pop(upload)
        self.put(key, b"".join(bodies[number] for number in parts), mark=mark)

    def abort_upload(self, key, upload):
        self.bucket.uploads.pop(upload, None)

    def list_uploads(self, prefix):
        yield from [entry for entry, *_ in list(self.bucket.uploads.values()) if entry.key.startswith(prefix)]
