"""The conformance suite of backends: functions that return nodes."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from functionfuse import workflow
from functionfuse.errors import NodeError, UnknownNodeError, UsageError, WorkflowFailed
from functionfuse.testing.backend_suite import BackendSuite, StepLog, requires
from functionfuse.testing.functions import (
    IncrementalSum,
    Point,
    add,
    descend,
    fails,
    fibonacci,
    halve_until_odd,
    noted,
    object_after_calls,
    same,
    start_of,
)
from functionfuse.testing.standard_tests import core

NOT_VALUES: dict[str, Any] = {
    "compared": lambda node: "two" if node == 2 else "another",
    "text": lambda node: f"it is {node}",
    "condition": lambda node: "yes" if node else "no",
}


@requires("dynamic")
class DynamicTests(BackendSuite, suite=True):
    """The returned graph runs instead of the node, and its result becomes the node's."""

    @core
    def test_recursion(self, run: Any) -> None:
        """Fibonacci's numbers, as one writes them."""
        assert run(add(fibonacci(7), 0)) == 13

    def test_recursion_by_value(self, run: Any) -> None:
        """Of a function that no worker can import."""

        @workflow
        def factorial(n: int) -> Any:
            return multiplied(n, factorial(n - 1)) if n else 1

        @workflow
        def multiplied(a: int, b: int) -> int:
            return a * b

        assert run(factorial(5)) == 120

    def test_deep_recursion(self, run: Any) -> None:
        """Neither Python's recursion limit nor the number of workers bounds it."""
        assert run(descend(self.recursion_depth)) == self.recursion_depth

    def test_a_loop(self, run: Any) -> None:
        """Each turn returns the node of the next."""
        assert run(halve_until_odd(3 * 2**20)) == 3

    @core
    def test_returned_containers(self, run: Any) -> None:
        """Of nodes and values, at any depth."""

        @workflow
        def several(n: int) -> Any:
            return [add(n, 1), {"k": (add(n, 2), n)}, Point(add(n, 3), "text")]

        node = several(same(0))
        assert run(node, node[1]["k"][0]) == [[1, {"k": (2, 0)}, Point(3, "text")], 2]

    def test_a_returned_item(self, run: Any) -> None:
        """An item of a node, of itself and in a list."""

        @workflow
        def items() -> Any:
            pair = same([4, 5])
            return [pair[0], [pair[-1]]]

        @workflow
        def item() -> Any:
            return same({"a": [6]})["a"][0]

        assert run(items(), item()) == [[4, [5]], 6]

    def test_only_what_the_result_needs_runs(self, run: Any, log: StepLog) -> None:
        """Nodes that were made and not returned do not run."""

        @workflow
        def choose(path: str, take: bool) -> Any:
            yes, no = noted(path, "yes", 1), noted(path, "no", 0)
            noted(path, "after", 0, yes)
            return yes if take else no

        assert run(choose(log.path, same(True))) == 1
        assert log.words() == ["yes"]

    def test_nodes_that_are_not_returned(self, run: Any, log: StepLog) -> None:
        """A function may make nodes and return a value."""

        @workflow
        def idle(path: str) -> int:
            noted(path, "never")
            return 5

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where the function runs in this process, it warns here
            assert run(idle(log.path)) == 5
        assert log.words() == []

    @pytest.mark.parametrize("use", NOT_VALUES)
    def test_a_node_that_is_used_as_a_value(self, make_workflow: Any, use: str) -> None:
        """It is refused in the function too, with an error that says what to write instead."""
        wrong = NOT_VALUES[use]

        @workflow
        def uses() -> Any:
            return wrong(add(1, 1))

        with pytest.raises(NodeError, match="inside a decorated function") as caught:
            make_workflow(uses()).run()
        assert isinstance(caught.value.__cause__, UsageError)

    def test_a_returned_object(self, run: Any) -> None:
        """It comes with all the calls that were made of it."""
        if "objects" in self.unsupported:
            pytest.skip(self.unsupported["objects"])
        assert run(start_of(object_after_calls())) == 3

    @requires("store")
    def test_a_returned_object_with_a_store(self, make_workflow: Any, store: Any) -> None:
        """It is made for the result, though no call of its methods has to run."""
        if "objects" in self.unsupported:
            pytest.skip(self.unsupported["objects"])

        @workflow
        def makes() -> Any:
            return IncrementalSum(3)

        for _ in range(2):
            workflow_ = make_workflow(start_of(makes()))
            workflow_.set_storage(store)
            assert workflow_.run() == 3

    @pytest.mark.parametrize("nested", [False, True])
    def test_a_node_from_outside(self, make_workflow: Any, nested: bool) -> None:
        """It has to be passed in as an argument."""
        outside = add(1, 1).set_name("outside")

        @workflow
        def returns_it() -> Any:
            return add(outside, 1) if nested else outside

        if not self.in_process:
            with pytest.raises(NodeError, match="'bad'"):  # it cannot even be sent
                make_workflow(returns_it().set_name("bad")).run()
            return
        with pytest.raises(NodeError, match=r"'bad'.*outside") as caught:
            make_workflow(returns_it().set_name("bad")).run()
        assert type(caught.value.__cause__) is UnknownNodeError

    def test_names_of_children(self, make_workflow: Any) -> None:
        """``parent/child``, counted anew in every parent."""

        @workflow
        def parent(n: int) -> Any:
            return add(add(n, 1).set_name("first"), same(1))

        events: list[tuple[str, str]] = []
        workflow_ = make_workflow(same(parent(1).set_name("p")).set_name("after"))
        workflow_.add_observer(lambda event: events.append((event.kind, event.name)))
        assert workflow_.run() == 3
        assert [name for kind, name in events if kind == "finished"][-2:] == ["p", "after"]
        assert sorted(name for kind, name in events if kind == "started") == [
            "after",
            "p",
            "p/add_0000",
            "p/first",
            "p/same_0000",
        ]

    @core
    def test_a_child_that_fails(self, make_workflow: Any) -> None:
        """The error names the child, by its full name."""

        @workflow
        def parent() -> Any:
            return add(fails("deep inside").set_name("child"), 1)

        with pytest.raises(NodeError, match="'p/child' failed: ValueError: deep inside") as caught:
            make_workflow(parent().set_name("p")).run()
        assert (caught.value.name, caught.value.function) == ("p/child", "fails")

    def test_a_failing_child_skips_what_needs_the_parent(self, make_workflow: Any) -> None:
        """And no other node."""

        @workflow
        def parent() -> Any:
            return [fails("no").set_name("child"), same(1)]

        made = parent().set_name("p")
        same(made).set_name("after")
        events: list[tuple[str, str]] = []
        workflow_ = make_workflow(made, same(5).set_name("beside"))
        workflow_.add_observer(lambda event: events.append((event.kind, event.name)))
        with pytest.raises(WorkflowFailed) as caught:
            workflow_.run(on_error="continue")
        report = caught.value.report
        assert [kind for kind, name in events if name == "p"] == ["started", "failed"]
        assert list(report.failed) == ["p/child"]
        assert report.skipped == {"p": "p/child", "after": "p/child"}
        assert "beside" in report.finished

    @core
    @requires("store")
    def test_children_are_stored_and_reused(self, make_workflow: Any, store: Any, log: StepLog) -> None:
        """A changed parent runs again, and takes those of its children that are unchanged."""

        @workflow
        def parent(path: str, last: int) -> Any:
            return [noted(path, f"{n}", n).set_name(f"child {n}") for n in (1, last)]

        for last in (2, 3):
            workflow_ = make_workflow(parent(log.path, last).set_name("p"))
            workflow_.set_storage(store)
            assert workflow_.run() == [1, last]
        assert log.sorted() == ["1", "2", "3"]
        assert set(store.list_tasks("conformance")) == {"p", "p/child 1", "p/child 2", "p/child 3"}
