"""Fixtures: a store, where its files are, and a serializer that keeps its data in blobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from functionfuse.storage import FileStore, Serializer


class Blobby:
    """Stands for data that is too large for a record."""

    def __init__(self, content):
        self.content = content


class BlobbySerializer(Serializer):
    name = "blobby"
    version = 2
    types = (Blobby,)

    def save(self, obj, out):
        blob, path = out.new(".bin")
        Path(path).write_bytes(obj.content)
        return blob

    def load(self, state, inp, version):
        return Blobby(Path(inp.path(state)).read_bytes())


class Files:
    """The files of a store, as names relative to its root."""

    def __init__(self, root):
        self.root = Path(root)

    def all(self):
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())

    def record(self, workflow, stem):
        return self.root / workflow / f"{stem}.ffr"

    def blobs(self, workflow):
        return sorted(path.name for path in (self.root / workflow / ".big").glob("*"))

    def drafts(self, workflow):
        return sorted(path.name for path in (self.root / workflow / ".tmp").iterdir())


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(root):
    return FileStore(root, durable=False)


@pytest.fixture
def files(root):
    return Files(root)


@pytest.fixture
def blobby():
    return Blobby


@pytest.fixture
def blobby_serializer():
    return BlobbySerializer()


@pytest.fixture
def blob_store(store, blobby_serializer):
    store.register_persistent_serializers(blobby_serializer)
    return store
