"""Graphs: what belongs to them, and names."""

from __future__ import annotations

import pytest

from functionfuse.errors import DuplicateNameError, OptionError, UnknownNodeError
from functionfuse.graph import Graph
from functionfuse.testing.functions import Heir, IncrementalSum, add, same, start_of, total


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
