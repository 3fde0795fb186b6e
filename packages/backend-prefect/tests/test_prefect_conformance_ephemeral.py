"""The Prefect workflow passes the conformance suite of backends without a server of its own."""

from __future__ import annotations

from functools import partial

import pytest

from functionfuse.backends.addons.prefectback import PrefectWorkflow
from functionfuse.testing import BackendTests


class TestEphemeral(BackendTests):
    tier = "extra"

    in_process = True
    stops_calls = False
    chain_length = 50
    recursion_depth = 20

    @pytest.fixture
    def make_workflow(self, ephemeral):
        return partial(PrefectWorkflow, workflow_name="conformance")
