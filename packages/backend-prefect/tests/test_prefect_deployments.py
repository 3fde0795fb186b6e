"""Deployments: executed by a process worker, or served by the script itself."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from prefect_servers import PREFECT

from functionfuse import workflow
from functionfuse.backends.addons.prefectback import PrefectWorkflow
from functionfuse.errors import OptionError
from functionfuse.storage import FileStore
from functionfuse.testing import wait_until

SCRIPT = """
import sys

from functionfuse import workflow
from functionfuse.backends.addons.prefectback import PrefectWorkflow
from functionfuse.storage import FileStore


@workflow
def add(a, b):
    return a + b


@workflow
class Sum:
    def __init__(self, start):
        self.value = start

    def add(self, n):
        self.value += n
        return self.value


total = Sum(add(1, 1).set_name("two"))
made = PrefectWorkflow(total.add(5).set_name("seven"), workflow_name="deployed")
made.set_storage(FileStore({store!r}, durable=False))
flow = made.generate_flow()

if __name__ == "__main__":
    flow.serve("served")
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.replace("{store!r}", repr(str(tmp_path / "store"))))
    return path


@pytest.fixture
def pool(server):
    server.ask("work_pools/", {"name": "here", "type": "process"})
    yield "here"
    server.ask("work_pools/here", method="DELETE")


@pytest.mark.slow(reason="a worker or a served flow in processes of its own")
def test_a_process_worker_runs_a_deployment(server, script, pool, tmp_path):
    made = PrefectWorkflow(workflow(abs)(1), workflow_name="any")
    deployment = made.deploy("nightly", pool, "0 3 * * *", entrypoint=f"{script}:flow")
    kept = server.ask(f"deployments/{deployment}")
    assert (kept["name"], kept["work_pool_name"], kept["entrypoint"]) == ("nightly", "here", "script.py:flow")
    assert [schedule["schedule"]["cron"] for schedule in kept["schedules"]] == ["0 3 * * *"]
    run = server.ask(f"deployments/{deployment}/create_flow_run", {"parameters": {"on_error": "continue"}})
    worker = [PREFECT, "worker", "start", "--pool", pool, "--type", "process", "--run-once"]
    subprocess.run(worker, env=server.env, check=True, timeout=300, capture_output=True)
    assert server.final_state(run)[0] == "Completed"
    assert FileStore(tmp_path / "store").read_task("deployed", "seven") == 7
    assert server.states("deployed", expected := dict.fromkeys(["two", "Sum_0000", "seven"], "Completed")) == expected


@pytest.mark.slow(reason="a worker or a served flow in processes of its own")
def test_a_script_serves_its_flow(server, script, tmp_path):
    log = tmp_path / "log"
    with log.open("w") as output:
        serving = subprocess.Popen(
            [sys.executable, str(script)],
            env={**server.env, "PREFECT_RUNNER_POLL_FREQUENCY": "1"},
            stdout=output,
            stderr=output,
            cwd=tmp_path,
        )

    def served():
        assert serving.poll() is None, log.read_text()
        return server.ask("deployments/filter", {"deployments": {"name": {"any_": ["served"]}}})

    try:
        (deployment,) = wait_until(served, interval=0.25)
        run = server.ask(f"deployments/{deployment['id']}/create_flow_run", {})
        assert server.final_state(run)[0] == "Completed", log.read_text()
    finally:
        serving.send_signal(signal.SIGTERM)
        serving.wait(300)
    assert FileStore(tmp_path / "store").read_task("deployed", "seven") == 7


@pytest.mark.parametrize(
    ("entrypoint", "pool_name", "message"),
    [
        ("script.py", "here", "like 'file.py:flow', got 'script.py'"),
        ("absent.py:flow", "here", "got 'absent.py:flow'"),
        ("{script}:wolf", "here", "cannot be created.*wolf"),
        ("{script}:flow", "nowhere", "cannot be created.*'nowhere'"),
    ],
)
def test_a_deployment_that_cannot_be_created(server, script, pool, entrypoint, pool_name, message):
    made = PrefectWorkflow(workflow(abs)(1), workflow_name="any")
    with pytest.raises(OptionError, match=message):
        made.deploy("wrong", pool_name, entrypoint=entrypoint.replace("{script}", str(script)))
