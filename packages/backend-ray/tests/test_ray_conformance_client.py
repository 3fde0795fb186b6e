"""The Ray workflow passes the conformance suite of backends through ``ray://``."""

from __future__ import annotations

from functools import partial

import pytest
from ray_stores import RemoteFuncsTests

from functionfuse.backends.builtin.rayback import RayWorkflow
from functionfuse.storage import FileStore
from functionfuse.testing import BackendTests


class TestClient(BackendTests):
    tier = "extra"

    objects_stay = True
    chain_length = 50
    recursion_depth = 50

    @pytest.fixture
    def make_workflow(self, ray_client):
        return partial(RayWorkflow, workflow_name="conformance")

    @pytest.fixture
    def store(self, tmp_path):
        return FileStore(tmp_path / "store", durable=False)


class TestRemoteFuncs(RemoteFuncsTests):
    @pytest.fixture
    def make_workflow(self, ray_client):
        return partial(RayWorkflow, workflow_name="remote")
