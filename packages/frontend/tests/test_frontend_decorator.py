"""The decorator: what is kept of the original, and what is refused."""

from __future__ import annotations

import functools
import inspect

import pytest

from functionfuse import task, workflow
from functionfuse.construction import is_decorated, target_of
from functionfuse.decorator import WorkflowFunction
from functionfuse.graph import Graph
from functionfuse.nodes import InstanceNode, Node
from functionfuse.plan import steps_of


@workflow
def documented(a: int, b: int = 2, *, c: str = "x") -> int:
    """Do something."""
    return a + b


@workflow
class Documented:
    """Be something."""

    def __init__(self, a: int) -> None:
        self.a = a

    def method(self, b):
        return self.a + b


def test_task_is_an_alias():
    assert task is workflow


def test_calls_make_nodes():
    assert [type(documented(1)), type(Documented(1)), type(Documented(1).method(2))] == [Node, InstanceNode, Node]


@pytest.mark.parametrize(("decorated", "name"), [(documented, "documented"), (Documented, "Documented")])
def test_the_name_is_kept(decorated, name):
    assert (decorated.__name__, decorated.__qualname__, decorated.__module__) == (name, name, __name__)


def test_the_docstring_is_kept():
    assert [documented.__doc__, Documented.__doc__] == ["Do something.", "Be something."]


def test_the_signature_is_kept():
    assert str(inspect.signature(documented)) == "(a: 'int', b: 'int' = 2, *, c: 'str' = 'x') -> 'int'"
    assert str(inspect.signature(Documented.__wrapped__)) == "(a: 'int') -> 'None'"


def test_the_plain_function_is_reachable():
    assert documented.__wrapped__(1) == 3
    assert Documented.__wrapped__(1).method(2) == 3


def test_decorating_twice_is_decorating_once():
    assert workflow(documented) is documented


WRONG_CALLS = {
    "missing": (lambda: documented(), "missing a required argument: 'a'"),
    "too_many": (lambda: documented(1, 2, 3), "too many positional arguments"),
    "unknown": (lambda: documented(1, d=2), "unexpected keyword argument 'd'"),
    "twice": (lambda: documented(1, a=2), "multiple values for argument 'a'"),
    "constructor": (lambda: Documented(), r"Documented.*missing a required argument: 'a'"),
    "method": (lambda: Documented(1).method(), r"Documented\.method.*missing a required argument: 'b'"),
    "method_too_many": (lambda: Documented(1).method(1, 2), "too many positional arguments"),
}


@pytest.mark.parametrize("call", WRONG_CALLS)
def test_wrong_arguments_are_refused_at_the_call(call):
    make, says = WRONG_CALLS[call]
    for _ in range(2):  # a shape of arguments is remembered only when it fits
        with pytest.raises(TypeError, match=says):
            make()


def test_a_wrong_call_makes_no_node():
    parent = documented(1)
    with pytest.raises(TypeError):
        documented(parent, 2, 3)
    assert list(Graph([parent]).nodes.values()) == [parent]


def generator():
    yield 1


async def asynchronous_generator():
    yield 1


@pytest.mark.parametrize("function", [generator, asynchronous_generator])
def test_what_gives_no_value_is_refused(function):
    with pytest.raises(TypeError, match=f"{function.__name__} is a.* function: its result is consumed once"):
        workflow(function)


@pytest.mark.parametrize("thing", [5, "text", None, [print]])
def test_what_is_not_callable_is_refused(thing):
    with pytest.raises(TypeError, match="workflow decorates functions and classes"):
        workflow(thing)


@pytest.mark.parametrize("name", ["set_name", "get_name"])
def test_a_method_that_every_node_has_is_refused(name):
    with pytest.raises(TypeError, match=f"has a method '{name}'"):
        workflow(type("Named", (), {name: lambda self: 1}))


@pytest.mark.parametrize("thing", [len, functools.partial(int, base=2), lambda x: x, str.upper, print])
def test_anything_callable_can_be_decorated(thing):
    node = workflow(thing)("11")
    assert type(node) is Node
    assert isinstance(repr(node), str)


def test_builtins_and_partials_run():
    assert workflow(functools.partial(int, base=2)).__wrapped__("11") == 3
    assert isinstance(workflow(len), WorkflowFunction)


def test_a_subclass_of_a_decorated_class_is_plain():
    class Child(Documented):
        def method(self, b):
            return super().method(b) * 10

    assert not is_decorated(Child)
    assert Child(1).method(2) == 30


def test_a_decorated_subclass_of_a_decorated_class():
    @workflow
    class Child(Documented):
        def other(self):
            return self.method(1)

    assert sorted(target_of(Child).methods) == ["method", "other"]
    assert type(Child(1).other()) is Node


def test_a_decorated_method_of_a_plain_class():
    class Plain:
        factor = 3

        @workflow
        def times(self, n):
            return self.factor * n

    plain = Plain()
    node = plain.times(2)
    assert type(node) is Node
    assert steps_of(Graph([node]))[0].args == (plain, 2)
    assert Plain.times.__wrapped__(plain, 2) == 6


def test_attributes_are_no_methods():
    @workflow
    class Mixed:
        constant = 5
        removed = None

        @property
        def shown(self):
            return 1

        class Inner:
            pass

        def method(self):
            return 1

    assert list(target_of(Mixed).methods) == ["method"]


def test_a_method_set_to_none_is_gone():
    @workflow
    class Child(Documented):
        method = None

    with pytest.raises(AttributeError, match="no method 'method'"):
        Child(1).method(2)
