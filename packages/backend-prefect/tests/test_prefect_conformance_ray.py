"""The Prefect workflow passes the conformance suite of backends on a server, on a Ray cluster."""

from __future__ import annotations

import os

import pytest
from prefect_runners import RunnerTests, workflows_on
from prefect_workers import WorkerTests


@pytest.fixture(scope="module")
def cluster(server):
    ray = pytest.importorskip("ray", reason="ray is not installed")
    pytest.importorskip("prefect_ray", reason="prefect-ray is not installed")
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PREFECT_API_URL": server.api_url, "PREFECT_HOME": os.environ["PREFECT_HOME"]}},
        _node_ip_address="127.0.0.1",
    )
    yield
    ray.shutdown()


class OnRay:
    @pytest.fixture
    def make_workflow(self, cluster):
        from prefect_ray import RayTaskRunner

        return workflows_on(RayTaskRunner)


class TestRay(OnRay, RunnerTests):
    pass


class TestRayWorkers(OnRay, WorkerTests):
    pass
