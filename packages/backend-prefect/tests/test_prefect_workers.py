"""Runs on processes, Dask and Ray that are cancelled in the dashboard, and workers of theirs that die."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from prefect_graphs import add

from functionfuse import workflow
from functionfuse.backends.addons.prefectback import PrefectWorkflow
from functionfuse.errors import NodeError, RunCancelled
from functionfuse.testing import MemoryStore


@contextmanager
def processes(server):
    from prefect.task_runners import ProcessPoolTaskRunner

    yield partial(ProcessPoolTaskRunner, max_workers=2)


@contextmanager
def dask(server):
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    prefect_dask = pytest.importorskip("prefect_dask", reason="prefect-dask is not installed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0") as cluster:
        yield partial(prefect_dask.DaskTaskRunner, address=cluster.scheduler_address)


@contextmanager
def ray(server):
    ray = pytest.importorskip("ray", reason="ray is not installed")
    prefect_ray = pytest.importorskip("prefect_ray", reason="prefect-ray is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", server.api_url)
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        options = {"num_cpus": 2, "include_dashboard": False, "log_to_driver": False, "_node_ip_address": "127.0.0.1"}
        ray.init(address="local", **options)
    try:
        yield prefect_ray.RayTaskRunner
    finally:
        ray.shutdown()


@pytest.fixture(scope="module", params=[processes, dask, ray])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def make_task_runner(kind, server):
    with kind(server) as make:
        yield make


@pytest.fixture
def make(kind, make_task_runner):
    def make(node, name):
        made = PrefectWorkflow(node, workflow_name=f"{name} on {kind.__name__}")
        made.set_prefect_flow_options({"task_runner": make_task_runner()})
        made.set_storage(MemoryStore())
        return made

    return make


@workflow
def sleeps(path, _):
    Path(path).touch()
    time.sleep(600)


@workflow
def dies_at_first(path, value):
    if not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def test_a_cancel_in_the_dashboard(server, make, tmp_path):
    started = tmp_path / "started"
    made = make(sleeps(str(started), add(1).set_name("first")).set_name("sleeps"), "cancelled")

    def cancel():
        for _ in range(1200):
            if started.exists():
                break
            time.sleep(0.05)
        run = server.flow_run(made.workflow_name)
        server.ask(f"flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING"}, "force": False})

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(RunCancelled, match="'sleeps'"):
        made.run()
    canceller.join()
    assert server.flow_run(made.workflow_name)["state_name"] == "Cancelled"
    expected = {"first": "Completed", "sleeps": "Cancelled"}
    assert server.states(made.workflow_name, expected) == expected


def test_a_worker_that_dies(server, kind, make, tmp_path):
    """Dask and Ray try again by themselves; a pool of processes breaks."""
    made = make(dies_at_first(str(tmp_path / "died"), add(1).set_name("first")).set_name("dies"), "died")
    if kind is processes:
        with pytest.raises(NodeError, match="'dies' failed: its worker died"):
            made.run()
        assert server.flow_run(made.workflow_name)["state_name"] == "Failed"
    else:
        assert made.run() == 1
        expected = {"first": "Completed", "dies": "Completed"}
        assert server.states(made.workflow_name, expected) == expected
