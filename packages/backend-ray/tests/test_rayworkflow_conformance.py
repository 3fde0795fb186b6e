"""The durable Ray workflow passes the conformance suite of backends."""

from __future__ import annotations

from functools import partial

import pytest
from ray_stores import RemoteFuncsTests

from functionfuse.backends.addons import rayworkflow
from functionfuse.backends.addons.rayworkflowback import RayWorkflow
from functionfuse.storage import FileStore
from functionfuse.testing import BackendTests


@pytest.fixture(scope="module")
def durable(local_ray, tmp_path_factory):
    rayworkflow.init(storage=FileStore(tmp_path_factory.mktemp("durable"), durable=False))


class TestDurable(BackendTests):
    tier = "core"  # each call is stored
    objects_stay = True
    chain_length = 300
    recursion_depth = 100

    @pytest.fixture
    def make_workflow(self, durable):
        return partial(RayWorkflow, workflow_name="conformance")

    @pytest.fixture
    def store(self, tmp_path):
        return FileStore(tmp_path / "store", durable=False)


class TestRemoteFuncs(RemoteFuncsTests):
    @pytest.fixture
    def make_workflow(self, durable):
        return partial(RayWorkflow, workflow_name="remote")
