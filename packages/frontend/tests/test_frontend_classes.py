"""Decorated classes: they stay classes for their own code, and for everyone who looks at them."""

from __future__ import annotations

import abc
import copy
import dataclasses
import doctest
import enum
import inspect
import pickle
import sys
from collections import namedtuple
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, get_type_hints

import pytest

from functionfuse import workflow
from functionfuse.construction import is_decorated, target_of
from functionfuse.decorator import WorkflowClass
from functionfuse.errors import UsageError
from functionfuse.graph import Graph
from functionfuse.nodes import InstanceNode, Node
from functionfuse.testing.functions import Shapes, same

T = TypeVar("T")


class Base:
    registered: list[str] = []  # noqa: RUF012

    def __init_subclass__(cls, key: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.key = key
        Base.registered.append(cls.__name__)

    def __init__(self, n: int = 1) -> None:
        self.n = n


@workflow
class Counter(Base, key="counted"):
    """Count.

    >>> 1 + 1
    2
    """

    LIMIT = 5

    def __init__(self, n: int = 1, *, step: int = 1) -> None:
        super(Counter, self).__init__(n)  # noqa: UP008
        self.step = step

    @staticmethod
    def double(n: int) -> int:
        """Double.

        >>> Counter.double(4)
        8
        """
        return 2 * n

    @classmethod
    def zero(cls) -> Counter:
        return cls(0)

    @classmethod
    def of(cls, n: Any) -> Any:
        return cls(n)

    @property
    def limit(self) -> int:
        return Counter.LIMIT

    def kind(self) -> str:
        match self:
            case Counter(n=n):
                return f"counter of {n}"
        return "something else"

    def twin(self) -> Counter:
        return type(self)(self.n, step=self.step)

    def named(self) -> Any:
        return Counter(self.n)


def plain(*args: Any, **kwargs: Any) -> Any:
    return Counter.__wrapped__(*args, **kwargs)


def test_it_is_the_class():
    assert isinstance(Counter, type)
    assert type(plain()) is Counter
    assert Base.registered.count("Counter") == 1
    assert Counter.__mro__ == (Counter, Base, object)


def test_a_call_makes_a_node():
    assert type(Counter()) is InstanceNode
    assert type(Counter().kind()) is Node


def test_attributes_are_read_and_written_by_its_name():
    assert [Counter.LIMIT, Counter.double(4), Counter.key, Counter.zero().n] == [5, 8, "counted", 0]
    Counter.LIMIT = 6
    try:
        assert plain().limit == 6
    finally:
        Counter.LIMIT = 5


def test_what_takes_a_class_takes_it():
    assert [issubclass(int, Counter), issubclass(Counter, Base), isinstance(plain(), Counter)] == [False, True, True]
    assert Counter | None == None | Counter
    assert not isinstance(Counter(), Counter)
    assert get_type_hints(Counter.zero) == {"return": Counter}


def test_its_own_code_knows_it():
    counter = plain(3)
    assert [counter.n, counter.kind()] == [3, "counter of 3"]


def test_its_own_code_makes_objects():
    twin = plain(3, step=2).twin()
    assert (type(twin), vars(twin)) == (Counter, {"n": 3, "step": 2})
    assert (type(plain(3).named()), Counter.zero().n) == (Counter, 0)


def test_its_own_code_makes_a_node_of_a_node():
    assert type(Counter.of(1)) is Counter
    assert type(Counter.of(same(1))) is type(Counter.of([same(1)])) is InstanceNode


def test_signature_and_source():
    assert str(inspect.signature(Counter)) == "(n: 'int' = 1, *, step: 'int' = 1) -> 'None'"
    assert str(inspect.signature(Counter.__wrapped__)) == str(inspect.signature(Counter))
    assert 'class Counter(Base, key="counted"):' in inspect.getsource(Counter)
    assert inspect.getdoc(Counter).startswith("Count.")
    assert inspect.getmodule(Counter) is sys.modules[__name__]


def test_the_signature_of_a_subclass():
    class Own(Counter):
        def __init__(self, other: int) -> None: ...

    class Inherits(Counter): ...

    assert str(inspect.signature(Own)) == "(other: 'int') -> 'None'"
    assert str(inspect.signature(Inherits)) == str(inspect.signature(Counter))


@workflow
def documented() -> None:
    """Do something.

    >>> 1
    1
    """


class Holder:
    @workflow
    def method(self) -> None:
        """Do something.

        >>> 1
        1
        """


def test_doctest_finds_its_examples():
    found = doctest.DocTestFinder(exclude_empty=True).find(sys.modules[__name__])
    names = {test.name.removeprefix(f"{__name__}.") for test in found if test.examples}
    assert names == {"Counter", "Counter.double", "documented", "Holder.method"}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_by_name(protocol):
    assert pickle.loads(pickle.dumps(Counter, protocol)) is Counter
    again = pickle.loads(pickle.dumps(plain(4), protocol))
    assert (type(again), again.n) == (Counter, 4)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies_are_objects(copied):
    again = copied(plain(4))
    assert (type(again), again.n) == (Counter, 4)


@workflow
class Reduced(Exception):
    """Is pickled as a call of its class."""

    def __init__(self, n: int) -> None:
        super().__init__(n)


@workflow
class Arguments:
    def __init__(self, n: int) -> None:
        self.n = n

    def __reduce__(self) -> Any:
        return Arguments, (self.n,)


@workflow
class Immutable(NamedTuple):
    n: int
    m: int = 2


def test_pickles_that_call_the_class_make_objects():
    for value in (Reduced.__wrapped__(3), Arguments.__wrapped__(3), Immutable.__wrapped__(3)):
        for again in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
            assert type(again) is type(value)
    assert pickle.loads(pickle.dumps(Arguments.__wrapped__(3))).n == 3
    assert Immutable.__wrapped__(3)._replace(m=5) == (3, 5)


def test_what_calls_new_gets_an_object():
    assert type(Counter.__new__(Counter)) is Counter


def test_a_subclass_is_plain():
    class Child(Counter):
        def __new__(cls, *args: Any) -> Any:
            return super().__new__(cls)

        def kind(self) -> str:
            return "child, " + super().kind()

    assert not is_decorated(Child)
    assert Child(7).kind() == "child, counter of 7"
    assert not hasattr(Child, "__wrapped__")


def test_a_subclass_with_other_bases():
    class Other:
        def __new__(cls, *args: Any) -> Any:
            made = super().__new__(cls)
            made.other = True
            return made

    class Abstract(Counter, abc.ABC):
        @abc.abstractmethod
        def missing(self) -> None: ...

    class Both(Counter, Other): ...

    class Implements(Counter, Sized): ...

    assert Both(2).other
    assert Implements(2).n == 2
    with pytest.raises(TypeError, match="abstract"):
        Abstract()


class Sized(Protocol):
    def size(self) -> int: ...


def test_a_decorated_subclass():
    @workflow
    class Child(Counter):
        def other(self) -> str:
            return super().kind()

    assert type(Child(1).other()) is Node
    assert Child.__wrapped__(8).other() == "counter of 8"
    assert type(Counter(1)) is InstanceNode


@workflow
class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self) -> float: ...


@workflow
class Square(Shape):
    def __init__(self, side: float) -> None:
        self.side = side

    def area(self) -> float:
        return self.side**2


def test_abstract_classes():
    assert Square.__wrapped__(2).area() == 4
    assert type(Square(2).area()) is Node
    assert isinstance(Square.__wrapped__(2), Shape)
    with pytest.raises(TypeError, match="abstract"):
        Shape.__wrapped__()


@workflow
@dataclasses.dataclass(slots=True)
class Point:
    x: int
    y: int = 0

    def moved(self) -> Point:
        return dataclasses.replace(self, x=self.x + 1)


@dataclasses.dataclass(slots=True)
@workflow
class Outside:
    x: int


@workflow
@dataclasses.dataclass(frozen=True)
class Frozen:
    x: int


def test_dataclasses_and_slots():
    assert Point.__wrapped__(1).moved() == Point.__wrapped__(2)
    assert [type(Point(1)), type(Outside(1)), type(Frozen(1))] == [InstanceNode] * 3
    assert [Outside.__wrapped__(1).x, dataclasses.replace(Frozen.__wrapped__(1), x=2).x] == [1, 2]
    assert [str(inspect.signature(one)) for one in (Outside, Frozen)] == ["(x: 'int') -> None"] * 2
    with pytest.raises(TypeError, match="missing a required argument: 'x'"):
        Outside()


@workflow
class Box(Generic[T]):
    def __init__(self, content: T) -> None:
        self.content = content

    def open(self) -> T:
        return self.content


def test_generic_classes():
    assert type(Box[int](1)) is InstanceNode
    assert type(Box[int](1).open()) is Node
    assert Box.__wrapped__(1).open() == 1


def test_a_constructor_without_parameters():
    @workflow
    class Empty:
        def method(self) -> int:
            return 1

    assert Empty.__wrapped__().method() == 1
    assert str(inspect.signature(Empty)) in ("()", "() -> 'None'")
    for call in (Empty, Empty.__wrapped__):
        with pytest.raises(TypeError, match=r"too many positional arguments|takes no arguments"):
            call(1)


def test_a_class_with_its_own_new():
    @workflow
    class Named(str):
        __slots__ = ("extra",)

        def __new__(cls, text: str, extra: int = 0) -> Any:
            made = super().__new__(cls, text)
            made.extra = extra
            return made

    made = Named.__wrapped__("a", extra=3)
    assert (made, made.extra, type(made)) == ("a", 3, Named)
    assert str(inspect.signature(Named)) == "(text: 'str', extra: 'int' = 0) -> 'Any'"
    assert list(target_of(Named).check.signature().parameters) == ["text", "extra"]


def test_an_enum_is_refused():
    with pytest.raises(TypeError, match="Colour is an enum"):

        @workflow
        class Colour(enum.Enum):
            RED = 1


def test_a_protocol_is_refused():
    with pytest.raises(TypeError, match=r"Named is a protocol .* decorate the classes that implement it"):

        @workflow
        class Named(Protocol):
            name: str

    @workflow
    class Implements(Sized):
        def size(self) -> int:
            return 1

    assert type(Implements().size()) is Node


class Singleton(type):
    made: dict[type, Any] = {}  # noqa: RUF012

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls not in Singleton.made:
            Singleton.made[cls] = super().__call__(*args, **kwargs)
        return Singleton.made[cls]


def test_a_metaclass_that_decides_about_calls():
    @workflow
    class Only(metaclass=Singleton):
        CONSTANT = 1

        def method(self) -> int:
            return 2

    assert type(Only().method()) is Node
    assert [Only.CONSTANT, Only.__wrapped__().method()] == [1, 2]
    assert Only.__wrapped__() is Only.__wrapped__()


class Plain:
    CONSTANT = 3

    def __init__(self, n: int) -> None:
        self.n = n

    @staticmethod
    def double(n: int) -> int:
        return 2 * n

    def method(self) -> int:
        return self.n


Later = workflow(Plain)


def test_a_class_that_is_decorated_later_stays_plain():
    assert Plain(3).method() == 3
    assert type(Later(3).method()) is Node
    assert isinstance(Later, WorkflowClass)
    assert [Later.CONSTANT, Later.double(2), isinstance(Plain(1), Later), issubclass(int, Later)] == [3, 4, True, False]
    assert Later | None == Plain | None
    assert issubclass(type("Child", (Plain,), {}), Later)


def test_classes_of_libraries_stay_as_they_are():
    for cls in (int, dict, namedtuple, pickle.Pickler):
        assert workflow(cls) is not cls
    assert type(workflow(int)("3")) in (InstanceNode, Node)
    assert int("3") == 3


def test_a_plain_class_can_be_derived_from():
    class Child(Counter.__wrapped__):
        def more(self) -> int:
            return super().kind(), self.n

    assert Child.__mro__ == (Child, Counter, Base, object)
    assert Child(5).more() == ("counter of 5", 5)
    assert isinstance(Child(5), Counter.__wrapped__)
    assert issubclass(Child, Counter.__wrapped__)


def test_two_nodes_of_a_class_are_in_one_graph():
    one = Counter(same(1))
    assert list(Graph([one.kind()]).nodes) == ["same_0000", "Counter_0000", "Counter.kind_0000"]


def test_methods_that_functools_makes():
    shapes = Shapes()
    assert type(shapes.name(1)) is Node
    with pytest.raises(UsageError, match="missing a required argument"):
        shapes.name()
    with pytest.raises(UsageError, match="too many positional"):
        shapes.add_one(1, 2)
