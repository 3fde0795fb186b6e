"""The conformance suite of backends: arguments."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict, deque
from typing import Any

import pytest

from functionfuse import workflow
from functionfuse.errors import NodeError, UsageError
from functionfuse.testing.backend_suite import BackendSuite, StepLog, requires
from functionfuse.testing.functions import (
    ITERATORS,
    Countdown,
    Point,
    add,
    distinct,
    iterates,
    makes_lock,
    noted,
    received,
    same,
    sorts,
    takes_lock,
    total,
    twice,
)
from functionfuse.testing.standard_tests import core

NESTS: dict[str, Any] = {
    "plain": lambda n: n,
    "list": lambda n: [0, n, [n]],
    "tuple": lambda n: (n, (0, n)),
    "dict_value": lambda n: {"a": n, "b": {"c": n}},
    "dict_key": lambda n: {n: "value"},
    "set": lambda n: {n, 1},
    "frozenset": lambda n: {frozenset({n, 2})},
    "named_tuple": lambda n: Point(n, Point(0, n)),
    "ordered_dict": lambda n: OrderedDict(z=n, a=[n]),
    "default_dict": lambda n: defaultdict(list, z=n),
    "mixed": lambda n: [{"a": ({n}, Point(x=[n], y={(n, 1): n}))}],
    "empty": lambda n: [[], (), {}, set(), n],
}


class ArgumentTests(BackendSuite, suite=True):
    """Nodes are found in arguments, wherever they stand."""

    @core
    @pytest.mark.parametrize("nest", NESTS)
    def test_nodes_in_containers(self, run: Any, nest: str) -> None:
        """At any depth, and the containers keep their types."""
        make = NESTS[nest]
        expected = ((make(7),), {"key": make(7)})
        node = add(3, 4)
        result = run(received(make(node), key=make(node)))
        assert expected == result
        assert type(make(7)) is type(result[0][0])

    def test_a_node_in_a_hundred_lists(self, run: Any) -> None:
        """Depth is no matter."""
        value: Any = add(1, 2)
        for _ in range(100):
            value = [value]
        result = run(same(value))
        for _ in range(100):
            (result,) = result
        assert result == 3

    def test_one_node_in_many_places(self, run: Any) -> None:
        """Positional, by keyword, twice in one list."""
        node = add(1, 1)
        assert run(received(node, [node, node], a=node, b={"c": node})) == ((2, [2, 2]), {"a": 2, "b": {"c": 2}})

    def test_keyword_arguments_and_defaults(self, run: Any) -> None:
        """As in plain Python."""

        @workflow
        def defaults(a: int, /, b: int = 2, *, c: int = 3) -> tuple[int, int, int]:
            return a, b, c

        nodes = [defaults(1), defaults(1, add(2, 2)), defaults(1, c=add(3, 3)), defaults(1, b=0, c=0)]
        assert run(*nodes) == [(1, 2, 3), (1, 4, 3), (1, 2, 6), (1, 0, 0)]

    @core
    def test_parameters_with_any_name(self, run: Any) -> None:
        """Even those that the library uses itself."""

        @workflow
        def named(self: int, name: int, node: int, args: int) -> list[int]:
            return [self, name, node, args]

        assert run(named(self=1, name=2, node=3, args=add(2, 2))) == [1, 2, 3, 4]

    @core
    @pytest.mark.parametrize("value", [bytearray(b"ab"), [bytearray(b"ab"), 2**70], {"k": bytearray(b"ab")}, "\ud800"])
    def test_values_keep_their_types(self, run: Any, value: Any) -> None:
        """As literals, as results, and as items of results."""
        results = run(received(value, key=value), received(same(value)), same([value])[0], same(value))
        assert repr(results) == repr([((value,), {"key": value}), ((value,), {}), value, value])

    @pytest.mark.parametrize("empty", [[], {}])
    def test_one_object_in_two_places_of_a_result(self, run: Any, empty: Any) -> None:
        """It is one object where the result is taken, too."""
        assert run(distinct(twice(empty)), distinct(same([twice(empty)])[0])) == [1, 1]

    @pytest.mark.parametrize("given", ["literal", "result"])
    def test_an_argument_that_is_changed_in_place(self, make_workflow: Any, given: str) -> None:
        """It is found if that is asked for, and the node named; an unchanged one is fine."""

        def values() -> Any:
            return [3, 1, 2] if given == "literal" else same([3, 1, 2])

        assert make_workflow(sorts(values())).run() == [1, 2, 3]
        with pytest.raises(NodeError, match=r"(?s)'sorts' failed.*argument 0 \(list\) was changed in place"):
            make_workflow(sorts(values()).set_name("sorts")).run(check_arguments=True)
        assert make_workflow(same(values()), same(value=values())).run(check_arguments=True) == [[3, 1, 2]] * 2

    @core
    def test_items_of_results(self, run: Any) -> None:
        """Indices, negative ones, keys, slices, and paths of them."""
        made = same({"k": [[0, 1, 2, 3], Point(x=4, y=(5, 6))], (1, 2): "tuple", None: "none"})
        items = [
            made["k"][0][1:3],
            made["k"][-1].__getitem__(1)[0],
            made[1, 2],
            made[None],
            made["k"][0][-1],
            made["k"][0][::2],
        ]
        assert run(received(*items)) == (([1, 2], 5, "tuple", "none", 3, [0, 2]), {})

    def test_items_in_containers(self, run: Any) -> None:
        """An item stands wherever a node may stand."""
        pair = same([10, {"a": 20}])
        assert run(received([pair[0]], {"x": (pair[1]["a"],)}, k={pair[0]})) == (([10], {"x": (20,)}), {"k": {10}})

    def test_an_item_that_is_not_there(self, make_workflow: Any) -> None:
        """The node that takes it fails, and the error names the item."""
        made = same([1, 2]).set_name("pair")
        with pytest.raises(NodeError, match="'consumer'") as caught:
            make_workflow(same(made[5]).set_name("consumer")).run()
        assert type(caught.value.__cause__) is IndexError

    def test_a_changed_list_changes_no_argument(self, run: Any) -> None:
        """Arguments are as they were at the call."""
        values = [1, add(1, 1)]
        result = total(values)
        values.append(1000)
        assert run(result) == 3

    def test_a_lazy_iterable_is_passed_as_it_is(self, run: Any) -> None:
        """Containers are those of the language; others are values."""
        assert run(same(deque([1, 2]))) == deque([1, 2])

    @pytest.mark.parametrize("kind", ITERATORS)
    def test_an_iterator_as_a_result(self, make_workflow: Any, kind: str) -> None:
        """Who takes it first would use it up: the node fails, and the error says what to write."""
        made = iterates(kind, [1, 2]).set_name("maker")
        with pytest.raises(NodeError, match=r"(?s)'maker' failed: UsageError: the result .*iterator.*list\(") as caught:
            make_workflow(total(made), total(made)).run()
        assert isinstance(caught.value.__cause__, TypeError)

    @pytest.mark.parametrize("kind", ITERATORS)
    def test_an_iterator_as_an_argument(self, kind: str) -> None:
        """The call is refused."""
        with pytest.raises(UsageError, match=r"an argument is an iterator.*list\("):
            same(ITERATORS[kind]([1, 2]))
        with pytest.raises(UsageError, match=r"an argument is an iterator.*list\("):
            same(value={"key": (ITERATORS[kind]([1, 2]),)})

    @core
    @requires("objects")
    def test_a_stateful_object_may_be_an_iterator(self, run: Any) -> None:
        """Its calls have an order."""
        numbers = Countdown(3)
        assert run(numbers.take(), numbers.take(), total(numbers)) == [3, 2, 1]

    @core
    def test_functions_and_classes_as_arguments(self, run: Any) -> None:
        """By value, where they cannot be imported."""

        class Local:
            factor = 3

        @workflow
        def applied(function: Any, cls: Any, n: int) -> int:
            result: int = function(n) * cls.factor
            return result

        offset = 5
        assert run(applied(lambda n: n + offset, Local, add(1, 1))) == 21

    def test_none_and_empty_results(self, run: Any) -> None:
        """They are results like any other."""
        empty: list[Any] = [None, 0, "", [], (), {}, set(), False]
        assert run(*[same(value) for value in empty]) == empty

    def test_equal_calls_are_calls_each(self, run: Any, log: StepLog) -> None:
        """Two nodes with one function and equal arguments are two calls."""
        run(noted(log.path, "call"), noted(log.path, "call"))
        assert log.words() == ["call", "call"]

    @core
    def test_what_cannot_be_pickled_as_an_argument(self, make_workflow: Any) -> None:
        """It passes within a process; else the error names node and argument."""
        workflow = make_workflow(takes_lock(threading.Lock()).set_name("taker"))
        if self.in_process:
            assert workflow.run() == "lock"
            return
        with pytest.raises(NodeError, match=r"(?s)'taker'.*argument 0.*lock"):
            workflow.run()

    @core
    def test_what_cannot_be_pickled_as_a_result(self, make_workflow: Any) -> None:
        """It passes within a process; else the error names node and type."""
        workflow = make_workflow(takes_lock(makes_lock().set_name("maker")))
        if self.in_process:
            assert workflow.run() == "lock"
            return
        with pytest.raises(NodeError, match=r"(?s)'maker'.*result.*lock"):
            workflow.run()
