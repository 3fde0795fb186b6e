"""The Prefect workflow passes the conformance suite of backends on a server, on a Dask cluster."""

from __future__ import annotations

import pytest
from prefect_runners import RunnerTests, workflows_on
from prefect_workers import WorkerTests

from functionfuse import workflow
from functionfuse.errors import NodeError


@pytest.fixture(scope="module")
def cluster(server):
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    pytest.importorskip("prefect_dask", reason="prefect-dask is not installed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0") as cluster:
        yield cluster.scheduler_address


class OnDask:
    @pytest.fixture
    def make_workflow(self, cluster):
        from prefect_dask import DaskTaskRunner

        return workflows_on(lambda: DaskTaskRunner(address=cluster))


class TestDask(OnDask, RunnerTests):
    stops_calls = False  # Dask cancels what has not begun


class TestDaskWorkers(OnDask, WorkerTests):
    pass


def test_dask_places_nodes_by_what_they_need(server):
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    prefect_dask = pytest.importorskip("prefect_dask", reason="prefect-dask is not installed")

    @workflow
    def place():
        return distributed.get_worker().name

    workers = {
        name: {"cls": distributed.Nanny, "options": {"nthreads": 1, "resources": resources}}
        for name, resources in (("plain", {}), ("special", {"GPU": 1, "licence": 2}))
    }
    scheduler = {"cls": distributed.Scheduler, "options": {"dashboard_address": ":0", "host": "127.0.0.1"}}
    with distributed.SpecCluster(workers=workers, scheduler=scheduler) as cluster:
        make = workflows_on(lambda: prefect_dask.DaskTaskRunner(address=cluster.scheduler_address))
        flow = make(*[place().set_name(f"n{n}") for n in range(4)])
        flow.query("n.").set_resources(gpus=1, custom={"licence": 1})
        assert flow.run() == ["special"] * 4
        flow.query("n3").set_resources(custom={"licence": 3})
        with pytest.raises(NodeError, match="'n3' cannot run: no worker of the Dask cluster has 3 licence, 1 GPU"):
            flow.run()
        flow.query("n1").set_resources(cpus=1)
        assert flow.plan()["n1"].reason == "PrefectWorkflow does not grant the resource 'cpus'"
