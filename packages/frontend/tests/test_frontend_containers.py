"""Containers: copied with what they hold replaced, at any depth."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, namedtuple

import pytest

from functionfuse.containers import rebuild
from functionfuse.graph import Graph
from functionfuse.plan import Ref, steps_of
from functionfuse.testing.functions import same

Point = namedtuple("Point", "x y")


class Mark:
    """Something that is not plain, so that the container around it is looked through."""


MARK = Mark()


class Names(list):
    label = "kept"


NESTS = {
    "nothing": lambda x: x,
    "list": lambda x: [x, [x, 1]],
    "tuple": lambda x: (x, (x, "a")),
    "dict_value": lambda x: {1: x, "a": {3: x}},
    "dict_key": lambda x: {x: 1, (x,): 2},
    "set": lambda x: {x, 1},
    "frozenset": lambda x: frozenset({1, (x,)}),
    "named_tuple": lambda x: Point(x, [x]),
    "ordered": lambda x: OrderedDict([("b", x), ("a", 2)]),
    "default": lambda x: defaultdict(list, a=x),
    "counter": lambda x: Counter({x: 3}),
    "subclass": lambda x: Names([x]),
    "empty": lambda x: [[], (), {}, set(), x],
}


@pytest.mark.parametrize("nest", NESTS)
def test_what_is_held_is_replaced(nest):
    make = NESTS[nest]
    result = rebuild(make(MARK), lambda item: 7 if item is MARK else item)
    assert result == make(7)
    assert type(result) is type(make(7))


def test_plain_containers_are_copied_as_a_whole():
    value = [1, [2, 3]]
    result = rebuild(value, lambda item: item)
    assert result == value
    assert result is not value
    assert result[1] is not value[1]


def test_unchanged_immutable_containers_are_kept():
    value = (1, Point(2, 3), frozenset({4}))
    assert rebuild(value, lambda item: item) is value


def test_a_changed_subclass_keeps_its_type_and_attributes():
    names = Names([MARK])
    names.label = "mine"
    result = rebuild(names, lambda item: "new")
    assert (type(result), result, result.label) == (Names, ["new"], "mine")


def test_a_hundred_thousand_lists():
    value = MARK
    for _ in range(100_000):
        value = [value]
    result = rebuild(value, lambda item: "found")
    depth = 0
    while result != "found":
        (result,) = result
        depth += 1
    assert depth == 100_000


def test_a_node_in_a_hundred_thousand_lists():
    node = value = same(1)
    for _ in range(100_000):
        value = [value]
    taker = same(value)
    assert list(taker._needs) == [node]


def test_a_shared_container():
    shared = [MARK]
    assert rebuild([shared, shared], lambda item: 1) == [[1], [1]]


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_a_container_that_holds_itself(kind):
    value = [MARK] if kind == "list" else {"a": MARK}
    value.append([value]) if kind == "list" else value.update(b=(value,))
    with pytest.raises(TypeError, match=f"a {kind} that contains itself cannot be an argument"):
        same(value)


def test_arguments_are_captured_at_the_call():
    inner, node = [1], same(0)
    outer = {"a": inner, "n": node}
    made = same(outer)
    inner.append(2)
    outer["b"] = 3
    (argument,) = steps_of(Graph([made]))[1].args
    assert argument.value == {"a": [1], "n": Ref("same_0000")}


def test_two_keys_that_become_one():
    assert rebuild({MARK: 1, "a": 2}, lambda item: "a" if item is MARK else item) == {"a": 2}
