"""The Prefect workflow passes the conformance suite of backends on a server, in threads."""

from __future__ import annotations

from functools import partial

import pytest

from functionfuse.backends.addons.prefectback import PrefectWorkflow
from functionfuse.testing import BackendTests


class TestThreads(BackendTests):
    tier = "core"  # each call is recorded by a server
    in_process = True
    stops_calls = False
    chain_length = 50
    recursion_depth = 20

    @pytest.fixture
    def make_workflow(self, server):
        return partial(PrefectWorkflow, workflow_name="conformance")
