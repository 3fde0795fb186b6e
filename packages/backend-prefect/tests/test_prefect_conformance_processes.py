"""The Prefect workflow passes the conformance suite of backends on a server, in processes."""

from __future__ import annotations

import threading

import pytest
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, get_current_settings, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner
from prefect_runners import KeptProcessPool, RunnerTests, workflows_on
from prefect_workers import WorkerTests, dying

from functionfuse import workflow
from functionfuse.errors import NodeError, WorkflowFailed
from functionfuse.testing.functions import same


@pytest.fixture(scope="module")
def processes(server):
    pool = KeptProcessPool(max_workers=1)
    yield pool
    pool.close()


class TestProcesses(RunnerTests):
    @pytest.fixture
    def make_workflow(self, processes):
        return workflows_on(lambda: processes)


class TestProcessesThatEnd(WorkerTests):
    @pytest.fixture
    def make_workflow(self, server):
        return workflows_on(lambda: ProcessPoolTaskRunner(max_workers=1))

    def test_a_worker_that_dies(self, server, make_workflow, tmp_path):
        with pytest.raises(NodeError, match="'dies' failed: a worker process died"):
            make_workflow(dying(tmp_path / "died"), workflow_name="a process died").run()
        assert server.flow_run("a process died")["state_name"] == "Failed"


def test_the_settings_of_a_run_hold_in_its_processes(processes):
    @workflow
    def retries(_):
        return get_current_settings().client.max_retries

    for number in (7, 8):
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: number}):
            assert workflows_on(lambda: processes)(retries(1), retries(2)).run() == [number, number]


def test_a_node_is_sent_without_the_rest_of_the_graph(processes):
    nodes = same(threading.Lock()).set_name("cannot be sent"), same(1).set_name("can")
    made = workflows_on(lambda: processes)(*nodes)
    events = []
    made.add_observer(lambda event: events.append((event.kind, event.name)))
    with pytest.raises(WorkflowFailed, match="1 finished, 0 reused, 1 failed"):
        made.run(on_error="continue")
    assert ("finished", "can") in events
