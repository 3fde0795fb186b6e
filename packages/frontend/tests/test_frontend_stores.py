"""Planning with a store: damage, and who asks it what."""

from __future__ import annotations

import pytest

from functionfuse import workflow
from functionfuse.backends.base import BaseWorkflow
from functionfuse.errors import CorruptRecord, NodeError, OptionError
from functionfuse.stores import make_store, objects_of, open_store, runs_of, store_kinds
from functionfuse.testing import MemoryStore
from functionfuse.testing.functions import IncrementalSum, NotedSum, add, noted, noted_words, same, sum_of


class Serial(BaseWorkflow):
    def execute(self, run, **engine):
        for task in run.in_order():
            run.perform_here(task)


class Damaged(MemoryStore):
    """Refuses to give one result, or its footer, until that is saved again."""

    def __init__(self):
        super().__init__()
        self.damaged = {}

    def save(self, workflow_name, task_name, obj, **options):
        self.damaged.pop(task_name, None)
        return super().save(workflow_name, task_name, obj, **options)

    def read_task(self, workflow_name, task_name):
        if task_name in self.damaged:
            raise CorruptRecord(f"{task_name} is not what was written")
        return super().read_task(workflow_name, task_name)

    def info(self, workflow_name, task_name):
        if self.damaged.get(task_name) == "footer":
            raise CorruptRecord(f"{task_name} is not what was written")
        return super().info(workflow_name, task_name)


@pytest.fixture
def store():
    return Damaged()


@pytest.fixture
def flow(store, tmp_path):
    log = str(tmp_path / "log")
    first = noted(log, "first", 1).set_name("first")
    flow = Serial(noted(log, "second", 2, first).set_name("second"), workflow_name="w")
    flow.set_storage(store)
    flow.run()
    flow.words = lambda: noted_words(log)
    return flow


class WithoutFinding:
    """A store with the verbs of `Store` alone: results are found by their names."""

    def __init__(self, store):
        self.always_read = False
        for verb in ("new_workflow", "save", "read_task", "info", "has_tasks"):
            setattr(self, verb, getattr(store, verb))


def test_a_damaged_footer_is_seen_by_the_plan(flow, store):
    flow.set_storage(WithoutFinding(store))
    store.damaged["first"] = "footer"
    with pytest.warns(UserWarning, match="'first' is damaged and will be made again"):
        plan = flow.plan()
    assert [(s.name, s.action) for s in plan] == [("first", "run"), ("second", "reuse")]
    with pytest.warns(UserWarning, match="'first' is damaged"):
        assert flow.run() == 2
    assert flow.words() == ["first", "second", "first"]


def test_a_damaged_result_is_made_again(flow, store):
    store.damaged["second"] = "data"
    with pytest.warns(UserWarning, match="'second' cannot be read and will be made again: second is not what was"):
        assert flow.run() == 2
    assert flow.words() == ["first", "second", "second"]


def test_a_damaged_result_that_nobody_takes_is_left(flow, store):
    store.damaged["first"] = "data"
    assert flow.run() == 2
    assert flow.words() == ["first", "second"]


def test_a_store_that_stays_damaged(flow, store):
    class Forgetful(dict):
        def pop(self, *args):
            return None

    store.damaged = Forgetful(first="data")
    changed = Serial(add(flow.dag.nodes["first"], 1).set_name("third"), workflow_name="w")
    changed.set_storage(store)
    with pytest.warns(UserWarning, match="'first' cannot be read"):
        assert changed.run() == 2


def test_a_rerun_asks_once(flow, store):
    store.counts.clear()
    flow.run()
    assert store.counts == {"new_workflow": 1, "find_results": 1, "link_results": 1, "read_task": 1}


def test_a_rerun_asks_a_store_without_finding_for_each_footer(flow, store):
    flow.set_storage(WithoutFinding(store))
    store.counts.clear()
    flow.run()
    assert store.counts == {"new_workflow": 1, "has_tasks": 1, "info": 2, "read_task": 1}


def test_equal_results_are_asked_for_once_however_many_graphs_are_returned(store):
    @workflow
    def counted_down(n):
        return counted_down(n - 1).set_name("next") if n else 7

    flow = Serial(counted_down(5).set_name("five"), workflow_name="w")
    flow.set_storage(store)
    assert flow.run() == 7
    assert store.counts["equal_results"] == 1


def test_without_reuse_nothing_is_asked(flow, store):
    store.counts.clear()
    flow.run(reuse="never")
    assert store.counts == {"new_workflow": 1, "save": 2}


def reads_of_records(store, monkeypatch):
    """Return the ids of runs whose records are read from now on."""
    read_task, reads = store.read_task, []

    def noted(workflow_name, task_name):
        if workflow_name == runs_of("w"):
            reads.append(task_name)
        return read_task(workflow_name, task_name)

    monkeypatch.setattr(store, "read_task", noted)
    return reads


def test_a_plan_that_reuses_everything_reads_no_record_of_a_run(flow, store, monkeypatch):
    reads = reads_of_records(store, monkeypatch)
    assert flow.plan().having("reuse") == ["first", "second"]
    assert reads == []


def test_a_plan_reads_a_record_once(store, monkeypatch):
    def made(value):
        flow = Serial(*(same((n, value)).set_name(f"n{n}") for n in range(5)), workflow_name="w")
        flow.set_storage(store)
        return flow

    made(1).run()
    reads = reads_of_records(store, monkeypatch)
    assert made(2).plan()["n3"].reason == "argument value: (3, 1) -> (3, 2)"
    assert len(reads) == 1


def test_without_a_record_the_part_is_named(store):
    flows = [Serial(same(n).set_name("n"), workflow_name="w") for n in (1, 2)]
    for flow in flows:
        flow.set_storage(WithoutFinding(store))
    flows[0].run()
    assert flows[1].plan()["n"].reason == "changed: arguments"


def test_a_damaged_record_is_passed_over(flow, store):
    flow.run(reuse="never")
    newest = store.list_tasks(runs_of("w"))[-1]
    store.save(runs_of("w"), newest, b"damaged")
    changed = Serial(same(1).set_name("first"), workflow_name="w")
    changed.set_storage(store)
    assert changed.plan()["first"].reason == "function: noted() -> same() (and 2 more)"


def test_planning_saves_nothing(flow, store):
    store.counts.clear()
    flow.plan()
    assert set(store.counts) == {"find_results"}


def test_what_was_stored_by_others_is_not_trusted(store):
    store.save("w", "n", "by hand")
    flow = Serial(same(1).set_name("n"), workflow_name="w")
    flow.set_storage(store)
    assert flow.plan()["n"].reason == "stored without a recipe"
    assert flow.run() == 1


def test_workflows_do_not_share_results(store):
    flows = [Serial(same(n).set_name("n"), workflow_name=f"w{n}") for n in (1, 2)]
    for flow in flows:
        flow.set_storage(store)
    assert [flow.run(reuse="name") for flow in flows] == [1, 2]


def test_a_full_store_fails_the_node(store, monkeypatch):
    def full(*args, **options):
        raise OSError("no space left on device")

    monkeypatch.setattr(store, "save", full)
    flow = Serial(same(1).set_name("n"), workflow_name="w")
    flow.set_storage(store)
    failed = pytest.raises(NodeError, match=r"(?s)'n' failed: OSError: no space left.*its result cannot be stored")
    with failed, pytest.warns(UserWarning, match="has no whole record, which cannot be written"):
        flow.run()


def test_a_recipe_has_parts(flow, store):
    assert sorted(store.info("w", "second")["recipe"]) == ["arguments", "digest", "function", "inputs"]


@workflow
class Purse:
    def __init__(self):
        self.coins = 1

    def take(self, other):
        self.coins += other.coins
        return self.coins


def test_a_call_with_its_own_object_is_reused(store):
    def flow():
        made = Purse()
        last = made.take(made).set_name("last")
        flow = Serial(last, workflow_name="w")
        flow.set_storage(store)
        return flow

    assert flow().run() == 2
    assert flow().plan()["last"].action == "reuse"


def test_the_object_itself_is_asked_for(store, tmp_path):
    def flow(log):
        one = NotedSum(log, 1).set_name("one")
        one.add("first", 2).set_name("first")
        flow = Serial(one, workflow_name="w")
        flow.set_storage(store)
        return flow

    log = str(tmp_path / "log")
    assert [flow(log).run().sum, flow(log).run().sum] == [3, 3]
    assert [step.action for step in flow(log).plan()] == ["reuse", "reuse"]
    store.remove_workflow(objects_of("w"))
    assert flow(log).plan()["first"].reason == "the object itself is returned"


def test_objects_with_readers_of_several(store, tmp_path):
    def flow(last):
        one, other = IncrementalSum(1).set_name("one"), IncrementalSum(10).set_name("other")
        one.add(1).set_name("one_1")
        other.add(1).set_name("other_1")
        both = same([one, other]).set_name("both")
        result = other.add(last).set_name("other_2")
        flow = Serial(result, both, workflow_name="w", scope="graph")
        flow.set_storage(None)
        return flow

    result, both = flow(5).run()
    assert result == 16
    assert [one.start for one in both] == [2, 16]


def test_a_removed_call_alone_runs_again(store, tmp_path):
    def flow(log):
        one = NotedSum(log, 1).set_name("one")
        one.add("first", 2).set_name("first")
        last = one.add("second", 3).set_name("second")
        reader = sum_of(one).set_name("reader")
        flow = Serial(last, reader, workflow_name="w")
        flow.set_storage(store)
        return flow

    log = str(tmp_path / "log")
    flow(log).run()
    store.remove_task("w", "second")
    plan = flow(log).plan()
    assert {step.name: step.action for step in plan} == {
        "one": "reuse",
        "first": "reuse",
        "second": "run",
        "reader": "reuse",
    }
    assert plan["second"].resumes == {"one": "first"}
    assert flow(log).run() == [6, 6]


def two_calls(store, log, last):
    one = NotedSum(log, 1).set_name("one")
    one.add("first", 2).set_name("first")
    flow = Serial(one.add("second", last).set_name("second"), workflow_name="w")
    flow.set_storage(store)
    return flow


def test_a_kept_state_that_is_gone_makes_the_calls_before_run(store, tmp_path):
    log = str(tmp_path / "log")
    assert two_calls(store, log, 3).run() == 6
    store.remove_task(objects_of("w"), "first")
    assert [step.reason for step in two_calls(store, log, 4).plan()][1] == "'second' runs, and needs the object"
    assert two_calls(store, log, 4).run() == 7
    assert noted_words(log) == ["start", "first", "second", "first", "second"]


def test_a_damaged_state_is_made_again(tmp_path):
    store = Damaged()

    log = str(tmp_path / "log")
    assert two_calls(store, log, 3).run() == 6
    store.damaged["first"] = "content"
    with pytest.warns(UserWarning, match="first"):
        assert two_calls(store, log, 4).run() == 7
    assert noted_words(log) == ["start", "first", "second", "first", "second"]


def test_a_reader_and_a_later_call_of_one_object_run_again(store, tmp_path):
    """Each from its own kept state, and the call after the reader."""

    def flow(log, factor, last):
        one = NotedSum(log, 1).set_name("one")
        one.add("first", 1).set_name("first")
        reader = add(sum_of(one).set_name("seen"), factor).set_name("reader")
        one.add("second", 1).set_name("second")
        flow = Serial(reader, one.add("third", last).set_name("third"), workflow_name="w")
        flow.set_storage(store)
        return flow

    log = str(tmp_path / "log")
    assert flow(log, 10, 1).run() == [12, 4]
    store.remove_task("w", "seen")
    plan = flow(log, 20, 5).plan()
    assert plan.having("run") == ["seen", "reader", "third"]
    assert (plan["seen"].resumes, plan["third"].resumes) == ({"one": "first"}, {"one": "second"})
    assert "seen" in plan["third"].after
    assert flow(log, 20, 5).run() == [22, 8]
    assert noted_words(log) == ["start", "first", "second", "third", "third"]


def test_the_states_of_objects_go_with_their_workflow(store, tmp_path):
    one = NotedSum(str(tmp_path / "log"), 1).set_name("one")
    flow = Serial(one.add("first", 1).set_name("first"), workflow_name="w")
    flow.set_storage(store)
    flow.run()
    assert store.list_workflows() == ["w"]
    assert store.list_tasks(objects_of("w")) == ["first", "one"]
    store.remove_workflow("w")
    assert store.list_tasks(objects_of("w")) == []


def test_without_any_kind_of_store_the_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **group: [])
    assert store_kinds() == []
    for make in (lambda: open_store("file:results"), lambda: make_store("file", {})):
        with pytest.raises(OptionError, match="available: none; pip install functionfuse-storage"):
            make()
