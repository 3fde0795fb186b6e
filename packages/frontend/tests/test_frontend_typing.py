"""What is there for type checkers does nothing at run time; what checkers see of it is in tests/typed."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from abc import ABC, ABCMeta, abstractmethod
from dataclasses import dataclass
from enum import IntEnum
from types import GenericAlias

import pytest

import functionfuse
from functionfuse import Stateful, makes_node, workflow
from functionfuse.backends.base import BaseWorkflow
from functionfuse.construction import is_decorated
from functionfuse.decorator import WorkflowFunction
from functionfuse.deferred import Deferred
from functionfuse.fingerprint import Fingerprinter
from functionfuse.nodes import InstanceNode, Item, Node
from functionfuse.testing import RefusingWorkflow


@workflow
class Counter(Stateful):
    """Counts."""

    def __init__(self, start: int) -> None:
        self.value = start

    @makes_node
    def add(self, number: int, *, times: int = 1) -> int:
        """Add a number."""
        self.value += number * times
        return self.value

    @makes_node
    @staticmethod
    def zero() -> int:
        return 0


@workflow
def one() -> int:
    return 1


class TestStateful:
    def test_nodes_are_made_as_without_it(self):
        counter = Counter(one()).set_name("counter")
        assert [type(counter), type(counter.add(one())), type(counter.zero())] == [InstanceNode, Node, Node]
        assert counter.get_name() == "counter"

    def test_the_plain_class_makes_objects(self):
        plain = Counter.__wrapped__(1)
        assert (type(plain), isinstance(plain, Counter), plain.add(2, times=3), vars(plain)) == (
            Counter,
            True,
            7,
            {"value": 7},
        )

    def test_it_has_no_attributes_of_its_own(self):
        own = {name for name in vars(Stateful) if name not in vars(type("Empty", (), {"__slots__": ()}))}
        assert own <= {"__firstlineno__", "__static_attributes__", "__orig_bases__"}
        assert (Stateful.__mro__, Stateful.__slots__) == ((Stateful, object), ())

    def test_the_signature_is_that_of_the_class(self):
        assert str(inspect.signature(Counter.__wrapped__)) == "(start: 'int') -> 'None'"
        with pytest.raises(TypeError, match=r"Counter.*missing a required argument: 'start'"):
            Counter()

    def test_objects_are_pickled_as_without_it(self):
        loaded = pickle.loads(pickle.dumps(Counter.__wrapped__(5)))
        assert (type(loaded), loaded.value) == (Counter, 5)
        assert pickle.loads(pickle.dumps(Counter)) is Counter

    def test_a_class_of_a_function_is_pickled_by_value(self):
        cloudpickle = pytest.importorskip("cloudpickle")

        class Local(Stateful):
            @makes_node
            def method(self) -> int:
                return 1

        loaded = cloudpickle.loads(cloudpickle.dumps(Local))
        assert (issubclass(loaded, Stateful), loaded().method()) == (True, 1)

    def test_a_subclass_is_plain_until_it_is_decorated(self):
        class Child(Counter):
            @makes_node
            def twice(self) -> int:
                return 2 * self.value

        assert not is_decorated(Child)
        assert (issubclass(Child, Counter), issubclass(Child, Stateful), Child(3).twice()) == (True, True, 6)
        assert type(workflow(Child)(3).twice()) is Node

    @pytest.mark.parametrize(
        ("bases", "metaclass"),
        [((int,), type), ((dict,), type), ((Exception,), type), ((ABC,), ABCMeta), ((tuple,), type)],
        ids=["int", "dict", "exception", "abstract", "tuple"],
    )
    def test_it_stands_beside_any_base(self, bases, metaclass):
        for order in ((Stateful, *bases), (*bases, Stateful)):
            assert type(metaclass("Both", order, {})) is metaclass

    def test_slots_stay_slots(self):
        @dataclass(slots=True)
        class Slotted(Stateful):
            value: int

        assert not hasattr(Slotted(1), "__dict__")

    def test_an_abstract_method_stays_abstract(self):
        class Abstract(ABC, Stateful):
            @makes_node
            @abstractmethod
            def method(self) -> int: ...

        with pytest.raises(TypeError, match="abstract"):
            Abstract()

    def test_enums_are_refused_nevertheless(self):
        with pytest.raises(TypeError, match="is an enum"):
            workflow(IntEnum("Numbers", {"ONE": 1}))

    def test_recipes_do_not_count_it(self):
        with_names = {"__module__": __name__, "__qualname__": "Same", "method": makes_node(Counter.__dict__["add"])}
        without = {"__module__": __name__, "__qualname__": "Same", "method": Counter.__dict__["add"]}
        digests = [
            Fingerprinter().digest(cls)
            for cls in (type("Same", (Stateful,), with_names), type("Same", (), without), type("Same", (int,), without))
        ]
        assert digests[0] == digests[1] != digests[2]


class TestMakesNode:
    @pytest.mark.parametrize("method", [len, lambda self: 1, staticmethod(len), classmethod(len), property(len), None])
    def test_it_returns_what_it_is_given(self, method):
        assert makes_node(method) is method

    def test_a_method_keeps_what_it_says_of_itself(self):
        add = Counter.__dict__["add"]
        assert (add.__name__, add.__doc__, hasattr(add, "__wrapped__")) == ("add", "Add a number.", False)
        assert str(inspect.signature(add)) == "(self, number: 'int', *, times: 'int' = 1) -> 'int'"


class TestGenericClasses:
    """They have parameters in annotations that are evaluated, and no base of `typing`."""

    @pytest.mark.parametrize("cls", [Deferred, Node, Item, InstanceNode, WorkflowFunction, BaseWorkflow])
    def test_parameters_in_annotations(self, cls):
        assert (type(cls[int]), cls[int].__origin__, cls[int].__args__) == (GenericAlias, cls, (int,))

    @pytest.mark.parametrize("cls", [Node, Item, InstanceNode, WorkflowFunction, RefusingWorkflow])
    def test_no_base_is_one_of_typing(self, cls):
        assert [base for base in cls.__mro__ if base.__module__ in ("typing", "functionfuse._typing")] == []

    def test_nodes_have_no_dict(self):
        assert not hasattr(one(), "__dict__")
        assert not hasattr(one()[0], "__dict__")

    def test_a_workflow_class_with_a_parameter_makes_workflows(self):
        made = RefusingWorkflow[int](one().set_name("one"), workflow_name="with a parameter")
        assert (type(made), list(made.dag)) == (RefusingWorkflow, ["one"])


@pytest.mark.parametrize("name", ["Stateful", "makes_node", "File"])
def test_what_few_programs_use_is_imported_when_it_is_used(name):
    module = getattr(functionfuse, name).__module__
    code = (
        f"import sys, functionfuse; before = {module!r} in sys.modules; functionfuse.{name}; "
        f"print(before, {module!r} in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "True"]
