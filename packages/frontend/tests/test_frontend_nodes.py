"""Nodes: what they refuse, and how they are named and ordered."""

from __future__ import annotations

import copy
import pickle

import pytest

from functionfuse import workflow
from functionfuse.errors import InvalidNameError
from functionfuse.graph import Graph
from functionfuse.testing.functions import Heir, IncrementalSum, add, same


@pytest.fixture(params=["node", "item", "object"])
def deferred(request):
    return {"node": add(1, 2), "item": add(1, 2)["k"][0], "object": IncrementalSum(1)}[request.param]


TRAPS = {
    "list": (list, "cannot be iterated"),
    "unpack": (lambda node: (lambda a, b: a)(*node), "cannot be iterated"),
    "for": (lambda node: [x for x in node], "cannot be iterated"),  # noqa: C416
    "in": (lambda node: 1 in node, "`in` cannot look"),
    "bool": (bool, "neither true nor false"),
    "not": (lambda node: not node, "neither true nor false"),
    "and": (lambda node: node and 1, "neither true nor false"),
    "len": (len, "no length"),
    "reversed": (reversed, "no length"),
    "pickle": (pickle.dumps, "cannot be pickled or copied"),
    "copy": (copy.copy, "cannot be pickled or copied"),
    "deepcopy": (copy.deepcopy, "cannot be pickled or copied"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_node_is_no_value(deferred, trap):
    use, says = TRAPS[trap]
    with pytest.raises(TypeError, match=says):
        use(deferred)


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
    node = add(1, 2)
    assert node == node
    assert node != add(1, 2)
    assert len({node, node}) == 1


def test_needs_are_found_once_each_in_order_of_creation():
    first, second = add(1, 2), add(3, 4)
    node = same([second, {second[0], first}])
    assert list(Graph([node]).needs(node)) == [first, second]


def test_many_arguments_are_found():
    nodes = [same(n) for n in range(1000)]

    @workflow
    def count(*values):
        return len(values)

    counted = count(*nodes)
    assert list(Graph([counted]).needs(counted)) == nodes


def test_many_readers_of_an_object():
    one = IncrementalSum(0)
    first = one.add(1)
    readers = [same(one) for _ in range(1000)]
    last = one.add(2)
    graph = Graph([one])
    assert list(graph.parents(readers[0])) == [one, first]
    assert list(graph.parents(last)) == readers


class Holder:
    def __init__(self, held):
        self.held = held


def test_a_node_hidden_in_an_attribute_is_refused():
    node = add(1, 2).set_name("hidden")
    with pytest.raises(TypeError, match="attribute 'held' of 'Holder' is <node 'hidden'"):
        add(Holder(node), 1)
