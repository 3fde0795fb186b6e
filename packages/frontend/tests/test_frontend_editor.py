"""Edits of graphs: those of `edit`, and the shortcuts `replace` and `replace_func`."""

from __future__ import annotations

import random

import pytest

from functionfuse import workflow
from functionfuse.backends.base import BaseWorkflow
from functionfuse.errors import (
    CycleError,
    DuplicateNameError,
    EditError,
    InvalidNameError,
    OptionError,
    PatternError,
    UnknownNodeError,
    UsageError,
)
from functionfuse.graph import Graph
from functionfuse.testing import MemoryStore
from functionfuse.testing.functions import IncrementalSum, add, fibonacci, received, same, total


class Serial(BaseWorkflow):
    """The smallest backend."""

    def execute(self, run, **engine):
        for task in run.in_order():
            run.perform_here(task)


def serial(*nodes, **options):
    return Serial(*nodes, workflow_name="w", **options)


def plus(number):
    return lambda value: value + number


@pytest.fixture
def chain():
    a = same(1).set_name("a")
    b = add(a, 10).set_name("b")
    return a, b, add(b, 100).set_name("c")


# Shortcuts, in place


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


# Insertion


def test_a_call_behind_each_of_several_nodes(chain):
    edited = serial(chain[-1]).edit().insert_after("[ab]", plus(1000), name="{} and more").done()
    assert edited.run() == 2111
    assert list(edited.dag) == ["a", "a and more", "b", "b and more", "c"]
    assert serial(chain[-1]).run() == 111


def test_a_call_before_an_argument():
    node = received(same(1).set_name("x"), 2, k=same(3).set_name("y"), m=4).set_name("node")
    flow = serial(node, scope="ancestors")
    for argument, x, two, k in ((0, 10, 2, 3), (1, 1, 20, 3), ("k", 1, 2, 30)):
        edited = flow.edit().insert_before("node", lambda value: 10 * value, argument=argument).done()
        assert edited.run() == received.__wrapped__(x, two, k=k, m=4)
    with pytest.raises(EditError, match=r"'node' takes results in several arguments \(0, 'k'\): say in which"):
        flow.edit().insert_before("node", same)
    with pytest.raises(EditError, match="'x' takes results in no argument"):
        flow.edit().insert_before("x", same)
    with pytest.raises(EditError, match="'node' has 2 positional arguments, no number 2"):
        flow.edit().insert_before("node", same, argument=2)
    assert flow.edit().insert_before("x", plus(5), argument="value").done().run() == received.__wrapped__(
        6, 2, k=3, m=4
    )
    with pytest.raises(EditError, match=r"same, which node 'x' calls, has no parameter 'values': value"):
        flow.edit().insert_before("x", same, argument="values")


def test_an_argument_that_has_its_default():
    @workflow
    def power(base, exponent=2, /, *, shift=0):
        return base**exponent + shift

    flow = serial(power(3).set_name("p"))
    with pytest.raises(EditError, match="'p' is called without the argument 'shift', which takes its default"):
        flow.edit().insert_before("p", same, argument="shift")
    with pytest.raises(EditError, match="'p' is called without 'exponent', which is given by its position only"):
        flow.edit().map_over("p", exponent=[1, 2])
    assert flow.edit().map_over("p", shift=[1, 2]).done().run() == [10, 11]


def test_further_arguments_hold_nodes(chain):
    new = same(5).set_name("new")

    def more(value, others, *, k):
        return value + sum(others) + k

    edited = serial(chain[-1]).edit().insert_after("b", more, [new, chain[0]], k=same(1000)).done()
    assert edited.run() == 11 + 5 + 1 + 1000 + 100
    assert list(edited.dag) == ["a", "b", "new", "same_0000", "b-more", "c"]


def test_a_name_that_is_taken(chain):
    with pytest.raises(DuplicateNameError, match="'c' already; give the new one another name"):
        serial(chain[-1]).edit().insert_after("a", same, name="c")
    with pytest.raises(DuplicateNameError, match=r"'c' already; name <node 'c' of same>, created at .*, otherwise"):
        serial(chain[-1]).edit().insert_after("a", add, same(1).set_name("c"))
    with pytest.raises(DuplicateNameError, match="'x' already"):
        serial(chain[-1]).edit().insert_after("a", same, name="x").replace("b", same(1).set_name("x"))


def test_an_edit_that_fails_loses_nothing(chain):
    editor = serial(chain[-1]).edit().insert_after("a", plus(1000))
    with pytest.raises(DuplicateNameError):
        editor.insert_after(".*", same, name="x")
    with pytest.raises(UsageError, match="too many positional"):
        editor.insert_after("a", same, 1)
    assert editor.done().run() == 1111
    assert editor.insert_after("c", plus(1)).done().run() == 1112


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        (lambda edit: edit.insert_after("d", same), UnknownNodeError, "no node's name matches 'd' as a whole"),
        (lambda edit: edit.remove("B"), UnknownNodeError, "did you mean 'b'"),
        (lambda edit: edit.remove("("), PatternError, "regular expression"),
        (lambda edit: edit.replace("a", 5), OptionError, "takes a function, got 5"),
        (lambda edit: edit.wrap("a", same(1)), OptionError, "takes a function"),
        (lambda edit: edit.insert_after("a", IncrementalSum, 1), EditError, "inserts calls of functions"),
        (lambda edit: edit.wrap("a", IncrementalSum), UsageError, "wrapped in functions"),
        (lambda edit: edit.remove("b", instead="x"), UnknownNodeError, "no node is named 'x'"),
        (lambda edit: edit.remove("a|b", instead="a"), EditError, "'a' cannot stand in the place of what is removed"),
        (
            lambda edit: edit.remove("b", value=[same(1)]),
            EditError,
            "a node stands in the place of others with instead=",
        ),
        (lambda edit: edit.remove("c"), EditError, "'c' cannot be removed: it is asked for as a result"),
        (lambda edit: edit.remove("c", value=1), EditError, "'c' is asked for as a result"),
        (lambda edit: edit.map_over("a"), EditError, "as many for each"),
        (lambda edit: edit.map_over("a", value=5), EditError, "the values of 'value' one by one, got 5"),
        (lambda edit: edit.insert_after("a", same, name=5), InvalidNameError, "non-empty string, got 5"),
        (lambda edit: edit.insert_before("b", same, name=""), InvalidNameError, "non-empty string, got ''"),
        (lambda edit: edit.map_over("b", a=[1], b=[1, 2]), EditError, r"\{'a': 1, 'b': 2\}"),
    ],
)
def test_what_cannot_be_edited(chain, edit, error, message):
    flow = serial(chain[-1])
    with pytest.raises(error, match=message):
        edit(flow.edit())
    assert flow.run() == 111


# The place of others


def test_a_node_in_the_place_of_others():
    """What it is made from keeps the old ones; items of it follow, and results that were asked for."""
    pair = same([1, 2]).set_name("pair")
    first, second = same(pair[0]).set_name("first"), same(pair[1]).set_name("second")
    flow = serial(second, pair, first)
    assert flow.edit().replace("pair", add(pair, [3])).done().run() == [2, [1, 2, 3], 1]
    assert flow.edit().replace("first|second", same(pair)[1]).done().run() == [2, [1, 2], 2]


def test_a_removed_node():
    """Its consumers take another result, or a value; what only it needed does not run."""
    a = same({"y": 6}).set_name("a")
    b = same({"x": [5], "a": a}).set_name("b")
    flow = serial(add(b["x"][0], 1).set_name("c"))
    edited = flow.edit().remove("b", value={"x": [7]}).done()
    assert [edited.run(), list(edited.dag)] == [8, ["c"]]
    with pytest.raises(EditError, match="'b' cannot be removed: 'c' takes its result"):
        flow.edit().remove("b")
    with pytest.raises(EditError, match=r"in the place of 'b' has no item \['x'\]\[0\]"):
        flow.edit().remove("b", value={"x": 7})
    other = serial(same(b["a"]["y"]).set_name("d"), scope="ancestors")
    assert other.edit().remove("b", instead=same({"a": a})).done().run() == 6


def test_a_node_that_needs_a_removed_one(chain):
    _, b, c = chain
    editor = serial(c).edit().remove("b", value=5)
    with pytest.raises(UnknownNodeError, match="needs node 'b', which was removed"):
        editor.insert_after("a", add, b)
    assert editor.done().run() == 105


def test_a_call_that_is_removed_between_others():
    counter = IncrementalSum(1).set_name("counter")
    first, _, third = [counter.add(n).set_name(f"m{n}") for n in (10, 100, 1000)]
    edited = serial(third, first).edit().remove("m100").done()
    assert edited.run() == [1011, 11]
    step = edited.plan()["m1000"]
    assert (step.after, step.instance) == (("m10",), "counter")


# Calls


def test_wrapped_functions(chain):
    seen = []

    def watched(function, *args, **kwargs):
        seen.append((function.__name__, args, kwargs))
        return function(*args, **kwargs)

    assert serial(chain[-1]).edit().wrap("[bc]", watched).wrap("b", watched).done().run() == 111
    assert [name for name, _, _ in seen] == ["add", "add", "add"]
    with pytest.raises(EditError, match="'m' calls a method"):
        serial(IncrementalSum(1).add(1).set_name("m")).edit().wrap("m", watched)


def test_a_call_for_each_of_several_values(chain):
    edited = serial(chain[-1]).edit().map_over("b", b=[10, 20], a=[chain[0], 2]).insert_after("b", sum).done()
    assert edited.run() == 1 + 10 + 2 + 20 + 100
    assert list(edited.dag) == ["a", "b-0", "b-1", "b", "b-sum", "c"]
    assert serial(chain[-1]).edit().map_over("c", a=[]).done().run() == []


# Workflows


def test_dynamic_nodes():
    """A node that returns a graph is edited as a whole; what it makes in the run has no name before."""
    flow = serial(fibonacci(5).set_name("end"))
    assert flow.edit().insert_after("end", plus(100)).done().run() == 105
    with pytest.raises(UnknownNodeError, match=r"no node's name matches 'end/.\*'.*made in the run"):
        flow.edit().remove("end/.*")


def test_edits_of_an_edited_workflow(chain):
    """The scientist's nodes stand for those of the same names; so do the nodes of the edited graph."""
    a, b, _ = chain
    once = serial(b, scope="ancestors").edit().insert_after("a", plus(1)).done()
    again = once.edit().insert_after("b", add, a, name="sum").done()
    assert [once.run(), again.run()] == [12, 14]
    assert again.edit().insert_after("sum", add, again.dag.nodes["b"]).done().run() == 26
    once.replace(b, add(a, 100))
    assert once.run() == 102


def test_a_name_of_a_removed_node_can_be_given_again(chain):
    _, b, c = chain
    edited = serial(c).edit().replace("b", same(5).set_name("five")).insert_after("five", plus(1), name="b").done()
    assert edited.run() == 106
    assert edited.edit().insert_after("c", add, b, name="again").done().run() == 112


def test_a_cycle(chain):
    editor = serial(chain[-1]).edit().remove("a", instead="c")
    with pytest.raises(CycleError, match="'b'"):
        editor.done()


def test_the_graph_of_the_scientist_stays(chain):
    before = [(node._serial, node._needs, list(node._children), node._name) for node in chain]
    flow = serial(chain[-1])
    flow.edit().insert_after(".*", same).wrap("b", lambda function, *args: function(*args)).map_over(
        "c", b=[1, 2]
    ).done()
    flow.replace_func("b", max)
    assert [(node._serial, node._needs, list(node._children), node._name) for node in chain] == before


@pytest.mark.parametrize("seed", range(20))
def test_edits_that_change_no_value(seed):
    """Identities behind, before and around nodes, anywhere in a graph, leave every result as it was."""
    rng = random.Random(seed)
    nodes = [same(rng.randrange(100)).set_name("n0")]
    counter = IncrementalSum(1).set_name("counter")
    for number in range(1, 30):
        kind = rng.randrange(4)
        some = rng.choices(nodes, k=3)
        if kind == 0:
            node = total([some[0], {"k": some[1]}["k"], some[2]])
        elif kind == 1:
            node = counter.add(some[0])
        elif kind == 2:
            node = add(some[0], b=some[1])
        else:
            node = same([some[0], 7])[0]
            node = same(node)
        nodes.append(node.set_name(f"n{number}"))
    flow = serial(*nodes)
    expected = flow.run()
    editor = flow.edit()
    for round_ in range(5):
        chosen = "|".join(f"n{number}" for number in rng.sample(range(30), 5))
        editor.insert_after(chosen, same, name=f"{{}}-after{round_}")
    kinds = {name: editor.graph[name].target.kind for name in editor.graph}
    methods = [name for name, kind in kinds.items() if kind == "method"]
    if methods:
        editor.insert_before("|".join(methods), same, argument="n")
    functions = [name for name, kind in kinds.items() if kind == "function"]
    editor.wrap("|".join(rng.sample(functions, 10)), lambda function, *args, **kwargs: function(*args, **kwargs))
    edited = editor.done()
    assert edited.run() == expected
    assert set(Graph(nodes)) == set(flow.dag)
    # the calls of the object come in the order of the program
    calls = [name for name, node in edited.dag.nodes.items() if node._target.kind == "method"]
    assert calls == [name for name in flow.dag if name in calls]


def test_a_wide_fan_is_edited_at_once():
    flow = serial(total([same(n).set_name(f"leaf{n}") for n in range(3_000)]))
    edited = flow.edit().insert_after("leaf.*", plus(1)).remove("leaf.*-lambda", value=2).done()
    assert edited.run() == 6_000


def test_recipes_of_edited_nodes(chain):
    """A wrapper and what it wraps are parts of the recipe, as are the values that are put in."""

    def edited(number, factor, value):
        def shifted(function, *args):
            return function(*args) + number

        editor = serial(chain[-1]).edit().replace("b", lambda a, b: factor * (a + b)).wrap("b", shifted)
        flow = editor.map_over("c", b=[value, 2]).done()
        flow.set_storage(store)
        return flow

    def ran(flow):
        steps = [step.name for step in flow.plan() if step.may_run]
        flow.run()
        return steps

    store = MemoryStore()
    assert ran(edited(1, 1, 1)) == ["a", "b", "c-0", "c-1", "c"]
    assert ran(edited(1, 1, 1)) == []
    assert ran(edited(2, 1, 1)) == ["b", "c-0", "c-1", "c"]
    assert ran(edited(2, 2, 1)) == ["b", "c-0", "c-1", "c"]
    assert ran(edited(2, 2, 3)) == ["c-0", "c"]


def test_calls_on_an_object_one_of_whose_calls_was_removed():
    counter = IncrementalSum(1).set_name("counter")
    first, second = counter.add(10).set_name("m10"), counter.add(100).set_name("m100")
    flow = serial(first, second, scope="ancestors").edit().remove("m10", instead=second).done()
    assert flow.run() == [101, 101]
    assert flow.edit().replace("m100", counter.add(1000)).done().run() == [1101, 1101]


# Collapsed steps


def test_chains_of_chosen_nodes(chain):
    editor = serial(chain[-1]).edit()
    assert editor.collapse(["a", "b"], chains=True).graph.groups == {"a": "a and 1 more", "b": "a and 1 more"}
    assert editor.collapse("[ac]", chains=True, name="x").graph.groups.keys() == {"a", "b"}  # no chain


def test_the_name_of_a_collapsed_step_that_there_is(chain):
    editor = serial(chain[-1]).edit().collapse(["a", "b"], name="x")
    with pytest.raises(EditError, match="a collapsed step has the name 'x' already"):
        editor.collapse(["c"], name="x")
    with pytest.raises(EditError, match="cannot have the name of a node, 'a'"):
        editor.collapse(["b", "c"], name="a")
