"""Interruptions of a run: an unavailable server, a server that ends, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
from prefect.task_runners import ThreadPoolTaskRunner
from prefect_graphs import add
from prefect_servers import running_server

from functionfuse import workflow
from functionfuse.backends.addons.prefectback import PrefectWorkflow
from functionfuse.errors import EngineUnreachable
from functionfuse.testing import MemoryStore, wait_until

SCRIPT = """
import time
from pathlib import Path

from functionfuse import workflow
from functionfuse.backends.addons.prefectback import PrefectWorkflow
from functionfuse.storage import FileStore


@workflow
def quick():
    return 1


@workflow
def long(_):
    Path("started").touch()
    time.sleep(600)


made = PrefectWorkflow(long(quick().set_name("quick")).set_name("long"), workflow_name="interrupted")
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


@pytest.mark.skipif(os.name != "posix", reason="SIGINT can be sent to another process on POSIX only")
@pytest.mark.slow(reason="a program that is interrupted in the middle of a run")
def test_ctrl_c(server, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py"]
    with subprocess.Popen(command, env=server.env, cwd=tmp_path, stderr=subprocess.PIPE) as running:
        try:
            wait_until(lambda: (tmp_path / "started").exists() or running.poll() is not None)
            running.send_signal(signal.SIGINT)
            _, errors = running.communicate(timeout=300)
        finally:
            running.kill()
    assert b"KeyboardInterrupt" in errors
    assert server.flow_run("interrupted")["state_name"] == "Crashed"
    runs = server.states("interrupted", {"quick": "Completed", "long": "Crashed"})
    assert runs == {"quick": "Completed", "long": "Crashed"}
    assert [path.name for path in (tmp_path / "store").rglob("*quick*")] != []


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
