"""What is particular to the local workflow: its options, and workers that die."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest

from functionfuse import workflow
from functionfuse.backends.builtin.localback import LocalWorkflow
from functionfuse.errors import FunctionFuseError, NodeError, OptionError, PlanError, WorkerDiedError, WorkflowFailed
from functionfuse.testing import MemoryStore, wait_until
from functionfuse.testing.functions import add, note, noted, noted_words, running_at_once, same, waits


@workflow
def process_number():
    return os.getpid()


@workflow
def dies(*needs):
    os._exit(3)


@workflow
def dies_until(log, attempt):
    note(log, "attempt")
    if len(noted_words(log)) < attempt:
        os._exit(3)
    return "alive"


@pytest.fixture
def log(tmp_path):
    return str(tmp_path / "log")


def test_without_workers_all_runs_here():
    assert LocalWorkflow(process_number(), workflow_name="w").run() == os.getpid()


def test_workers_are_other_processes():
    assert LocalWorkflow(process_number(), workflow_name="w").run(max_workers=1) != os.getpid()


def test_serial_runs_follow_the_plan(log):
    last = noted(log, "c", None, noted(log, "a"), noted(log, "b"))
    flow = LocalWorkflow(last, workflow_name="w")
    flow.run()
    assert noted_words(log) == ["a", "b", "c"]


def test_an_executor_stays_open():
    with ThreadPoolExecutor(1) as executor:
        LocalWorkflow(same(1), workflow_name="w", executor=executor).run()
        assert executor.submit(int, "5").result() == 5


def test_one_worker_runs_a_dynamic_graph():
    @workflow
    def countdown(n):
        return add(countdown(n - 1), 1) if n else 0

    with ThreadPoolExecutor(1) as executor:
        assert LocalWorkflow(countdown(5), workflow_name="w", executor=executor).run() == 5


def test_a_closed_executor():
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(NodeError, match="'n' failed: RuntimeError: cannot schedule new futures after shutdown"):
        LocalWorkflow(same(1).set_name("n"), workflow_name="w", executor=executor).run()


class CancelledPool(ThreadPoolExecutor):
    """Like a pool that somebody shuts down with ``cancel_futures=True`` while the first call runs."""

    def submit(self, function, /, *args, **kwargs):
        if len(self._threads) == 0:
            return super().submit(function, *args, **kwargs)
        future = Future()
        future.cancel()
        return future


@pytest.mark.parametrize("on_error", ["raise", "continue"])
def test_a_cancelled_call_is_a_failure_and_no_old_result(on_error):
    store = MemoryStore()

    def flow(version, executor=None):
        nodes = [same(version).set_name("first"), add(version, 0).set_name("second")]
        made = LocalWorkflow(*nodes, workflow_name="w", executor=executor)
        made.set_storage(store)
        return made

    assert flow(1).run() == [1, 1]
    with CancelledPool(1) as executor, pytest.raises((NodeError, WorkflowFailed)) as caught:
        flow(2, executor).run(on_error=on_error)
    error = caught.value if on_error == "raise" else caught.value.report.failed["second"]
    assert str(error).startswith("node 'second' was cancelled in the engine before it began")


def test_a_call_that_dask_cancels_is_a_failure():
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        flow = LocalWorkflow(waits(5.0).set_name("slow"), workflow_name="w", executor=client.get_executor())

        def cancel():
            keys = wait_until(lambda: list(client.futures))
            client.cancel([distributed.Future(key, client) for key in keys])

        cancelling = threading.Thread(target=cancel)
        cancelling.start()
        with pytest.raises(NodeError, match="node 'slow' was cancelled in the engine"):
            flow.run()
        cancelling.join()


@pytest.mark.parametrize("workers", [0, -1, 1.5, "2"])
def test_a_wrong_number_of_workers(workers):
    with pytest.raises(OptionError, match="max_workers must be a whole number of processes"):
        LocalWorkflow(same(1), workflow_name="w").run(max_workers=workers)


def test_workers_and_executor_exclude_each_other():
    with ThreadPoolExecutor(1) as executor, pytest.raises(OptionError, match="max_workers cannot be set"):
        LocalWorkflow(same(1), workflow_name="w", executor=executor).run(max_workers=2)


@pytest.mark.parametrize("executor", [4, ThreadPoolExecutor])
def test_what_is_no_executor(executor):
    with pytest.raises(OptionError, match="submit"):
        LocalWorkflow(same(1), workflow_name="w", executor=executor)


@pytest.mark.parametrize("name", ["", None, 5])
def test_a_workflow_needs_a_name(name):
    with pytest.raises(OptionError, match="workflow_name must be a non-empty string"):
        LocalWorkflow(same(1), workflow_name=name)


def test_a_notebook_shows_a_picture():
    svg = LocalWorkflow(same(1).set_name("shown here"), workflow_name="w")._repr_svg_()
    assert "shown here" in svg


# Workers that die


def test_a_worker_that_dies():
    with pytest.raises(WorkerDiedError, match="'victim' failed: a worker process died") as caught:
        LocalWorkflow(dies().set_name("victim"), workflow_name="w").run(max_workers=1)
    assert caught.value.name == "victim"
    assert isinstance(caught.value, NodeError)


def test_the_next_run_has_new_workers():
    with pytest.raises(WorkerDiedError):
        LocalWorkflow(dies(), workflow_name="w").run(max_workers=1)
    assert LocalWorkflow(same(1), workflow_name="w").run(max_workers=1) == 1


def test_a_retry_after_a_worker_died(log):
    flow = LocalWorkflow(dies_until(log, 3).set_name("victim"), workflow_name="w")
    flow.query("victim").set_retry(2)
    assert flow.run(max_workers=1) == "alive"
    assert len(noted_words(log)) == 3


def test_others_survive_a_worker_that_dies():
    nodes = [same(n).set_name(f"node {n}") for n in range(20)]
    victim = dies().set_name("victim")
    more = [add(node, 1).set_name(f"{node.get_name()} more") for node in nodes]
    after = same(victim).set_name("after")
    with pytest.raises(WorkflowFailed) as caught:
        LocalWorkflow(*more, after, workflow_name="w").run(max_workers=2, on_error="continue")
    report = caught.value.report
    assert list(report.failed) == ["victim"]
    assert report.skipped == {"after": "victim"}
    assert len(report.finished) == 40


def test_the_executor_of_a_user_is_not_restarted():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        flow = LocalWorkflow(dies().set_name("victim"), workflow_name="w", executor=executor)
        flow.query("victim").set_retry(2)
        with pytest.raises(WorkerDiedError, match="'victim'"):
            flow.run()


# -- resources


def test_nodes_share_what_the_machine_has(tmp_path):
    """As many run at a time as licences are there, and the others fill the rest of the processes."""
    (tmp_path / "licensed").mkdir()
    licensed = [running_at_once(str(tmp_path / "licensed"), str(n)).set_name(f"licensed{n}") for n in range(6)]
    free = [same(n).set_name(f"free{n}") for n in range(20)]
    flow = LocalWorkflow(*licensed, *free, workflow_name="shared", resources={"licence": 2})
    flow.query("licensed.").set_resources(custom={"licence": 1})
    results = flow.run(max_workers=4)
    assert max(results[:6]) <= 2
    assert results[6:] == list(range(20))


def test_more_than_the_machine_has():
    flow = LocalWorkflow(same(1).set_name("a"), workflow_name="too much", resources={"gpus": 1})
    for needs in ({"cpus": 10_000}, {"memory": "900 TB"}, {"gpus": 2}):
        flow.query("a").set_resources(cpus=0, memory=0, gpus=0).set_resources(**needs)
        with pytest.raises(PlanError, match=f"needs .* {next(iter(needs))}, and LocalWorkflow has"):
            flow.run()
    flow.query("a").set_resources(cpus=1, memory="1 MB", gpus=1)
    assert [flow.run(), flow.run(max_workers=1)] == [1, 1]


def test_an_executor_places_nodes_itself():
    with ThreadPoolExecutor(1) as executor:
        flow = LocalWorkflow(same(1).set_name("a"), workflow_name="placed", executor=executor)
        flow.query("a").set_resources(cpus=1)
        assert flow.plan()["a"].reason == "LocalWorkflow does not grant the resource 'cpus'"
        flow = LocalWorkflow(same(1).set_name("a"), workflow_name="placed", executor=executor)
        flow.query("a").set_environment({"A": "a"})
        assert flow.plan()["a"].reason == "LocalWorkflow does not support the option 'environment'"
        with pytest.raises(OptionError, match="an executor has its own"):
            LocalWorkflow(same(1), workflow_name="placed", executor=executor, resources={"gpus": 1})


@pytest.mark.parametrize("amount", [-1, "two", True])
def test_an_amount_that_is_none(amount):
    with pytest.raises(OptionError, match="resources: gpus must be a number"):
        LocalWorkflow(same(1), workflow_name="w", resources={"gpus": amount})


def test_resources_that_grow_with_each_attempt(tmp_path):
    """Two first attempts share what is there; of the second ones, each needs all of it."""
    (tmp_path / "running").mkdir()

    @workflow
    def grows(folder, name):
        attempts = folder / f"{name} attempted"
        if not attempts.exists():
            attempts.touch()
            wait_until(lambda: len(list(folder.glob("* attempted"))) == 2)
            raise MemoryError("more")
        return running_at_once.__wrapped__(str(folder / "running"), name)

    flow = LocalWorkflow(
        *[grows(tmp_path, name).set_name(name) for name in "ab"], workflow_name="grows", resources={"slots": 4}
    )
    profile = tmp_path / "profile.toml"
    profile.write_text('[nodes.".*"]\ncustom = { slots = { start = 2, retry = 2.0 } }\nretries = 1\n')
    flow.apply_profile(profile)
    assert flow.run(max_workers=2) == [1, 1]


def test_dask_places_nodes_by_what_they_need():
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")

    @workflow
    def place():
        return distributed.get_worker().name

    worker = {"cls": distributed.Worker, "options": {"nthreads": 1}}
    with_gpu = {"cls": distributed.Worker, "options": {"nthreads": 1, "resources": {"GPU": 1, "licence": 2}}}
    cluster = distributed.SpecCluster(
        workers={"plain": worker, "special": with_gpu},
        scheduler={"cls": distributed.Scheduler, "options": {"dashboard_address": ":0", "host": "127.0.0.1"}},
    )
    with cluster, distributed.Client(cluster) as client:
        client.wait_for_workers(2)
        flow = LocalWorkflow(
            *[place().set_name(f"n{n}") for n in range(6)], workflow_name="placed", executor=client.get_executor()
        )
        flow.query("n[0-3]").set_resources(gpus=1, custom={"licence": 1})
        assert flow.run()[:4] == ["special"] * 4
        flow.query("n5").set_resources(custom={"licence": 3})
        assert flow.plan()["n5"].reason == "needs 3 licence, and LocalWorkflow has 2"
        flow.query("n4").set_resources(cpus=1)
        assert flow.plan()["n4"].reason == "LocalWorkflow does not grant the resource 'cpus'"


MISTAKES = {
    "max_worker": (
        {"max_worker": 4},
        "UsageError: run() got an unexpected keyword argument 'max_worker'; did you mean 'max_workers'?",
    ),
    "a text": (
        {"max_workers": "4"},
        "OptionError: max_workers must be a whole number of processes, 1 or more, got '4'",
    ),
}


@pytest.mark.parametrize("options", MISTAKES)
def test_what_is_said_of_a_wrong_option(options):
    given, says = MISTAKES[options]
    with pytest.raises(FunctionFuseError) as caught:
        LocalWorkflow(add(1, 2), workflow_name="mistakes").run(**given)
    assert f"{type(caught.value).__name__}: {caught.value}" == says
