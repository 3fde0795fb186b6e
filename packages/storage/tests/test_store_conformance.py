"""The file store passes the conformance suite of stores, in each of its modes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from functionfuse.storage import FileStore
from functionfuse.testing.store_tests import StoreTests


class FileStoreTests(StoreTests):
    def damage(self, store, workflow, task, mutate):
        folder, stem = store._records.encode(workflow), store._records.encode(task)
        path = Path(store.path, folder, f"{stem}.ffr")
        path.write_bytes(mutate(path.read_bytes()))


class TestDurable(FileStoreTests):
    @pytest.fixture
    def store(self, tmp_path):
        return FileStore(tmp_path / "store")


class TestRelaxedWithoutMaps(FileStoreTests):
    @pytest.fixture
    def store(self, tmp_path):
        return FileStore(tmp_path / "store", durable=False, mmap=False)


class TestSigned(FileStoreTests):
    @pytest.fixture
    def store(self, tmp_path, monkeypatch):
        monkeypatch.setenv("FF_TEST_KEY", "k" * 32)
        return FileStore(tmp_path / "store", durable=False, sign_key="env:FF_TEST_KEY")


class TestNamesFolded(FileStoreTests):
    """As on a file system that ignores case."""

    @pytest.fixture
    def store(self, tmp_path):
        (tmp_path / "store").mkdir()
        (tmp_path / "store" / "ffstore.json").write_text(json.dumps({"format": 2, "names": "fold"}))
        return FileStore(tmp_path / "store", durable=False)
