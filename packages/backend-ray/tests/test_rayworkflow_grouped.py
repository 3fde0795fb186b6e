"""Results that the controller stores many at a time: what is told is stored, and a crash loses no more than it may."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
import ray
from rayworkflow_tasks import add, counted, failing, gather, held, note, noted, pid_of

from functionfuse.backends.addons import rayworkflow as workflow
from functionfuse.backends.addons.rayworkflow._records.journal import Journal
from functionfuse.backends.addons.rayworkflow._records.results import ResultLog, TaskResults, results_in
from functionfuse.backends.addons.rayworkflow._records.workflow import StoredWorkflow
from functionfuse.storage import FileStore
from functionfuse.testing import wait_until

pytestmark = pytest.mark.slow(reason="another way to store, and controllers that are killed")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return FileStore(tmp_path_factory.mktemp("durable"), durable=False)


@pytest.fixture(scope="module", autouse=True)
def durable(local_ray, store):
    workflow.init(storage=store, lease_seconds=2.0, checkpoint="grouped")


@pytest.fixture(scope="module")
def log(durable):
    """What the controller logs, as Ray keeps it."""
    folder = Path(ray._private.worker._global_node.get_logs_dir_path())
    return lambda: "".join(path.read_text() for path in folder.glob("worker-*.err"))


@pytest.fixture
def journal(tmp_path):
    return Journal(FileStore(tmp_path / "store", durable=False), "w", "run")


def results_of(store, workflow_id):
    return TaskResults(StoredWorkflow.find(store, workflow_id).journal)


def test_small_results_share_records(store):
    fan = gather.bind(*[add.bind(number) for number in range(40)])
    assert workflow.run(fan, workflow_id="fan") == tuple(range(40))
    results = results_of(store, "fan")
    assert len(results.logged) == 41
    assert len({logged.record for logged in results.logged.values()}) < 41  # how many, depends on the machine's load
    assert not store.list_tasks("durable/fan", "*/out/*")
    assert workflow.get_output("fan", task_id="rayworkflow_tasks.add_7") == 7
    assert workflow.get_metadata("fan", "rayworkflow_tasks.add_7")["stats"]["attempts"] == 1


def test_large_results_and_graphs_have_records_of_their_own(store):
    @ray.remote
    def split():
        return workflow.continuation(add.bind(1, 2))

    large = workflow.run(gather.bind(b"x" * 40_000, split.bind()), workflow_id="large")
    assert large == (b"x" * 40_000, 3)
    own = {name.rpartition(".")[2].partition("@")[0] for name in store.list_tasks("durable/large", "*/out/*")}
    assert own == {"gather", "split"}


def test_a_task_says_how_its_result_is_stored(store):
    strict = add.options(**workflow.options(checkpoint="strict", task_id="strict")).bind(1)
    never = add.options(**workflow.options(checkpoint=False, task_id="never")).bind(2)
    isolated = add.options(**workflow.options(isolate=True, task_id="isolated")).bind(3)
    assert workflow.run(gather.bind(strict, never, isolated, add.bind(4)), workflow_id="each") == (1, 2, 3, 4)
    own = {name.rpartition("/")[2] for name in store.list_tasks("durable/each", "*/out/*")}
    assert own == {"strict", "isolated"}
    assert set(results_of(store, "each").logged) == {"rayworkflow_tasks.gather", "rayworkflow_tasks.add"}
    with pytest.raises(ValueError, match="checkpoint must be True, False, 'strict', 'grouped', not 'often'"):
        workflow.options(checkpoint="often")


def test_an_output_that_is_told_is_stored(path, store):
    last = gather.bind(counted.bind(path, 5), held.bind(f"{path}.gate"))
    output = workflow.run_async(last, workflow_id="told")
    assert workflow.get_output("told", task_id="rayworkflow_tasks.counted") == 5
    assert results_of(store, "told").has("rayworkflow_tasks.counted")
    note(f"{path}.gate")
    assert ray.get(output) == (5, 1)


def test_what_finished_before_a_failure_is_kept(path):
    dag = failing.bind(counted.bind(path, "oops"))
    for _ in range(2):
        with pytest.raises(workflow.WorkflowExecutionError):
            workflow.run(dag, workflow_id="failed")
    assert len(noted(path)) == 1


def test_what_happens_is_logged_in_the_words_of_ray(log):
    caught = failing.options(**workflow.options(catch_exceptions=True, task_id="careful"))

    @ray.remote
    def outer():
        return workflow.continuation(failing.options(**workflow.options(task_id="inner")).bind())

    outer = outer.options(**workflow.options(catch_exceptions=True, task_id="outer"))
    workflow.run(gather.bind(caught.bind(), outer.bind()), workflow_id="logged")
    with pytest.raises(workflow.WorkflowExecutionError):
        workflow.run(failing.options(max_retries=2, retry_exceptions=True).bind(), workflow_id="logged too")
    for said in (
        "Initializing workflow manager...",
        "Workflow job [id=logged] started.",
        "Workflow 'logged' completes successfully.",
        "Retry [logged too@rayworkflow_tasks.failing] (2/2)",
        "Task status [FAILED] due to an exception raised by the task.\t[logged too@rayworkflow_tasks.failing]",
        "Workflow 'logged too' failed due to oops",
    ):
        wait_until(lambda said=said: said in log())


def test_after_a_crash_what_is_in_the_log_does_not_run_again(path, store):
    last = counted.bind(f"{path}.0", 0)
    for place in range(1, 30):
        last = counted.bind(f"{path}.{place}", place, last)
    held_too = gather.bind(last, held.bind(f"{path}.gate"))
    output = workflow.run_async(held_too, workflow_id="crash")
    wait_until(lambda: results_of(store, "crash").tasks())
    committed = set(results_of(store, "crash").tasks())
    os.kill(pid_of(b"ray::Controller"), signal.SIGKILL)
    note(f"{path}.gate")
    assert ray.get(output, timeout=120) == (29, 1)
    calls = Counter({place: len(noted(f"{path}.{place}")) for place in range(30)})
    names = {f"rayworkflow_tasks.counted_{place}" if place else "rayworkflow_tasks.counted": place for place in calls}
    assert all(calls[names[key]] == 1 for key in committed & set(names))
    assert all(calls.values())
    assert workflow.get_output("crash", task_id="rayworkflow_tasks.counted_9") == 9


# -- the log


def test_the_log_gives_back_what_it_was_given(journal):
    log = ResultLog(journal, 1)
    log.open()
    log.append({"a": ("value", b"1", [])}, {"a": {"attempts": 1}})
    log.append({"b": ("value", b"2", [])}, {"b": {"attempts": 2}})
    for results in (log, TaskResults(journal)):
        assert (results.tasks(), results.has("b"), results.has("c")) == (["a", "b"], True, False)
        assert (results.get("b"), results.about("b"), results.log_of("b")) == (
            ("value", b"2", []), {"attempts": 2}, "log/00000002",
        )  # fmt: skip


def test_a_former_owner_finds_its_place_taken(journal):
    former, later = ResultLog(journal, 1), ResultLog(journal, 2)
    former.open()
    former.append({"a": ("value", b"1", [])}, {"a": {}})
    later.open()
    assert later.tasks() == ["a"]
    with pytest.raises(workflow.WorkflowStillActiveError):
        former.append({"b": ("value", b"2", [])}, {"b": {}})
    later.append({"b": ("value", b"3", [])}, {"b": {}})
    assert TaskResults(journal).get("b") == ("value", b"3", [])


def test_an_owner_that_comes_to_the_log_late_stays_out(journal):
    ResultLog(journal, 3).open()
    with pytest.raises(workflow.WorkflowStillActiveError):
        ResultLog(journal, 2).open()


def test_a_damaged_record_of_the_log_counts_as_missing(journal):
    log = ResultLog(journal, 1)
    log.open()
    log.append({"a": ("value", b"1" * 100, [])}, {"a": {}})
    (record,) = [path for path in Path(journal.store.path).rglob("*.ffr") if "log" in path.name]
    data = record.read_bytes()
    record.write_bytes(data.replace(b"1" * 100, b"2" * 100))
    assert results_in(journal, "log/00000001") == {}
    assert TaskResults(journal).get("a") is None
    log.append({"a": ("value", b"3", [])}, {"a": {}})
    assert TaskResults(journal).get("a") == ("value", b"3", [])
