"""Graphs: what belongs to them, names, and edits."""

from __future__ import annotations

import pytest

from functionfuse import workflow
from functionfuse.backends.base import BaseWorkflow
from functionfuse.errors import CycleError, DuplicateNameError, OptionError, UnknownNodeError
from functionfuse.graph import Graph
from functionfuse.testing.functions import Heir, IncrementalSum, add, same, start_of, total


class Serial(BaseWorkflow):
    """The smallest backend."""

    def execute(self, run, **engine):
        for task in run.in_order():
            run.perform_here(task)


def serial(*nodes, **options):
    return Serial(*nodes, workflow_name="w", **options)


def names(node, **options):
    return list(Graph([node], **options))


# Names


def test_unnamed_nodes_are_counted_per_function():
    first = same(1)
    last = add(add(first, 1), same(2))
    assert names(last) == ["same_0000", "add_0000", "same_0001", "add_0001"]


def test_names_are_the_same_in_every_graph():
    def script():
        made = Heir()
        return names(add(made.count(), made.count()))

    assert script() == script() == ["Heir_0000", "Heir.count_0000", "Heir.count_0001", "add_0000"]


def test_names_do_not_depend_on_the_scope():
    first = same(1)
    same(first)
    last = same(first)
    assert names(last, scope="ancestors") == ["same_0000", "same_0002"]


def test_given_names_are_left_alone():
    first = same(1).set_name("same_0000")
    assert names(add(first, same(2))) == ["same_0000", "same_0001", "add_0000"]


def test_duplicate_names_tell_both_places():
    first = same(1).set_name("twice")
    line = _line()
    second = same(first).set_name("twice")
    with pytest.raises(DuplicateNameError) as caught:
        Graph([second])
    assert f"same at {__file__}:{line - 1}" in str(caught.value)
    assert f"same at {__file__}:{line + 1}" in str(caught.value)


def _line():
    import sys

    return sys._getframe(1).f_lineno


def test_an_unnamed_node_of_another_graph():
    with pytest.raises(UnknownNodeError, match=rf"created at {__file__}:\d+, is not in this graph"):
        Graph([same(1)]).name_of(same(2))


# Scope


@pytest.fixture
def family():
    """A grandparent with two children, one of which has a child with another parent."""
    grandparent = same(0).set_name("grandparent")
    child = same(grandparent).set_name("child")
    same(grandparent).set_name("aunt")
    spouse = same(9).set_name("spouse")
    total([child, spouse]).set_name("grandchild")
    return {"grandparent": grandparent, "child": child, "spouse": spouse}


@pytest.mark.parametrize("start", ["grandparent", "child", "spouse"])
def test_the_whole_graph(family, start):
    assert names(family[start]) == ["grandparent", "child", "aunt", "spouse", "grandchild"]


def test_ancestors(family):
    assert names(family["child"], scope="ancestors") == ["grandparent", "child"]


def test_an_unknown_scope():
    with pytest.raises(OptionError, match="'descendants'; known: 'graph', 'ancestors'"):
        Graph([same(1)], scope="descendants")


def test_ancestors_of_a_method_are_the_calls_before_it():
    made = IncrementalSum(1).set_name("object")
    made.add(1).set_name("before")
    middle = made.add(2).set_name("middle")
    made.add(3).set_name("after")
    assert names(middle, scope="ancestors") == ["object", "before", "middle"]


def test_edges():
    node = same(1).set_name("a")
    last = add(node, node).set_name("b")
    assert list(Graph([last]).edges()) == [("a", "b")]


def test_edges_of_an_object_with_readers():
    made = IncrementalSum(1).set_name("object")
    made.add(1).set_name("first")
    start_of(made).set_name("reader")
    made.add(2).set_name("second")
    assert sorted(Graph([made]).edges()) == [
        ("first", "reader"),
        ("object", "first"),
        ("object", "reader"),
        ("reader", "second"),
    ]


# Edits


@pytest.fixture
def chain():
    a = same(1).set_name("a")
    b = add(a, 10).set_name("b")
    return a, b, add(b, 100).set_name("c")


def test_replacing_a_node(chain):
    _, b, c = chain
    flow = serial(c)
    flow.replace(b, same(5).set_name("five"))
    assert flow.run() == 105


def test_replacing_by_name(chain):
    flow = serial(chain[-1])
    flow.replace("b", same(5))
    assert flow.run() == 105


def test_inserting_a_node(chain):
    _, b, c = chain
    flow = serial(c)
    flow.replace(b, add(b, 1000).set_name("inserted"))
    assert flow.run() == 1111
    assert list(flow.dag) == ["a", "b", "inserted", "c"]


def test_replacing_what_was_asked_for(chain):
    flow = serial(chain[-1])
    flow.replace("c", same(7))
    assert flow.run() == 7


def test_replacing_twice(chain):
    a, b, c = chain
    flow = serial(c)
    flow.replace(a, same(2))
    flow.replace(b, same(3))
    assert flow.run() == 103


def test_an_item_follows_a_replacement():
    pair = same([1, 2])
    last = same(pair[1])
    flow = serial(last)
    flow.replace(pair, same([3, 4]))
    assert flow.run() == 4


def test_edits_stay_in_their_workflow(chain):
    flow, other = serial(chain[-1]), serial(chain[-1], scope="ancestors")
    flow.replace("a", same(1000))
    assert other.run() == 111


def test_a_node_cannot_replace_itself(chain):
    flow = serial(chain[-1])
    with pytest.raises(CycleError, match="or replaces it already"):
        flow.replace("a", chain[0])


def test_replacing_there_and_back(chain):
    flow, other = serial(chain[-1]), same(5)
    flow.replace("a", other)
    with pytest.raises(CycleError):
        flow.replace(other, chain[0])
    assert flow.run() == 115


def test_an_edit_that_makes_a_cycle():
    a, b = same(1).set_name("a"), same(2).set_name("b")
    on_a, on_b = same(a).set_name("on_a"), same(b).set_name("on_b")
    flow = serial(total([on_a, on_b]))
    flow.replace(a, on_b)
    with pytest.raises(CycleError, match=r"'on_b'.*'on_a'|'on_a'.*'on_b'"):
        flow.replace(b, on_a)
    assert flow.run() == 4


def test_replacing_an_unknown_node(chain):
    flow = serial(chain[-1])
    with pytest.raises(UnknownNodeError, match="no node is named 'x'"):
        flow.replace("x", same(1))
    with pytest.raises(UnknownNodeError, match="not in this graph"):
        flow.replace(same(1), same(2))
    with pytest.raises(OptionError, match="by a node only"):
        flow.replace("a", 5)


def test_replacing_a_function(chain):
    flow, other = serial(chain[-1]), serial(chain[-1])
    flow.replace_func("b", lambda x, y: x * y)
    assert [flow.run(), other.run()] == [110, 111]
    assert list(flow.dag) == ["a", "b", "c"]


def test_replacing_a_function_found_by_query(chain):
    flow = serial(chain[-1])
    for view in flow.query("[bc]"):
        flow.replace_func(view, max)
    assert flow.run() == 100


def test_a_function_that_does_not_fit(chain):
    flow = serial(chain[-1])
    with pytest.raises(TypeError, match="too many positional"):
        flow.replace_func("b", lambda x: x)
    assert flow.run() == 111


def test_a_function_in_the_place_of_a_method():
    flow = serial(IncrementalSum(1).add(2).set_name("method"))
    with pytest.raises(TypeError, match="'method' calls a method"):
        flow.replace_func("method", lambda n: n)


def test_replacing_a_decorated_function(chain):
    @workflow
    def other(a, b):
        return 7

    flow = serial(chain[-1])
    flow.replace_func(chain[1], other)
    assert flow.run() == 107


def test_a_long_edited_chain():
    node = first = same(0)
    for _ in range(5_000):
        node = add(node, 1)
    flow = serial(node)
    flow.replace(first, same(10))
    assert flow.run() == 5_010
