"""The Prefect workflow passes the conformance suite of backends on a server, in processes."""

from __future__ import annotations

import sys
import threading

import pytest
from prefect.exceptions import CrashedRun
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, get_current_settings, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from prefect_runners import KeptProcessPool, RunnerTests, workflows_on
from prefect_workers import WorkerTests, dying

from functionfuse import workflow
from functionfuse.errors import NodeError, WorkflowFailed
from functionfuse.testing.functions import same


@workflow
def interrupts():
    raise KeyboardInterrupt


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


class Exits:
    """Ends the process that unpickles it."""

    def __reduce__(self):
        return sys.exit, (3,)


class TestErrorsThatAreNoExceptions:
    """Prefect's pool would wait for ever for the future of a worker that raised one."""

    def test_while_a_call_is_deserialized(self, processes):
        made = workflows_on(lambda: processes)(same(Exits()).set_name("exits"), same(1).set_name("other"))
        with pytest.raises(WorkflowFailed, match="1 finished, 0 reused, 1 failed") as caught:
            made.run(on_error="continue")
        assert "node 'exits' failed: SystemExit: 3" in str(caught.value.report.failed["exits"])

    def test_in_a_hook(self, processes):
        made = workflows_on(lambda: processes)(same(1).set_name("hooked"))
        made.query("hooked").set_task_args({"on_completion": [lambda *_: sys.exit(4)]})
        with pytest.raises(NodeError, match="'hooked' failed: SystemExit: 4"):
            made.run()

    def test_in_prefects_own_part(self, processes):
        """What Prefect ends a worker for is the error of the node, and not the exit."""

        def refuse(*_):
            raise CrashedRun("no such run")

        made = workflows_on(lambda: processes)(same(1).set_name("refused"))
        made.query("refused").set_task_args({"task_run_name": refuse})
        with pytest.raises(NodeError, match="'refused' failed: CrashedRun: no such run"):
            made.run()

    def test_ctrl_c_in_a_worker(self, processes):
        with pytest.raises(KeyboardInterrupt):
            workflows_on(lambda: processes)(interrupts()).run()


def test_ctrl_c_in_a_thread(server):
    with pytest.raises(KeyboardInterrupt):
        workflows_on(lambda: ThreadPoolTaskRunner(max_workers=1))(interrupts()).run()


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
