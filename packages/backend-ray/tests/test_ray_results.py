"""How results are passed on: items alone, large arrays without copies, durations beside references."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

import pytest

from functionfuse import workflow
from functionfuse.backends.builtin.rayback import RayWorkflow
from functionfuse.errors import NodeError
from functionfuse.storage import FileStore, RayStore

np = pytest.importorskip("numpy", reason="numpy is not installed")
make = partial(RayWorkflow, workflow_name="results")

FAILING = """
import gc, sys, ray
from functionfuse import workflow
from functionfuse.backends.builtin.rayback import RayWorkflow

@workflow
def fails():
    raise ValueError("no")

@workflow
def same(x):
    return x

ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
for _ in range(int(sys.argv[1])):
    node = fails()
    for _ in range(5):
        node = same(node)
    try:
        RayWorkflow(node, same(fails()), workflow_name="failing").run()
    except Exception as error:
        print(type(error).__name__)
    gc.collect()
ray.shutdown()
"""


@workflow
def ones(count):
    return np.ones(count)


@workflow
def same(value):
    return value


@workflow
def first_and_length(array):
    return float(array[0]), len(array)


@workflow
def parts():
    return {"small": 1, "large": np.zeros(1_000_000), -1: [5, 6]}


@workflow
def pair():
    return 1, 2


@workflow
def add(a, b):
    return a + b


@workflow
class Table:
    def __init__(self):
        self.rows = 0

    def grow(self):
        self.rows += 1
        return {"rows": self.rows, "large": np.zeros(1_000_000)}


class TestItems:
    """``node[key]`` is a value of its own that the node's task returns."""

    def test_an_item_takes_no_task_of_its_own(self, local_ray, monkeypatch):
        from functionfuse.backends.builtin._ray import values

        monkeypatch.setattr(values, "take_item", None)
        made = parts()
        assert make(add(made["small"], pair()[1])).run() == 3

    def test_a_path_of_items(self, local_ray):
        assert make(add(parts()[-1][0], parts()[-1][-1])).run() == 11

    def test_items_beside_the_whole(self, local_ray):
        both = pair()
        assert make(add(both[0], both[-1]), both, both[1]).run() == [3, (1, 2), 2]

    def test_items_of_a_call(self, local_ray):
        table = Table()
        table.grow()
        assert make(add(table.grow()["rows"], 1)).run() == 3

    def test_a_missing_item_spoils_only_what_takes_it(self, local_ray):
        both = pair()
        good, bad = add(both[0], both[1]).set_name("good"), add(both[0], both[7]).set_name("bad")
        with pytest.raises(NodeError, match=r"(?s)node 'bad' failed: IndexError.*has no item \[7\]"):
            make(good, bad).run()
        assert make(good, scope="ancestors").run() == 3

    def test_a_missing_item_behind_a_reference(self, local_ray):
        import ray

        reference = make(pair().set_name("pair")[7]).run(return_results=False)
        with pytest.raises(ray.exceptions.RayTaskError, match="has no item"):
            ray.get(reference)

    @pytest.mark.parametrize("stored", [False, True])
    def test_of_a_step_that_is_stored(self, local_ray, tmp_path, stored):
        both = pair().set_name("pair")
        made = make(add(both[0], both[1]))
        if stored:
            made.set_storage(store := FileStore(tmp_path / "store"))
        assert made.run() == 3
        assert not stored or store.read_task("results", "pair") == (1, 2)
        assert made.run() == 3


class TestLargeArrays:
    def test_one_that_is_passed_on_is_not_copied(self, local_ray):
        import ray

        array = ones(1_000_000).set_name("array")
        node = array
        for _ in range(10):
            node = same(node)
        first, last = make(array, node).run(return_results=False)
        assert first == last
        assert ray.get(last).sum() == 1_000_000

    def test_by_keyword_and_from_the_driver(self, local_ray):
        array = np.ones(1_000_000)
        assert make(first_and_length(array=same(value=array))).run() == (1.0, 1_000_000)

    def test_one_that_is_stored_under_both_names(self, local_ray, tmp_path):
        made = make(same(ones(1_000_000).set_name("array")).set_name("same"))
        made.set_storage(store := FileStore(tmp_path / "store"))
        assert made.run().sum() == 1_000_000
        assert store.list_tasks("results") == ["array", "same"]
        assert store.info("results", "same")["meta"]["seconds"] < 60

    def test_one_that_was_changed_is_another(self, local_ray):
        @workflow
        def increased(values):
            values.append(1)
            return values

        assert make(increased(increased(same([0] * 500_000)))).run()[-3:] == [0, 1, 1]


def test_durations_of_results_that_a_store_takes_by_reference(local_ray, tmp_path):
    @workflow
    def waits():
        import time

        time.sleep(0.3)
        return 1

    made = make(add(waits().set_name("waits"), 1).set_name("after"))
    made.set_storage(store := RayStore(str(tmp_path), {"num_cpus": 0}))
    assert made.run() == 2
    assert 0.3 <= store.info("results", "waits")["meta"]["seconds"] < 5
    assert 0.0 <= store.info("results", "after")["meta"]["seconds"] < 0.3


@workflow
def place(array, number):
    return os.getpid(), array.__array_interface__["data"][0], float(array[number])


def test_a_large_value_in_arguments_is_stored_once_for_all_nodes(local_ray):
    array = np.arange(1_000_000.0)
    made = make(*[place(array, number).set_name(f"n{number}") for number in range(12)])
    made.query("n1.*").set_retry(1)  # these travel as bytes
    places = made.run()
    assert [value for *_, value in places] == list(range(12))
    processes = {pid for pid, *_ in places}
    assert len({(pid, address) for pid, address, _ in places}) == len(processes)


def runs_that_fail(tmp_path, count):
    """Return the process of so many runs with failures, after one another, on a cluster of their own."""
    program = tmp_path / "program.py"
    program.write_text(FAILING)
    arguments = [sys.executable, program, str(count)]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow(reason="a cluster of its own")
def test_failures_that_follow_from_one_are_not_logged(tmp_path):
    ended = runs_that_fail(tmp_path, 3)
    assert "Unhandled error" not in ended.stderr
    assert ended.stdout == "NodeError\n" * 3, ended.stderr


@pytest.mark.slow(reason="a cluster of its own")
def test_tasks_are_cancelled_while_others_end(tmp_path):
    """Ray ends a process that calls `ray.cancel` at the moment at which the task's answer arrives."""
    ended = runs_that_fail(tmp_path, 100)
    assert ended.stdout == "NodeError\n" * 100, ended.stderr
