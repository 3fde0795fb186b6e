"""Fingerprints of what is unlike in one small thing, of what libraries make, and of what is hard to describe."""

from __future__ import annotations

import array
import builtins
import functools
import math
import os
import subprocess
import sys
import textwrap
import typing
from multiprocessing.managers import SharedMemoryManager

import pytest

from functionfuse.fingerprint import Fingerprinter, Unfingerprintable

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
st = hypothesis.strategies


def digest(value):
    return Fingerprinter().digest(value).hex()


def made(source, name="f"):
    namespace = {"__name__": "__main__"}
    exec(source, namespace)
    return namespace[name]


# Unequal structures

ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3)
HASHABLE = st.recursive(ATOMS, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.frozensets(HASHABLE, max_size=3)
        | inner.map(lambda value: functools.partial(print, value))
        | st.binary(max_size=3).map(bytearray)
    ),
    max_leaves=8,
)


def written(value):
    """A value with its types, so that values are equal if these are; ``1`` and ``True`` are not."""
    if isinstance(value, list | tuple):
        return type(value), tuple(map(written, value))
    if isinstance(value, dict):
        return dict, tuple((written(key), written(item)) for key, item in value.items())
    if isinstance(value, frozenset):
        return frozenset, frozenset(map(written, value))
    if isinstance(value, functools.partial):
        return functools.partial, tuple(map(written, value.args))
    if isinstance(value, float):
        return float, math.copysign(1, value), "nan" if math.isnan(value) else value
    return type(value), bytes(value) if isinstance(value, bytearray) else value


@hypothesis.settings(deadline=None, derandomize=True, max_examples=300)
@hypothesis.given(VALUES, VALUES)
def test_values_that_differ_have_digests_that_differ(one, other):
    assert (digest(one) == digest(other)) == (written(one) == written(other))


@hypothesis.settings(deadline=None, derandomize=True, max_examples=200)
@hypothesis.given(HASHABLE.filter(lambda v: written(v) == written(v)), HASHABLE)
def test_constants_that_differ_make_code_that_differs(one, other):
    hypothesis.assume("nan" not in repr((one, other)) and "inf" not in repr((one, other)))
    functions = [made(f"def f():\n    return {value!r}") for value in (one, other)]
    assert (digest(functions[0]) == digest(functions[1])) == (written(one) == written(other))


UNEQUAL = {
    "groups": ("def f(): return (('a', 'b'), 'c')", "def f(): return (('a', 'b', 'c'),)"),
    "static": ("class f:\n  @staticmethod\n  def g(x): return x", "class f:\n  @classmethod\n  def g(x): return x"),
    "function": ("class f:\n  @staticmethod\n  def g(x): return x", "class f:\n  def g(x): return x"),
    "property": (
        "import functools\nclass f:\n  @property\n  def g(x): return x",
        "import functools\nclass f:\n  @functools.cached_property\n  def g(x): return x",
    ),
    "text or builtin": ("def f(): return len", "len = 'len'\ndef f(): return len"),
    "none or missing": ("def f(): return missing", "missing = None\ndef f(): return missing"),
    "text or library": ("import math\ndef f(): return math.pi", "math = 'math.pi'\ndef f(): return math.pi"),
    "bytes": ("x = b'ab'\ndef f(): return x", "x = bytearray(b'ab')\ndef f(): return x"),
    "view of a dict": (
        "x = {'a': 1}\ndef f(): return x",
        "import types\nx = types.MappingProxyType({'a': 1})\ndef f(): return x",
    ),
    "attribute": ("def g(): pass\ng.n = 1\ndef f(): return g.n", "def g(): pass\ng.n = 2\ndef f(): return g.n"),
    "metadata": (
        "import dataclasses as d\n@d.dataclass\nclass f:\n  x: int = d.field(default=1, metadata={'n': 1})",
        "import dataclasses as d\n@d.dataclass\nclass f:\n  x: int = d.field(default=1, metadata={'n': 2})",
    ),
    "format of a struct": (
        "import struct\ns = struct.Struct('i')\ndef f(): return s",
        "import struct\ns = struct.Struct('f')\ndef f(): return s",
    ),
    "bound of a type": (
        "import typing\nT = typing.TypeVar('T', bound=int)\ndef f(): return T",
        "import typing\nT = typing.TypeVar('T', bound=str)\ndef f(): return T",
    ),
    "base of a generic": (
        "import typing\nT = typing.TypeVar('T')\nclass G(typing.Generic[T]): pass\nclass f(G[int]): pass",
        "import typing\nT = typing.TypeVar('T')\nclass G(typing.Generic[T]): pass\nclass f(G[str]): pass",
    ),
}


@pytest.mark.parametrize(("one", "other"), UNEQUAL.values(), ids=UNEQUAL)
def test_definitions_that_differ(one, other):
    assert digest(made(one)) == digest(made(one)) != digest(made(other))


def test_what_the_project_makes_a_builtin_counts(monkeypatch):
    function = made("def f(): return functionfuse_tests_scale")
    digests = [digest(function)]
    for value in (1, 2, made("def f(): return 1"), made("def f(): return 2")):
        monkeypatch.setattr(builtins, "functionfuse_tests_scale", value, raising=False)
        digests.append(digest(function))
    assert len(set(digests)) == len(digests)


def test_what_a_library_makes_a_builtin_does_not_count(monkeypatch):
    function = made("def f(): print('now')")
    before = digest(function)
    monkeypatch.setattr(builtins, "print", textwrap.dedent)  # as Ray replaces it when workers print
    assert digest(function) == before


INTEGERS, REALS = array.array("i", [1]), array.array("f", [1.4e-45])
BUFFERS = [
    b"abcd",
    bytearray(b"abcd"),
    memoryview(b"abcd"),
    memoryview(bytearray(b"abcd")),
    memoryview(b"abcd").cast("B", (2, 2)),
    memoryview(b"abcd")[::2],
    memoryview(INTEGERS),
    memoryview(REALS),
    memoryview(bytes(6)).cast("B", (2, 3))[0:0],
    memoryview(b""),
]


def test_buffers_count_with_their_kind_and_shape():
    assert bytes(INTEGERS) == bytes(REALS)
    assert len({digest(buffer) for buffer in BUFFERS}) == len(BUFFERS)
    assert digest(memoryview(b"abcd")[::2]) == digest(memoryview(b"ac"))


class Form:
    """An object with a given pickled form."""

    def __init__(self, *form):
        self.form = form

    def __reduce__(self):
        return Form, *self.form


def test_parts_of_pickled_forms_do_not_run_together():
    assert digest([Form((1,)), Form((2,), 3)]) != digest([Form((1,), Form((2,))), 3])


# What is hard to describe


class AttrDict(dict):
    __getattr__ = dict.__getitem__  # KeyError, where AttributeError is usual


class Unreadable:
    @property
    def __wrapped__(self):
        raise RuntimeError("no")


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Failing:
    def __reduce__(self):
        raise Unspeakable


UNUSUAL = {
    "large": 10**5000,
    "negative": -(10**5000),
    "greedy": AttrDict(n=1),
    "unreadable": Unreadable(),
    "made": made("def f(x): return x"),
    "strided": memoryview(b"ab")[::2],
}


@pytest.mark.parametrize("value", UNUSUAL.values(), ids=UNUSUAL)
def test_what_can_be_described_although_it_is_unusual(value):
    assert digest(value) == digest(value) != digest([value])


def test_a_function_without_a_module():
    namespace = {}
    exec("def f(x):\n    return x + 1\ndef g(x):\n    return x + 2", namespace)
    assert namespace["f"].__module__ in (None, "builtins")
    assert digest(namespace["f"]) != digest(namespace["g"])


def released():
    view = memoryview(b"ab")
    view.release()
    return view


@pytest.mark.parametrize(("value", "reason"), [(Failing(), "Unspeakable"), (released(), "ValueError")])
def test_whatever_goes_wrong_means_that_there_is_no_fingerprint(value, reason):
    with pytest.raises(Unfingerprintable, match=reason):
        digest([value])


def test_a_handle_to_what_a_process_has_says_nothing_about_its_content():
    with SharedMemoryManager() as manager:
        for handle in (manager.SharedMemory(8), manager.ShareableList([1]).shm):
            with pytest.raises(Unfingerprintable, match=r"SharedMemory is a handle to what a running process has"):
                digest({"data": [handle]})
            handle.close()


# What libraries make

LIBRARIES = """
import dataclasses, functools, importlib, sys, typing

def needs(*modules):
    def keep(make):
        try:
            for module in modules:
                importlib.import_module(module)
        except ImportError:
            return make
        MAKERS[make.__name__] = make
        return make
    return keep

MAKERS = {}

@needs("pydantic")
def pydantic_class(n):
    import pydantic

    class Model(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(frozen=True)
        a: int = n
        b: list[str] = pydantic.Field(default_factory=list)
        c: typing.Annotated[int, pydantic.Field(gt=n)] = 9

        @pydantic.field_validator("a")
        @classmethod
        def checked(cls, value):
            return value

        @pydantic.computed_field
        @property
        def d(self) -> int:
            return self.a

    return Model

@needs("pydantic")
def pydantic_object(n):
    return pydantic_class(1)(a=n)

@needs("attrs")
def attrs_class(n):
    import attrs

    @attrs.define
    class Row:
        x: int = attrs.field(default=n, validator=attrs.validators.instance_of(int))

    return Row

@needs("beartype")
def beartype_function(n):
    import beartype

    @beartype.beartype
    def f(x: int, y: int = n) -> int:
        return x

    return f

@needs("beartype")
def beartype_class(n):
    import beartype

    @beartype.beartype
    class Row:
        def f(self, x: int, y: int = n) -> int:
            return x

    return Row

@needs("scipy.stats")
def scipy_distribution(n):
    import scipy.stats

    return [scipy.stats.norm, scipy.stats.gamma][n - 1]

@needs("scipy.stats")
def scipy_frozen(n):
    import scipy.stats

    return scipy.stats.norm(n, 1)

@needs("scipy.stats")
def scipy_drawn(n):
    frozen = scipy_frozen(n)
    frozen.rvs(2)
    return frozen

@needs("dask")
def dask_delayed(n):
    import dask

    @dask.delayed
    def f(x, *more):
        return x

    return f(f(n), [f(2), {"k": f(3)}])

@needs("dask")
def dask_function(n):
    import dask

    return dask.delayed([sum, max][n - 1])

@needs("dask.array")
def dask_array(n):
    import dask.array

    return dask.array.ones((4, 4), chunks=2) + n

@needs("numba")
def numba_function(n):
    import numba

    @numba.njit
    def f(x):
        return x + n

    return f

@needs("torch")
def torch_tensor(n):
    import torch

    return torch.arange(3) + n

@needs("torch")
def torch_module(n):
    import torch

    torch.manual_seed(n)
    return torch.nn.Linear(2, 2)

@needs("wrapt")
def wrapt_function(n):
    import wrapt

    @wrapt.decorator
    def added(wrapped, instance, args, kwargs):
        return wrapped(*args, **kwargs) + n

    @added
    def f(x):
        return x

    return f

@needs("numpy")
def numpy_function(n):
    import numpy

    return [numpy.sin, numpy.vectorize(lambda x: x)][n - 1]

@needs("sklearn")
def fitted(n):
    import numpy
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(3, random_state=n).fit(numpy.arange(20.0).reshape(10, 2), [0, 1] * 5)

T = typing.TypeVar("T")

@needs()
def generic_class(n):
    class Box(typing.Generic[T]):
        size = n

        def __init__(self, value: T) -> None:
            self.value = value

    return Box, Box[int], Box[int](n)

@needs()
def new_type(n):
    return typing.NewType("Metres", [int, float][n - 1])

from functionfuse.fingerprint import Fingerprinter

for name, make in MAKERS.items():
    one, other = (Fingerprinter().digest(make(n)).hex() for n in (1, 2))
    print(name, one, other)
"""


@pytest.fixture(scope="module")
def library_digests(tmp_path_factory):
    program = tmp_path_factory.mktemp("libraries") / "program.py"
    program.write_text(LIBRARIES)

    def digests(seed):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, str(program)], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return {name: found for name, *found in map(str.split, done.stdout.splitlines())}

    return digests("1"), digests("2")


NAMES = [line.removeprefix("def ").partition("(")[0] for line in LIBRARIES.splitlines() if line.endswith("(n):")]


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith(" ")])
def test_what_libraries_make_is_known_again_in_another_process(library_digests, name):
    if name not in library_digests[0]:
        pytest.skip("the library is not installed")
    (one, other), again = library_digests[0][name], library_digests[1][name]
    assert again == [one, other]
    assert one != other


def test_a_librarys_own_generator_counts_by_its_place():
    import random

    before = digest(random._inst)
    random.random()
    assert digest(random._inst) == before != digest(random.Random(1))


def test_a_project_function_that_an_object_names_by_text():
    class Named:
        def __reduce__(self):
            return str, (f"{__name__}:named",)

    globals()["named"] = made("def f(): return 1")
    before = digest(Named())
    globals()["named"] = made("def f(): return 2")
    assert digest(Named()) != before


def test_type_variables_of_the_same_name_and_bound_are_equal():
    one, other = (typing.TypeVar("T", bound=int) for _ in range(2))
    assert digest(one) == digest(other) != digest(typing.TypeVar("T"))
