"""Interruptions of a run: an unavailable server, a server that ends, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from types import SimpleNamespace

import pytest
from prefect.task_runners import ThreadPoolTaskRunner
from prefect_graphs import add
from prefect_servers import running_server, states_of

from functionfuse import workflow
from functionfuse.backends.addons._prefect.server import ServerCalls
from functionfuse.backends.addons.prefectback import PrefectWorkflow
from functionfuse.errors import EngineUnreachable
from functionfuse.testing import MemoryStore, wait_until

SCRIPT = """
import sys
import time
from pathlib import Path

from prefect.logging import handlers

from functionfuse import workflow


@workflow
def quick():
    return 1


@workflow
def long(_):
    if "sending" in sys.argv:
        handlers._api_log_sink.args[0]._wlock.acquire()  # as the thread does that sends messages of this process
    Path("started").touch()
    time.sleep(600)


if __name__ == "__main__":
    from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

    from functionfuse.backends.addons.prefectback import PrefectWorkflow
    from functionfuse.storage import FileStore

    runner = {"threads": ThreadPoolTaskRunner, "processes": ProcessPoolTaskRunner}[sys.argv[1]]
    made = PrefectWorkflow(long(quick().set_name("quick")).set_name("long"), workflow_name="interrupted")
    made.set_prefect_flow_options({"task_runner": runner(max_workers=1)})
    made.set_storage(FileStore("store", durable=False))
    made.run()
"""

UNGUARDED = """
from prefect.task_runners import ProcessPoolTaskRunner

from functionfuse import workflow
from functionfuse.backends.addons.prefectback import PrefectWorkflow


@workflow
def quick():
    return 1


made = PrefectWorkflow(quick().set_name("quick"), workflow_name="unguarded")
made.set_prefect_flow_options({"task_runner": ProcessPoolTaskRunner(max_workers=1)})
made.run()
"""

posix = pytest.mark.skipif(os.name != "posix", reason="SIGINT can be sent to another process on POSIX only")


@pytest.fixture
def impatient():
    """Events that no server takes are given up at once; else each is tried for ten seconds."""
    from prefect.events.clients import PrefectEventsClient
    from prefect.events.worker import EventsWorker

    EventsWorker.set_client_override(PrefectEventsClient, reconnection_attempts=0)
    yield
    EventsWorker.set_client_override(None)


@pytest.fixture
def unavailable(impatient):
    """An address where no server is."""
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}):
        yield


def test_no_server(unavailable):
    with pytest.raises(EngineUnreachable, match=r"'alone' cannot reach .*127\.0\.0\.1:9.*prefect server start"):
        PrefectWorkflow(add(1, 1), workflow_name="alone").run()


@pytest.mark.slow(reason="a server of its own, which ends in the middle of a run")
def test_a_server_that_ends(impatient, tmp_path):
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    store = MemoryStore()
    with running_server(tmp_path) as server:
        made = PrefectWorkflow(add(add(1, 1).set_name("first"), 1).set_name("second"), workflow_name="left")
        made.set_storage(store)
        made.add_observer(lambda event: server.stop() if (event.kind, event.name) == ("finished", "first") else None)
        with (
            temporary_settings({PREFECT_API_URL: server.api_url, PREFECT_CLIENT_MAX_RETRIES: 0}),
            pytest.raises(EngineUnreachable, match="what had finished is stored"),
        ):
            made.run()
    assert "first" in store.list_tasks("left")


@pytest.mark.slow(reason="a program, and a process of it that reads the program again")
def test_a_script_without_a_guard(server, tmp_path):
    """A process of the pool reads the script from its beginning, and says what is missing; so does the run."""
    (tmp_path / "script.py").write_text(UNGUARDED)
    ended = subprocess.run([sys.executable, "script.py"], env=server.env, cwd=tmp_path, capture_output=True, text=True)
    assert "EngineError: workflow 'unguarded' would run again in a process of its own pool" in ended.stderr
    last = ended.stderr.strip().splitlines()[-1]
    assert "WorkerDiedError: node 'quick' failed" in last
    assert "what runs the workflow has to be under if __name__ == '__main__':" in last


def interrupted(folder, env, *arguments, is_ready=lambda: True):
    """What the script wrote to stderr; Ctrl-C is pressed in its terminal: all processes of its group get the signal."""

    def is_started():
        return running.poll() is not None or ((folder / "started").exists() and is_ready())

    (folder / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py", *arguments]
    with subprocess.Popen(command, env=env, cwd=folder, stderr=subprocess.PIPE, start_new_session=True) as running:
        try:
            wait_until(is_started)
            os.killpg(running.pid, signal.SIGINT)
            _, errors = running.communicate(timeout=300)
        finally:
            with suppress(ProcessLookupError):  # what it started
                os.killpg(running.pid, signal.SIGKILL)
    return errors.decode()


@posix
@pytest.mark.slow(reason="a program that is interrupted in the middle of a run")
@pytest.mark.parametrize(("runner", "state"), [("threads", "Crashed"), ("processes", "Cancelled")])
def test_ctrl_c(server, tmp_path, runner, state):
    def is_known():  # to the server
        return states_of(server.task_runs_now("interrupted")).get("long") == "Running"

    assert "KeyboardInterrupt" in interrupted(tmp_path, server.env, runner, is_ready=is_known)
    assert server.flow_run("interrupted")["state_name"] == "Crashed"
    expected = {"quick": "Completed", "long": state}
    assert server.states("interrupted", expected) == expected
    assert [path.name for path in (tmp_path / "store").rglob("*quick*")] != []


@posix
@pytest.mark.slow(reason="a program that is interrupted in the middle of a run")
def test_ctrl_c_while_a_worker_sends_a_message(server, tmp_path):
    """The worker is killed with the lock of the queue of messages, which nobody releases then."""
    assert "KeyboardInterrupt" in interrupted(tmp_path, server.env, "processes", "sending")


@posix
@pytest.mark.slow(reason="a program with a temporary server, which is interrupted in the middle of a run")
@pytest.mark.parametrize("runner", ["threads", "processes"])
def test_ctrl_c_with_the_temporary_server(tmp_path, runner):
    """It outlives the signal, and is told how the run ended."""
    env = {**os.environ, "PREFECT_LOGGING_LEVEL": "INFO", "PREFECT_HOME": str(tmp_path)}
    errors = interrupted(tmp_path, env, runner)
    assert errors.count("Starting temporary server") == 1  # the processes of a pool use that of the run
    assert "Finished in state Crashed('Execution was aborted by an interrupt signal.')" in errors
    assert "KeyboardInterrupt" in errors
    assert "EngineUnreachable" not in errors


class TestServerCalls:
    """Of an interrupted run, whose server may have ended too."""

    @pytest.fixture
    def calls(self, monkeypatch):
        monkeypatch.setattr("functionfuse.backends.addons._prefect.server.LAST_SECONDS", 0.1)
        self.release = threading.Event()
        self.client = SimpleNamespace(set_flow_run_state=lambda *_: self.release.wait(60))
        yield ServerCalls(self.client)
        self.release.set()

    def test_a_server_that_does_not_respond(self, calls):
        calls.bound(KeyboardInterrupt())
        with pytest.raises(TimeoutError):
            calls.make(lambda: self.release.wait(60))
        with pytest.raises(KeyboardInterrupt):
            self.client.set_flow_run_state("crashed")

    def test_a_server_that_responds(self, calls):
        self.release.set()
        assert calls.make(lambda: 1) == 1
        calls.bound(KeyboardInterrupt())
        assert calls.make(lambda: 2) == 2
        assert self.client.set_flow_run_state("crashed") is True


def test_ctrl_c_while_a_node_is_submitted(server):
    """The node runs already, and the loop does not know its future yet."""
    began, release, ended = threading.Event(), threading.Event(), threading.Event()

    class InterruptedTaskRunner(ThreadPoolTaskRunner):
        def submit(self, *args, **kwargs):
            super().submit(*args, **kwargs)
            assert began.wait(60)
            raise KeyboardInterrupt

    @workflow
    def waits():
        began.set()
        release.wait(60)
        ended.set()

    made = PrefectWorkflow(waits(), workflow_name="interrupted early")
    made.set_prefect_flow_options({"task_runner": InterruptedTaskRunner(max_workers=1)})
    try:
        with pytest.raises(KeyboardInterrupt):
            made.run()
        assert not ended.is_set()
    finally:
        release.set()
    assert ended.wait(60)
    assert server.flow_run("interrupted early")["state_name"] == "Crashed"
