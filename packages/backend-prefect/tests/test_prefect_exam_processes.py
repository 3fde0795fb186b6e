"""The Prefect workflow passes the exam for backends on a server, in processes."""

from __future__ import annotations

import pytest
from prefect_runners import WarmProcessPool, workflows_on

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

        return workflows_on(lambda: processes)
