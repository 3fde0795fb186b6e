"""Nodes: what they refuse, and how they are named and ordered."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import pickle
from collections import ChainMap, UserList, deque
from functools import partial
from types import MappingProxyType, SimpleNamespace

import numpy  # noqa: TID251  of users
import pytest

from functionfuse import workflow
from functionfuse.errors import InvalidNameError
from functionfuse.graph import Graph, parents
from functionfuse.nodes import Node
from functionfuse.testing.functions import Heir, IncrementalSum, add, received, same


@pytest.fixture(params=["node", "item", "object"])
def deferred(request):
    return {"node": add(1, 2), "item": add(1, 2)["k"][0], "object": IncrementalSum(1)}[request.param]


async def _awaited(node):
    return await node


def _matched(node):
    match node:
        case 2:
            return True


TRAPS = {
    "list": (list, "cannot be iterated"),
    "unpack": (lambda node: (lambda a, b: a)(*node), "cannot be iterated"),
    "for": (lambda node: [x for x in node], "cannot be iterated"),  # noqa: C416
    "in": (lambda node: 1 in node, "`in` cannot look"),
    "await": (lambda node: asyncio.run(_awaited(node)), "cannot be awaited"),
    "bool": (bool, "neither true nor false"),
    "not": (lambda node: not node, "neither true nor false"),
    "and": (lambda node: node and 1, "neither true nor false"),
    "len": (len, "no length"),
    "reversed": (reversed, "no length"),
    "equal": (lambda node: node == 2, "cannot be compared with 2"),
    "unequal": (lambda node: node != "text", "cannot be compared with 'text'"),
    "equal_from_the_right": (lambda node: 2 == node, "cannot be compared with 2"),  # noqa: SIM300
    "equal_to_none": (lambda node: node == None, "use `is`"),  # noqa: E711
    "equal_to_a_node": (lambda node: node == add(1, 2), "cannot be compared with <node of add>"),
    "less": (lambda node: node < 2, "cannot be compared"),
    "in_a_list": (lambda node: node in [1, 2], "cannot be compared with 1"),
    "match": (_matched, "cannot be compared with 2"),
    "f_string": (lambda node: f"{node}", "cannot be part of a text"),
    "format": ("{:5}".format, "cannot be part of a text"),
    "pickle": (pickle.dumps, "cannot be pickled or copied"),
    "copy": (copy.copy, "cannot be pickled or copied"),
    "deepcopy": (copy.deepcopy, "cannot be pickled or copied"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_node_is_no_value(deferred, trap):
    use, says = TRAPS[trap]
    with pytest.raises(TypeError, match=says):
        use(deferred)


@pytest.mark.parametrize("use", [str, "%s".__mod__, print])
def test_a_text_of_a_node_warns(deferred, use):
    with pytest.warns(UserWarning, match="describes the node: its value is not known"):
        use(deferred)


def test_a_text_that_shows_a_node():
    assert f"{add(1, 2)!r}" == "<node of add>"


def test_a_node_has_no_attributes_of_its_value():
    with pytest.raises(AttributeError, match=r"no attribute 'shape'; read the attribute inside a decorated function"):
        add(1, 2).shape  # noqa: B018


def test_an_unknown_method_is_named_with_the_known_ones():
    with pytest.raises(AttributeError, match=r"no method 'ad' \(methods: add\)"):
        IncrementalSum(1).ad(2)


def test_an_item_of_an_object_is_refused():
    with pytest.raises(TypeError, match="call one of its methods"):
        IncrementalSum(1)[0]


def test_a_node_is_no_index():
    with pytest.raises(TypeError, match="cannot be an index"):
        add(1, 2)[add(0, 0)]


def test_an_item_has_no_name():
    with pytest.raises(TypeError, match="cannot be named 'x'"):
        add(1, 2)[0].set_name("x")


def test_looking_at_an_object_makes_no_nodes():
    @workflow
    class Shown:
        def _repr_html_(self):
            return "<b>"

        def __array__(self):
            return 0

        def __len__(self):
            return 0

    node = Shown()
    for probed in ("_repr_html_", "_repr_mimebundle_", "_ipython_display_", "__array__", "__sklearn_tags__"):
        assert getattr(node, probed, None) is None
    assert list(Graph([node]).nodes.values()) == [node]


def test_set_name_returns_the_node():
    node = add(1, 2)
    assert node.get_name() is None
    assert node.set_name("a") is node
    assert node.get_name() == "a"


@pytest.mark.parametrize("name", ["", None, 5, b"x", ["x"]])
def test_what_is_no_name(name):
    with pytest.raises(InvalidNameError, match="non-empty string"):
        add(1, 2).set_name(name)


def test_how_nodes_are_shown():
    node = add(1, 2).set_name("n")
    heir = Heir()
    assert [repr(x) for x in (node, node["k"][1], same(1), heir, heir.count)] == [
        "<node 'n' of add>",
        "<node 'n' of add>['k'][1]",
        "<node of same>",
        "<node of Heir>",
        "<method Heir.count of <node of Heir>>",
    ]


def test_nodes_are_compared_by_identity():
    node, other = add(1, 2), add(1, 2)
    assert node == node
    assert not (node != node)  # noqa: SIM202
    assert node in [node, other]
    assert len({node, node, other}) == 2
    assert {node: 1, other: 2}[node] == 1


def test_needs_are_found_once_each_in_order_of_creation():
    first, second = add(1, 2), add(3, 4)
    node = same([second, {second[0], first}])
    assert list(node._needs) == [first, second]


def test_many_arguments_are_found():
    nodes = [same(n) for n in range(1000)]

    @workflow
    def count(*values):
        return len(values)

    counted = count(*nodes)
    assert list(counted._needs) == nodes


def test_many_readers_of_an_object():
    one = IncrementalSum(0)
    first = one.add(1)
    readers = [same(one) for _ in range(1000)]
    last = one.add(2)
    assert list(parents(readers[0])) == [one, first]
    assert list(parents(last)) == readers


class Holder:
    def __init__(self, held):
        self.held = held


def test_a_node_hidden_in_an_attribute_is_refused():
    node = add(1, 2).set_name("hidden")
    with pytest.raises(TypeError, match="attribute 'held' of 'Holder' is <node 'hidden'"):
        add(Holder(node), 1)


class Slotted:
    __slots__ = ("empty", "held")

    def __init__(self, held):
        self.held = held


@dataclasses.dataclass
class Data:
    items: list


HIDDEN = {
    "deque": (lambda node: deque([node]), "'deque' holds"),
    "keys": (lambda node: {node: 1}.keys(), "'dict_keys' holds"),
    "values": (lambda node: {"a": [node]}.values(), "'dict_values' holds"),
    "items": (lambda node: {"a": node}.items(), "'dict_items' holds"),
    "mapping": (lambda node: MappingProxyType({"a": node}), "'mappingproxy' holds"),
    "in_a_list": (lambda node: [deque([(node,)])], "'deque' holds"),
    "zip": (lambda node: zip([node], [2], strict=True), "an iterator, zip, which is used up once"),
    "map": (lambda node: map(same, [1]), "an iterator, map,"),
    "generator": (lambda node: (node for _ in range(1)), "an iterator, generator,"),
    "iterator": (lambda node: [iter([node])], "an iterator, list_iterator,"),
    "slot": (Slotted, "attribute 'held' of 'Slotted' is"),
    "in_an_attribute": (lambda node: Data([1, (node,)]), "attribute 'items' of 'Data' holds"),
    "partial": (lambda node: partial(same, node), "attribute 'args' of 'partial' holds"),
    "closure": (lambda node: lambda: node, "attribute '__closure__' of 'function' holds"),
    "slice": (lambda node: slice(node, None), "attribute 'start' of 'slice' is"),
    "chain_map": (lambda node: ChainMap({"a": node}), "attribute 'maps' of 'ChainMap' holds"),
    "user_list": (lambda node: UserList([node]), "attribute 'data' of 'UserList' holds"),
    "namespace": (lambda node: SimpleNamespace(a=node), "attribute 'a' of 'SimpleNamespace' is"),
    "array": (lambda node: numpy.array([[1, node]]), "'ndarray' holds"),
    "in_objects": (lambda node: Data([Holder(Data([node]))]), "attribute 'items' of 'Data' holds"),
    "object_of_a_method": (lambda node: Holder(node).__eq__, "attribute 'held' of 'Holder' is"),
    "default": (lambda node: lambda value=node: value, "attribute '__defaults__' of 'function' holds"),
    "keyword_default": (lambda node: lambda *, value=node: value, "attribute '__kwdefaults__' of 'function' holds"),
    "exception": (lambda node: ValueError("no", node), "'ValueError' holds"),
}


@pytest.mark.parametrize("where", HIDDEN)
def test_a_hidden_node_is_refused_at_the_call(where):
    make, says = HIDDEN[where]
    node = add(1, 2)
    with pytest.raises(TypeError, match=says):
        same(make(node))
    with pytest.raises(TypeError, match=says):
        received(key={"a": make(node)})
    assert list(Graph([node]).nodes.values()) == [node]


def test_what_hides_nothing_is_an_argument(tmp_path):
    with (tmp_path / "file").open("w") as file:
        values = [deque([1]), {1: 2}.values(), Slotted(1), Data([1]), partial(same, 1), slice(2), pickle, file, same]
        for value in values:
            assert type(same(value)) is Node
        for array in (numpy.zeros(3), numpy.array([None, "a"]), numpy.float64(1)):
            assert type(same(array)) is Node


def test_the_globals_of_a_function_are_no_part_of_it():
    """Those of a script hold its nodes."""
    namespace = {"node": add(1, 2)}
    exec("def helper(x):\n    return x\n", namespace)
    assert type(same(namespace["helper"])) is Node
    assert type(same(Holder(namespace["helper"]))) is Node


def test_an_attribute_that_contains_itself():
    ring = Holder(None)
    ring.held = Holder(ring)
    assert type(same(ring)) is Node
    data = Data([])
    data.items.append(data.items)
    assert type(same(data)) is Node
