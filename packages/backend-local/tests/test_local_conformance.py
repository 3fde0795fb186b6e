"""The local workflow passes the conformance suite of backends, on every kind of executor."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context

import pytest

from functionfuse.backends.builtin.localback import LocalWorkflow
from functionfuse.testing import BackendTests


def made_with(executor):
    return partial(LocalWorkflow, workflow_name="conformance", executor=executor)


@pytest.fixture(scope="module")
def threads():
    with ThreadPoolExecutor(3) as executor:
        yield executor


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        yield executor


@pytest.fixture(scope="module")
def dask_executor():
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client.get_executor()


class TestSerial(BackendTests):
    in_process = True
    chain_length = 100_000
    recursion_depth = 20_000

    @pytest.fixture
    def make_workflow(self):
        return made_with(None)


class TestThreads(BackendTests):
    in_process = True
    stops_calls = False
    chain_length = 20_000

    @pytest.fixture
    def make_workflow(self, threads):
        return made_with(threads)


class TestProcessPool(BackendTests):
    tier = "extra"
    stops_calls = False  # the pool is its owner's

    @pytest.fixture
    def make_workflow(self, processes):
        return made_with(processes)


class TwoWorkers(LocalWorkflow):
    def run(self, **options):
        return super().run(max_workers=2, **options)


class TestMaxWorkers(BackendTests):
    recursion_depth = 200

    @pytest.fixture
    def make_workflow(self):
        return partial(TwoWorkers, workflow_name="conformance")


class TestLoky(BackendTests):
    tier = "extra"
    stops_calls = False  # the pool is its owner's

    @pytest.fixture
    def make_workflow(self):
        loky = pytest.importorskip("loky", reason="loky is not installed")
        return made_with(loky.get_reusable_executor(max_workers=2))


class TestDask(BackendTests):
    tier = "core"
    stops_calls = False  # the cluster is its owner's

    chain_length = 100
    recursion_depth = 50

    @pytest.fixture
    def make_workflow(self, dask_executor):
        return made_with(dask_executor)
