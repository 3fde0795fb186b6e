"""The Prefect workflow passes the conformance suite of backends on a server, on a Dask cluster."""

from __future__ import annotations

import pytest
from prefect_runners import RunnerTests, workflows_on
from prefect_workers import WorkerTests


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
    pass


class TestDaskWorkers(OnDask, WorkerTests):
    pass
