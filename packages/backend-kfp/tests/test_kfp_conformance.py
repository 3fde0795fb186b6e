"""The KFP workflow passes the conformance suite of backends, under kfp.local."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import pytest

from functionfuse.backends.addons.kfpback import KFPWorkflow
from functionfuse.storage import FileStore
from functionfuse.testing import BackendTests


class TestKFPLocal(BackendTests):
    tier = "core"  # each call is a process

    unsupported: ClassVar = {
        "surroundings": "pods are machines of their own",
        "progress": "nodes of graphs that pods make are not in the total yet",
    }
    chain_length = 30
    recursion_depth = 1_000
    graph_size = 50

    @pytest.fixture
    def make_workflow(self):
        return partial(KFPWorkflow, workflow_name="conformance")

    @pytest.fixture
    def store(self, tmp_path):
        return FileStore(tmp_path / "store", durable=False)
