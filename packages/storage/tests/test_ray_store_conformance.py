"""The Ray store passes the conformance suite of stores, on a cluster where another machine has the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from functionfuse.storage import RayStore
from functionfuse.testing.store_tests import StoreTests


class TestRay(StoreTests):
    @pytest.fixture
    def store(self, ray_cluster, tmp_path):
        return RayStore(str(tmp_path / "store"), {"resources": {"_disk": 0.001}})

    def damage(self, store, workflow, task, mutate):
        [path] = Path(store.config()["options"]["path"]).glob(f"*/{task}*.ffr")
        path.write_bytes(mutate(path.read_bytes()))
