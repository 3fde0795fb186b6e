"""The Ray workflow passes the conformance suite of backends."""

from __future__ import annotations

from functools import partial

import pytest

from functionfuse.backends.builtin.rayback import RayWorkflow
from functionfuse.storage import FileStore
from functionfuse.testing import BackendTests


class TestLocalCluster(BackendTests):
    tier = "core"
    objects_stay = True
    chain_length = 300
    recursion_depth = 300

    @pytest.fixture
    def make_workflow(self, local_ray):
        return partial(RayWorkflow, workflow_name="conformance")

    @pytest.fixture
    def store(self, tmp_path):
        return FileStore(tmp_path / "store", durable=False)
