"""Edges whose annotations cannot fit are refused at the call; everything else is accepted."""

# ruff: noqa: UP006, UP007, UP019, UP045  annotations as users write them
from __future__ import annotations

import abc
import collections
import contextlib
import enum
import functools
import gc
import pathlib
import subprocess
import sys
import threading
import typing
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Annotated, Any, Literal, NewType, Optional, Protocol, TypedDict, TypeVar, Union

import numpy  # noqa: TID251  of users, as pandas
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functionfuse import workflow
from functionfuse.backends.base import BaseWorkflow
from functionfuse.backends.plugins import InitializerPlugin
from functionfuse.errors import NodeError, UsageError
from functionfuse.nodes import Node
from functionfuse.targets import ClassTarget
from functionfuse.testing.refusing import RefusingWorkflow

T = TypeVar("T")
N = TypeVar("N", bound=int)
UserId = NewType("UserId", int)
Vector = list[float]
Json = Union[dict[str, "Json"], list["Json"], str, int, None]


class Color(enum.Enum):
    RED = "red"


class Grade(enum.IntEnum):
    GOOD = 1


class Sized(Protocol):
    def __len__(self) -> int: ...


class Options(TypedDict):
    rate: float


class Point(typing.NamedTuple):
    x: int


class Base(abc.ABC):  # noqa: B024
    pass


class Own:
    pass


class OwnList(list):
    pass


class Odd:
    """What cannot be compared, hashed, shown or subscripted."""

    __hash__ = None

    def __getattribute__(self, name):
        raise RuntimeError(name)

    def __repr__(self):
        raise RuntimeError("no")


APART = [
    (int, str),
    (float, str),
    (bool, str),
    (complex, bytes),
    (str, int),
    (str, float),
    (str, bytes),
    (bytes, str),
    (bytearray, str),
    (list, int),
    (list[int], float),
    (list[str], str),
    (list, dict),
    (tuple[int, str], int),
    (tuple[int, ...], dict[str, int]),
    (set[int], str),
    (frozenset, bytes),
    (dict, list),
    (dict[str, int], list[int]),
    (dict[str, int], int),
    (dict, str),
    (int, list[int]),
    (str, list[str]),
    (str, dict),
    (bytes, list[int]),
    (None, int),
    (None, str),
    (None, list[int]),
    (type(None), dict),
    (int | float, str),
    (int | None, str | bytes),
    (Optional[int], list),
    (Union[int, str], dict[str, int]),
    (str, int | float | None),
    (list[int] | tuple[int, ...], dict | None),
    (typing.List[int], str),
    (typing.Dict[str, int], typing.Tuple[int, str]),
    (UserId, str),
    (str, UserId),
    (Annotated[int, "meters"], str),
    (str, Annotated[float, Odd()]),
    (Literal["a", "b"], int),
    (Literal[1, 2], str),
    (int, Literal["a", "b"]),
    (Literal[None], int),
    (Vector, str),
    (str, Vector),
    (int, None),
    (typing.Text, int),
    (Optional["int"], str),
]

ACCEPTED = [
    (int, int),
    (int, float),
    (float, int),
    (bool, int),
    (int, bool),
    (complex, float),
    (int, UserId),
    (UserId, float),
    (Literal[1, 2], float),
    (Literal["a"], str),
    (Annotated[int, "meters"], float),
    (Optional["int"], float),
    (bytes, bytearray),
    (bytes, memoryview),
    (list, tuple),
    (list[int], list[str]),
    (list[int], Sequence[int]),
    (tuple[int, str], list[int]),
    (set[int], list[int]),
    (tuple[int, ...], tuple[int, int]),
    (dict, dict[str, int]),
    (dict[str, int], Mapping[str, int]),
    (dict[str, int], Iterable[str]),
    (str, Sequence[str]),
    (int, Sequence[int]),
    (int, Iterable),
    (int | None, int),
    (int | str, str),
    (int | str, int | list),
    (Optional[int], None),
    (None, int | None),
    (None, Optional[str]),
    (None, Own),
    (Any, int),
    (int, Any),
    (object, int),
    (int, object),
    (T, int),
    (int, T),
    (N, str),
    (str, N),
    (list[T], tuple),
    (str, Sized),
    (Sized, int),
    (Base, int),
    (int, Base),
    (Own, int),
    (int, Own),
    (OwnList, dict),
    (dict, OwnList),
    (Color, str),
    (str, Color),
    (Grade, str),
    (Literal[Color.RED], int),
    (Options, list),
    (list, Options),
    (Point, int),
    (int, Point),
    (pathlib.Path, str),
    (str, pathlib.Path),
    (numpy.ndarray, int),
    (float, numpy.ndarray),
    (numpy.float64, str),
    (list[float], numpy.ndarray),
    (pandas.DataFrame, dict),
    (dict, pandas.DataFrame),
    (collections.OrderedDict, list),
    (list, collections.deque),
    (int, Callable[[int], int]),
    (type[int], str),
    (str, type),
    (Json, int),
    (bytes, Json | Own),
    ("a text that is no type", int),
    (int, "not_defined_anywhere"),
    (int, "pandas.no_such"),
    (int, "print('called')"),
    (int, "'"),
    (int, ""),
    (int, 5),
    (5, int),
    (int, [int]),
    ({"a": int}, int),
    (int, Odd()),
    (Odd(), int),
    (typing.NoReturn, int),
    (int, typing.Self),
    (int, Literal[()]),
    (Union[Any, str], int),
    (list[int] | Any, int),
    (ModuleType, int),
    (type(len), str),
]

TEXTS = [
    ("int", "str", True),
    ("int | None", "list[str] | dict[str, int]", True),
    ("'int'", "str", True),
    ("typing.Optional[int]", "bytes", True),
    ("Annotated[int, print('called')]", "str", True),
    ("Literal[-1, 2]", "str", True),
    ("Vector", "str", True),
    ("UserId", "str", True),
    ("None", "int", True),
    ("  list [ int ]  ", "float", True),
    ("list['int']", "str", True),
    ("int | 'str'", "bytes", True),
    ("int", "float", False),
    ("Own | int", "str", False),
    ("int", "Later", False),
    ("numpy.ndarray", "str", False),
    ("lambda: 1", "int", False),
    ("1 + 1", "int", False),
    ("exit()", "int", False),
    ("int if True else str", "str", False),
    ("Json", "bytes | Own", False),
    ("Recursive", "int", False),
    ("list[Recursive]", "int", True),
]
Recursive = "Recursive"


def edge(returns, takes):
    """Make a node of a function that returns the one, and give it to a function that takes the other."""

    def produce():
        pass

    def consume(x):
        pass

    produce.__annotations__ = {"return": returns}
    consume.__annotations__ = {"x": takes}
    return workflow(consume)(workflow(produce)())


@pytest.mark.parametrize(("returns", "takes"), APART, ids=[str(number) for number in range(len(APART))])
def test_what_is_apart_is_refused(returns, takes):
    with pytest.raises(UsageError, match=r"consume: parameter 'x' is annotated .* and .*produce returns "):
        edge(returns, takes)


@pytest.mark.parametrize(("returns", "takes"), ACCEPTED, ids=[str(number) for number in range(len(ACCEPTED))])
def test_what_may_fit_is_accepted(returns, takes):
    assert type(edge(returns, takes)) is Node


@pytest.mark.parametrize(("returns", "takes", "is_apart"), TEXTS)
def test_annotations_that_are_texts(returns, takes, is_apart, capsys):
    with pytest.raises(UsageError) if is_apart else contextlib.nullcontext():
        edge(returns, takes)
    assert capsys.readouterr().out == ""  # nothing in a text is called


def test_the_table_is_large():
    assert len(APART) >= 50
    assert len(APART) + len(ACCEPTED) + len(TEXTS) >= 150


# -- what the error says


@workflow
def count(text: str) -> int:
    return len(text)


@workflow
def mean(values: list[float], *, unit: str = None, **weights: float) -> float:  # noqa: RUF013  as users write it
    return sum(values) / len(values)


@workflow
def load() -> dict[str, list[float]]:
    return {}


HOW = (
    "; pass another node, convert the result in a decorated function, or correct the annotation that is wrong "
    "(FUNCTIONFUSE_CHECK_TYPES=0 turns this check off)"
)


def test_the_error_names_all_of_it():
    with pytest.raises(TypeError) as caught:
        mean(count("a").set_name("n"))
    says = "mean: parameter 'values' is annotated list[float], but got <node 'n' of count>, and count returns int"
    assert str(caught.value) == says + HOW


CALLS = {
    "item": (lambda: count(load()["a"]), "'text' is annotated str, but got <node of load>['a'], and load returns dict"),
    "item of an item": (lambda: count(load()["a"][0]), "'text' is annotated str, but got <node of load>['a'][0]"),
    "slice": (lambda: count(load()["a"][1:]), "'text' is annotated str, but got"),
    "in a list": (lambda: mean([1.0, load()]), "'values' is annotated list[float], but holds <node of load>, and"),
    "in a tuple": (lambda: mean((load()["a"],)), "'values' is annotated list[float], but holds <node of load>['a']"),
    "keyword": (lambda: mean([], unit=count("a")), "'unit' is annotated str, but got"),
    "further keyword": (lambda: mean([], values_=load()), "'weights' is annotated float, but got"),
}


@pytest.mark.parametrize("call", CALLS)
def test_what_the_error_says_of_the_node(call):
    make, says = CALLS[call]
    with pytest.raises(UsageError) as caught:
        make()
    assert f"parameter {says}" in str(caught.value)


FITTING = {
    "item": lambda: mean(load()["a"]),
    "items": lambda: mean([load()["a"][0], 1, count("a")]),
    "slice": lambda: mean(load()["a"][1:]),
    "keyword": lambda: mean([], unit=load),
    "further keyword": lambda: mean([], a=count("a")),
    "unknown item": lambda: count(numbers()[7]),
    "a dict in a list": lambda: mean([{"a": load()}]),
}


@workflow
def numbers() -> tuple[int, str]:
    return 1, "a"


@pytest.mark.parametrize("call", FITTING)
def test_what_fits(call):
    assert type(FITTING[call]()) is Node


def test_the_default_counts():
    """As `None` does for most, the default tells that more is meant than was annotated."""

    @workflow
    def plot(size: int = None, style: int = "auto"):  # noqa: RUF013
        pass

    @workflow
    def nothing() -> None:
        pass

    @workflow
    def text() -> str:
        return ""

    assert type(plot(nothing(), text())) is Node
    with pytest.raises(UsageError, match="'size'"):
        plot(text())


def test_positional_and_further_arguments():
    @workflow
    def join(separator: str, /, *parts: str, last: str = ""):
        pass

    text = workflow(edge_target(str))
    assert type(join(text(), text(), text(), last=text())) is Node
    for call in (
        lambda: join(count("a"), "b"),
        lambda: join("a", "b", count("a")),
        lambda: join("a", last=count("a")),
    ):
        with pytest.raises(UsageError, match="is annotated str, but got <node of count>"):
            call()


def edge_target(returns):
    def produce():
        pass

    produce.__annotations__ = {"return": returns}
    return produce


CONTAINERS = [
    (list[int], list, True),
    (Sequence[int], list, True),
    (Iterable[int], tuple, True),
    (tuple[int, ...], tuple, True),
    (tuple[str, int], lambda items: (*items, *items), True),
    (dict[str, int], lambda items: {"a": items[0]}, True),
    (Mapping[str, int], lambda items: {"a": items[0]}, True),
    (list[list[int]], lambda items: [[1], list(items)], True),
    (dict[str, list[int]], lambda items: {"a": list(items)}, True),
    (list[int] | None, list, True),
    (list[int] | dict[str, int], list, True),
    (set[int], set, True),
    (list[str], list, False),
    (list[Any], list, False),
    (list, list, False),
    (Sequence, list, False),
    (Sequence[int] | Any, list, False),
    (list[int] | list[str], list, False),
    (list[int] | list, list, False),
    (tuple[int, int], tuple, False),  # of another length: what is wrong there is no edge
    (tuple[str, *tuple[int, ...]], tuple, False),
    (dict[str, int], list, False),
    (list[int], lambda items: {"a": items[0]}, False),
    (Iterable[int], lambda items: {"a": items[0]}, False),
    (int, list, False),
    (Own, list, False),
]


@pytest.mark.parametrize(("takes", "make", "is_apart"), CONTAINERS)
def test_nodes_in_containers(takes, make, is_apart):
    def consume(x):
        pass

    consume.__annotations__ = {"x": takes}
    nodes = (workflow(edge_target(str))(),)
    with pytest.raises(UsageError, match="but holds") if is_apart else contextlib.nullcontext():
        workflow(consume)(make(nodes))


ITEMS = [
    (list[int], 0, True),
    (list[list[int]], 0, True),
    (tuple[str, int], 1, True),
    (tuple[str, int], -1, True),
    (tuple[int, ...], 5, True),
    (dict[str, int], "a", True),
    (dict[str, int] | None, "a", True),
    (Sequence[int], 0, True),
    (Mapping[str, int], "a", True),
    (bytes, 0, True),
    (list[int], slice(2), True),
    (tuple[int, int], slice(1), True),
    (tuple[str, int], 0, False),
    (tuple[str, int], 2, False),
    (tuple[str, int], "x", False),
    (list[int] | list[str], 0, False),
    (list, 0, False),
    (dict, "a", False),
    (str, 0, False),
    (int, 0, False),
    (Own, 0, False),
    (numpy.ndarray, 0, False),
    (list[Own], 0, False),
]


@pytest.mark.parametrize(("returns", "key", "is_apart"), ITEMS)
def test_items_of_results(returns, key, is_apart):
    with pytest.raises(UsageError) if is_apart else contextlib.nullcontext():
        count(workflow(edge_target(returns))()[key])


# -- what is called


@workflow
class Model:
    def __init__(self, rate: float) -> None:
        self.rate = rate

    def fit(self, data: list[float]) -> str:
        return "fitted"

    @staticmethod
    def size(data: list[float]) -> int:
        return 1

    @classmethod
    def named(cls, name: str) -> dict:
        return {}

    def __call__(self, x: int) -> int:
        return x


def test_methods_and_constructors():
    model = Model(count("a"))
    assert type(count(model.fit(load()["a"]))) is Node
    for call in (
        lambda: Model(load()),
        lambda: model.fit(count("a")),
        lambda: model.size(count("a")),
        lambda: model.named(count("a")),
        lambda: model(load()),
        lambda: mean(model.fit([])),
        lambda: count(model.size([])),
        lambda: count(model.named("a")),
        lambda: count(model(1)),
    ):
        with pytest.raises(UsageError, match="is annotated"):
            call()
    assert type(count(model)) is Node  # an object of the user's class


def test_a_refused_call_leaves_nothing_behind():
    """Neither a child of the node, nor a place in the order of an object's calls."""
    model, node = Model(1.0), count("a")
    with pytest.raises(UsageError):
        model.fit(node)
    assert (list(node._children), model._last_change) == ([], model)


def test_wrapped_functions_are_not_checked():
    """The wrapper may convert arguments and results."""

    def converts(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return str(function(*map(str, args)))

        return wrapper

    @workflow
    @converts
    def length(text: str) -> int:
        return len(text)

    assert type(length(length(load()))) is Node
    assert type(count(length(1))) is Node
    assert type(workflow(functools.partial(count.__wrapped__))(count("a"))) is Node


def test_a_plugin_changes_nothing():
    node = count("a")
    plugged = RefusingWorkflow(node, workflow_name="plugged")
    plugged.query().set_plugin(InitializerPlugin(dict))
    with pytest.raises(UsageError):
        mean(node)


class Here(BaseWorkflow):
    """Runs nodes in this process."""

    def execute(self, run):
        for task in run.in_order():
            run.perform_here(task)


def test_a_graph_that_a_function_returns():
    @workflow
    def grow(wrong: bool) -> float:
        return mean(count("a")) if wrong else mean([count("abc")])

    assert Here(grow(wrong=False), workflow_name="dynamic").run() == 3
    with pytest.raises(NodeError, match="mean: parameter 'values' is annotated list") as caught:
        Here(grow(wrong=True), workflow_name="dynamic").run()
    assert type(caught.value.__cause__) is UsageError


def test_an_edit():
    """An edge that an edit makes is checked when the new graph is made."""

    @workflow
    def shown() -> str:
        return ""

    node = mean(load()["a"]).set_name("mean")
    edited = Here(node, workflow_name="edited").edit().replace("load.*", shown)
    with pytest.raises(UsageError, match=r"but got <node 'load_0000' of .*shown>"):
        edited.done().run()


# -- switched off, and never in the way


def test_it_can_be_turned_off(monkeypatch):
    with pytest.raises(UsageError):
        mean(count("a"))
    monkeypatch.setenv("FUNCTIONFUSE_CHECK_TYPES", "0")
    assert type(mean(count("a"))) is Node
    monkeypatch.setenv("FUNCTIONFUSE_CHECK_TYPES", "1")
    with pytest.raises(UsageError):
        mean(count("a"))


def loaded_modules(code):
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return found.stdout.split()


@pytest.mark.parametrize(
    ("call", "is_loaded"), [("f(1)", False), ("f([1])", False), ("g(f(1))", False), ("f(f(1))", True)]
)
def test_it_is_imported_when_it_is_needed(call, is_loaded):
    code = (
        "import sys; from functionfuse import workflow\n"
        "@workflow\ndef f(x: int) -> int: return x\n"
        "@workflow\ndef g(x): return x\n"
        f"{call}\nprint(*[name for name in sys.modules if name.startswith('functionfuse.')])"
    )
    assert ("functionfuse.edge_check" in loaded_modules(code)) == is_loaded


def test_classes_and_functions_are_not_kept():
    def scope():
        class Local:
            pass

        def produce() -> Local: ...

        def consume(x: Local | int, y: list[Local]): ...

        produce.__annotations__["return"] = Local
        consume.__annotations__ = {"x": Local | int, "y": list[Local]}
        decorated = workflow(produce), workflow(consume)
        decorated[1](decorated[0](), [decorated[0]()])
        count(decorated[0]())
        return [weakref.ref(one) for one in (Local, produce, consume)]

    kept = scope()
    gc.collect()
    assert [one() for one in kept] == [None, None, None]


def test_calls_in_threads():
    refused, made = [], []

    @workflow
    def fresh(x: int, y: str = ""):
        pass

    barrier = threading.Barrier(8)

    def work():
        barrier.wait()
        for _ in range(50):
            made.append(fresh(count("a")))
            try:
                fresh(1, count("a"))
            except UsageError as error:
                refused.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (400, 400)


TYPES = st.recursive(
    st.sampled_from(
        [int, str, bytes, None, list, dict, Any, object, Own, T, Color, Base, "int", "nowhere", "", "[", 5, ...]
    )
    | st.text(max_size=8),
    lambda inner: st.one_of(
        st.builds(lambda one: _built(lambda: list[one]), inner),
        st.builds(lambda one: _built(lambda: Optional[one]), inner),
        st.builds(lambda one, other: _built(lambda: dict[one, other]), inner, inner),
        st.builds(lambda one, other: _built(lambda: tuple[one, other]), inner, inner),
        st.builds(lambda one, other: _built(lambda: one | other), inner, inner),
        st.builds(lambda one: _built(lambda: Annotated[one, 5]), inner),
        st.builds(lambda one: [one], inner),
    ),
    max_leaves=6,
)


def _built(build):
    try:
        return build()
    except Exception:  # not every pair makes a type
        return "odd"


@settings(max_examples=150, deadline=None)
@given(returns=TYPES, takes=TYPES, path=st.lists(st.sampled_from([0, "a", slice(1)]), max_size=3), nest=st.booleans())
def test_nothing_but_an_edge_is_refused(returns, takes, path, nest):
    """Whatever annotations are, a call makes a node, or says which edge cannot be."""

    def consume(x):
        pass

    consume.__annotations__ = {"x": takes}
    node = workflow(edge_target(returns))()
    for key in path:
        node = node[key]
    try:
        assert type(workflow(consume)([node] if nest else node)) is Node
    except UsageError as error:
        assert "consume: parameter 'x' is annotated" in str(error)  # noqa: PT017


VALUES = {int: 1, str: "a", bytes: b"a", type(None): None, list[int]: [1], dict[str, int]: {"a": 1}, Any: 1, Own: Own()}


@given(
    returns=st.lists(st.sampled_from([*VALUES]), min_size=1, max_size=3),
    takes=st.lists(st.sampled_from([*VALUES]), min_size=1, max_size=3),
)
def test_a_value_that_both_allow_is_never_refused(returns, takes):
    if not {*returns}.isdisjoint(takes):
        assert type(edge(Union[tuple(returns)], Union[tuple(takes)])) is Node


def test_a_class_of_a_library():
    """Stands for itself; its constructor has the annotations of a library."""
    assert isinstance(workflow(pathlib.PurePath), ClassTarget)
    assert workflow(pathlib.PurePath)(count("a")) is not None
