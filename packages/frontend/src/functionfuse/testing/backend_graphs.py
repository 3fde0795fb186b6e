"""The conformance suite of backends: whole graphs, their results, and their size."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from functionfuse.errors import DuplicateNameError, OptionError
from functionfuse.testing.backend_suite import BackendSuite, StepLog, actions
from functionfuse.testing.functions import Heavy, add, heavy, noted, same, total
from functionfuse.testing.standard_tests import core


class GraphTests(BackendSuite, suite=True):
    """What runs, what comes back, and that nothing is left behind on the nodes."""

    @core
    def test_the_quick_start(self, run: Any) -> None:
        """The specification's first example."""
        a_plus_b = add(1, 1).set_name("node1")
        a_plus_two_b = add(a_plus_b, 1).set_name("node2")
        assert run(add(a_plus_b, a_plus_two_b).set_name("node3")) == 5

    def test_the_first_node_runs_the_last(self, run: Any, log: StepLog) -> None:
        """The whole graph runs, whichever of its nodes was given."""
        first = noted(log.path, "first", 1)
        second = noted(log.path, "second", 2, first)
        noted(log.path, "beside", 3, noted(log.path, "other_root", 4), second)
        assert run(first) == 1
        assert log.sorted() == ["beside", "first", "other_root", "second"]

    def test_ancestors_only(self, run: Any, log: StepLog) -> None:
        """``scope="ancestors"`` runs what the given node needs."""
        first = noted(log.path, "first", 1)
        second = noted(log.path, "second", 2, first)
        noted(log.path, "after", 3, second)
        noted(log.path, "beside", 3, first)
        assert run(second, scope="ancestors") == 2
        assert log.words() == ["first", "second"]

    def test_results_of_several(self, run: Any) -> None:
        """A list, in the order given; a node given twice comes twice."""
        a, b = add(1, 0), add(2, 0)
        assert run(b, a, b) == [2, 1, 2]

    def test_a_result_of_one_is_no_list(self, run: Any) -> None:
        """Of one node, its value, whatever that is."""
        assert run(same([1])) == [1]

    def test_items_as_results(self, run: Any) -> None:
        """An item may be given instead of a node."""
        node = same({"a": [1, 2, 3]})
        assert run(node["a"][0]) == 1
        assert run(node["a"][1:], node) == [[2, 3], {"a": [1, 2, 3]}]

    def test_unconnected_graphs(self, run: Any) -> None:
        """Two graphs given to one workflow run both."""
        assert run(add(1, 1), add(2, 2)) == [2, 4]

    @core
    def test_running_twice(self, make_workflow: Any) -> None:
        """One workflow gives the same results again."""
        pair = add(add(1, 2), 3)
        workflow = make_workflow(pair, pair)
        assert [workflow.run(), workflow.run()] == [[6, 6], [6, 6]]

    def test_two_workflows_on_one_graph(self, make_workflow: Any, log: StepLog) -> None:
        """The second one runs, and returns the result of its own node."""
        first = noted(log.path, "first", 1)
        second = noted(log.path, "second", 2, first)
        assert [make_workflow(first).run(), make_workflow(second).run()] == [1, 2]
        assert log.words() == ["first", "second", "first", "second"]

    def test_two_workflows_at_the_same_time(self, make_workflow: Any) -> None:
        """A node knows nothing of runs."""
        nodes = [add(0, 0)]
        for number in range(20):
            nodes.append(add(nodes[-1], number))
        workflows = [make_workflow(nodes[-1], workflow_name="one"), make_workflow(nodes[10], workflow_name="two")]
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(lambda workflow: workflow.run(), workflows)) == [190, 45]

    @pytest.mark.parametrize(
        "name",
        ["linearly_separable_dataset, Nearest Neighbors-model", "a/b", "..", "zażółć 日本", "x" * 1000, "a:b{c}", "\n"],
    )
    def test_any_string_is_a_name(self, make_workflow: Any, name: str) -> None:
        """Of a node and of a workflow."""
        workflow = make_workflow(add(same(1).set_name(name), 1), workflow_name=name)
        assert workflow.run() == 2
        assert [step.name for step in workflow.plan()] == [name, "add_0000"]

    def test_duplicate_names(self, make_workflow: Any) -> None:
        """Two nodes of one name are refused, with both call sites."""
        first = add(1, 1).set_name("same")
        second = add(first, 1).set_name("same")
        with pytest.raises(DuplicateNameError, match=r"'same'.*add at .*:\d+ and add at .*:\d+"):
            make_workflow(second)

    def test_what_is_no_node(self, make_workflow: Any) -> None:
        """A workflow is made from nodes."""
        for wrong in ((), (5,), (add,), ([add(1, 1)],)):
            with pytest.raises(OptionError, match="node"):
                make_workflow(*wrong)

    def test_the_plan_of_a_graph(self, make_workflow: Any, log: StepLog) -> None:
        """Planning runs nothing; the order is that of creation, whatever was given."""
        a = noted(log.path, "a").set_name("a")
        b = noted(log.path, "b").set_name("b")
        c = noted(log.path, "c", None, b, a).set_name("c")
        plans = [make_workflow(node).plan() for node in (a, b, c)]
        assert [actions(plan) for plan in plans] == [{"a": "run", "b": "run", "c": "run"}] * 3
        assert [step.name for step in plans[1]] == ["a", "b", "c"]
        assert {step.reason for step in plans[0]} == {"no store is set"}
        assert log.words() == []

    def test_a_wide_graph(self, run: Any) -> None:
        """Many nodes, wired at random but always alike, against plain Python."""
        wires = random.Random(5)  # noqa: S311
        nodes, values = [same(1)], [1]
        for number in range(self.graph_size):
            chosen = [wires.randrange(len(nodes)) for _ in range(wires.randrange(1, 5))]
            nodes.append(total([number, *[nodes[i] for i in chosen]]))
            values.append(number + sum(values[i] for i in chosen))
        assert run(*nodes) == values

    @core
    def test_a_long_chain(self, run: Any) -> None:
        """No recursion limit."""
        node = add(0, 0)
        for _ in range(self.chain_length):
            node = add(node, 1)
        assert run(node) == self.chain_length

    def test_results_are_released(self, run: Any) -> None:
        """A result lives until its last consumer is done: two of a chain, and a third on the way."""
        if not self.in_process:
            pytest.skip("results live in other processes")
        Heavy.alive.clear()
        node = heavy(0)
        for _ in range(20):
            node = heavy(node[1], node[0])
        assert run(node[1]) <= 3
        assert len(Heavy.alive) == 0
