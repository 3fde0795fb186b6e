"""The Prefect workflow passes the conformance suite of backends on a server, on a Ray cluster."""

from __future__ import annotations

import os

import pytest
from prefect_runners import RunnerTests, workflows_on
from prefect_workers import WorkerTests

from functionfuse import workflow


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


def test_ray_places_nodes_by_what_they_need(cluster):
    from prefect_ray import RayTaskRunner

    @workflow
    def assigned():
        import ray

        return ray.get_runtime_context().get_assigned_resources()

    flow = workflows_on(RayTaskRunner)(assigned().set_name("a"), assigned().set_name("b"))
    flow.query("a").set_resources(cpus=2, memory=100 << 20)
    a, b = flow.run()
    assert (a["CPU"], a["memory"], b["CPU"]) == (2.0, float(100 << 20), 1.0)
