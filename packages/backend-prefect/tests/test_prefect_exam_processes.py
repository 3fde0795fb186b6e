"""The Prefect workflow passes the exam for backends on a server, in processes."""

from __future__ import annotations

import pytest
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, get_current_settings, temporary_settings
from prefect_runners import WarmProcessPool, workflows_on

from functionfuse import workflow
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


def test_the_settings_of_a_run_hold_in_its_processes(processes):
    @workflow
    def retries(_):
        return get_current_settings().client.max_retries

    for number in (7, 8):
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: number}):
            assert workflows_on(lambda: processes)(retries(1), retries(2)).run() == [number, number]
