"""The Ray workflow passes the conformance suite of backends on several machines, with the store on one of them."""

from __future__ import annotations

from functools import partial

import pytest

from functionfuse.backends.builtin.rayback import RayWorkflow
from functionfuse.storage import RayStore
from functionfuse.testing import BackendTests


class TestTwoMachines(BackendTests):
    tier = "extra"

    objects_stay = True
    recursion_depth = 100

    @pytest.fixture
    def make_workflow(self, two_machines):
        return partial(RayWorkflow, workflow_name="conformance")

    @pytest.fixture
    def store(self, two_machines, tmp_path):
        return RayStore(str(tmp_path / "store"), {"resources": {"_disk": 0.001}}, durable=False)
