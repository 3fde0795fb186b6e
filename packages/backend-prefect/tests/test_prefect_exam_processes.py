"""The Prefect workflow passes the exam for backends on a server, in processes."""

from __future__ import annotations

import pytest
from prefect_runners import WarmProcessPool

from functionfuse.backends.addons.prefectback import PrefectWorkflow
from functionfuse.testing import BackendTests


@pytest.fixture(scope="module")
def processes(server):
    pool = WarmProcessPool(max_workers=1)
    yield pool
    pool.close()


class TestProcesses(BackendTests):
    chain_length = 30
    recursion_depth = 10

    @pytest.fixture
    def make_workflow(self, processes):
        def make(*nodes, workflow_name="exam", **options):
            made = PrefectWorkflow(*nodes, workflow_name=workflow_name, **options)
            made.set_prefect_flow_options({"task_runner": processes})
            return made

        return make
