"""Recipes: what they do not depend on, which is how a call or its code is spelled, and what they do depend on."""

from __future__ import annotations

import functools
import keyword
import math
import re
import runpy
import string
import sys
import types

import pytest

from functionfuse import workflow
from functionfuse.backends.options import StepOptions
from functionfuse.errors import OptionError
from functionfuse.fingerprint import Fingerprinter, RecipeBook
from functionfuse.graph import Graph
from functionfuse.plan import steps_of

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
st = hypothesis.strategies


def digest(value):
    return Fingerprinter().digest(value).hex()


def recipe(node, *, ignore=()):
    """The recipe of a node, and those that it is made from."""
    book = RecipeBook()
    steps = steps_of(Graph([node]), lambda name: StepOptions(ignore=ignore if name == "last" else ()))
    return [book.write(step, step.name) for step in steps][-1]


def made(source, name="f", module="__main__", future=False):
    """Execute source, and return what it calls ``f``."""
    namespace = {"__name__": module}
    flags = __import__("__future__").annotations.compiler_flag if future else 0
    exec(compile(source, f"/nowhere/{module}.py", "exec", flags, dont_inherit=True), namespace)
    return namespace[name]


# Calls


@workflow
def add(a, b=2, /, c=3, *, d=4):
    return a, b, c, d


@workflow
def named(a, b=2, *, c=3):
    return a, b, c


@workflow
def many(a, *rest, b=2, **more):
    return a, rest, b, more


@workflow
def first(a, /, **more):
    return a, more


@workflow
def one(x):
    return x


@workflow
class Box:
    def __init__(self, a, b=2):
        self.a, self.b = a, b

    def scaled(self, by=1, *, plus=0):
        return self.a * by + plus

    @classmethod
    def of_class(cls, x, y=1):
        return x, y

    @staticmethod
    def static(x, y=1):
        return x, y


@workflow
class Made:
    def __new__(cls, a, b=2):
        return super().__new__(cls)

    def get(self):
        return 1


@workflow
class Watched:
    def __new__(cls, *args, **kwargs):
        self = super().__new__(cls)
        self.spelled = len(args)
        return self

    def __init__(self, a, b=2):
        self.a = a

    def get(self):
        return self.spelled


def watching(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return len(args), function(*args, **kwargs)

    return wrapper


@workflow
@watching
def watched(a, b=2):
    return a


cached = workflow(functools.lru_cache(lambda a, b=2: a))
SENTINEL = types.SimpleNamespace(n=1)


@workflow
def with_object(a, b=SENTINEL):
    return a, b


CALLS = {
    "by name": (lambda: named(1, 5), lambda: named(a=1, b=5), True),
    "order of names": (lambda: named(b=5, a=1), lambda: named(a=1, b=5), True),
    "default": (lambda: named(1), lambda: named(1, 2), True),
    "default by name": (lambda: named(1), lambda: named(b=2, a=1, c=3), True),
    "another than the default": (lambda: named(1), lambda: named(1, 3), False),
    "type of the default": (lambda: named(1), lambda: named(1, 2.0), False),
    "swapped": (lambda: named(1, 5), lambda: named(5, 1), False),
    "swapped by name": (lambda: named(a=1, b=5), lambda: named(a=5, b=1), False),
    "another parameter": (lambda: named(1, b=5), lambda: named(1, c=5), False),
    "positional only": (lambda: add(1), lambda: add(1, 2, 3, d=4), True),
    "positional or by name": (lambda: add(1, 2, 7), lambda: add(1, c=7), True),
    "keyword only": (lambda: add(1, d=5), lambda: add(1, 2, d=5, c=3), True),
    "default object": (lambda: with_object(1), lambda: with_object(1, types.SimpleNamespace(n=1)), True),
    "other object": (lambda: with_object(1), lambda: with_object(1, types.SimpleNamespace(n=2)), False),
    "rest": (lambda: many(1, 2, 3), lambda: many(1, 2, 3, b=2), True),
    "rest in one": (lambda: many(1, 2, 3), lambda: many(1, (2, 3)), False),
    "rest or first": (lambda: many(1), lambda: many(1, 1), False),
    "rest or name": (lambda: many(1, 5), lambda: many(1, b=5), False),
    "first by name": (lambda: many(a=1, x=2), lambda: many(1, x=2), True),
    "more": (lambda: many(1, x=1, b=5), lambda: many(1, b=5, x=1), True),
    "order of more": (lambda: many(1, x=1, y=2), lambda: many(1, y=2, x=1), False),
    "name of more": (lambda: many(1, x=1), lambda: many(1, y=1), False),
    "more like a parameter": (lambda: first(1, a=2), lambda: first(2, a=1), False),
    "more or nothing": (lambda: many(1, more=2), lambda: many(1), False),
    "node": (lambda: named(one(1), 5), lambda: named(b=5, a=one(x=1)), True),
    "another node": (lambda: named(one(1)), lambda: named(one(2)), False),
    "nodes swapped": (lambda: named(one(1), one(2)), lambda: named(one(2), one(1)), False),
    "nodes swapped by name": (lambda: named(b=one(1), a=one(2)), lambda: named(one(2), one(1)), True),
    "item": (lambda: named(one([1])[0]), lambda: named(a=one(x=[1])[0], c=3), True),
    "another item": (lambda: named(one([1])[0]), lambda: named(one([1])[-1]), False),
    "container": (lambda: named([one(1), {"k": one(2)}]), lambda: named(c=3, a=[one(1), {"k": one(x=2)}]), True),
    "another container": (lambda: named([one(1), one(2)]), lambda: named([one(2), one(1)]), False),
    "node or its default": (lambda: named(1, one(2)), lambda: named(1, 2), False),
    "constructor": (lambda: Box(1).scaled(), lambda: Box(a=1, b=2).scaled(), True),
    "another constructor": (lambda: Box(1).scaled(), lambda: Box(2).scaled(), False),
    "method": (lambda: Box(1).scaled(1), lambda: Box(1).scaled(plus=0, by=1), True),
    "another method's argument": (lambda: Box(1).scaled(2), lambda: Box(1).scaled(plus=2), False),
    "class method": (lambda: Box(1).of_class(1), lambda: Box(1).of_class(y=1, x=1), True),
    "static method": (lambda: Box(1).static(1), lambda: Box(1).static(y=1, x=1), True),
    "new": (lambda: Made(1).get(), lambda: Made(b=2, a=1).get(), True),
    "cache": (lambda: cached(1), lambda: cached(b=2, a=1), True),
    "new sees the spelling": (lambda: Watched(1).get(), lambda: Watched(a=1).get(), False),
    "a wrapper sees the spelling": (lambda: watched(1), lambda: watched(a=1), False),
    "class of a library": (
        lambda: workflow(string.Template)("a"),
        lambda: workflow(string.Template)(template="a"),
        True,
    ),
    "function of a library": (lambda: workflow(math.isclose)(1, 2), lambda: workflow(math.isclose)(b=2, a=1), True),
}


@pytest.mark.parametrize(("one_", "other", "equal"), CALLS.values(), ids=CALLS)
def test_how_a_call_is_spelled(one_, other, equal):
    assert recipe(one_()) == recipe(one_())
    assert (recipe(one_()).digest == recipe(other()).digest) is equal
    assert (recipe(one(one_())).digest == recipe(one(other())).digest) is equal


PARAMETERS = ["a", "b", "c", "d"]


@st.composite
def spellings(draw):
    """A call of ``add``: the values that its parameters get, and one way to spell it."""
    values = {name: draw(st.integers(1, 4)) for name in PARAMETERS}
    by_position = draw(st.integers(2, 3))
    args = [values[name] for name in PARAMETERS[:by_position]]
    rest = {name: values[name] for name in draw(st.permutations(PARAMETERS[by_position:]))}
    default = {"c": 3, "d": 4}
    kwargs = {name: value for name, value in rest.items() if value != default[name] or draw(st.booleans())}
    if by_position == 2 and args[1] == 2 and draw(st.booleans()):
        args.pop()
    return values, args, kwargs


@hypothesis.settings(deadline=None, derandomize=True, max_examples=200)
@hypothesis.given(spellings(), spellings())
def test_calls_are_equal_if_the_function_gets_the_same(one_, other):
    recipes = [recipe(add(*args, **kwargs)).digest for _, args, kwargs in (one_, other)]
    assert (recipes[0] == recipes[1]) == (one_[0] == other[0])


def test_a_default_without_a_fingerprint_is_left_out():
    import threading

    function = workflow(
        types.FunctionType(threading.Thread.join.__code__, vars(threading), "join", (threading.Lock(),))
    )
    function.function.__module__ = "threading"  # a library's, by name
    assert recipe(function(1)) == recipe(function(self=1)) != recipe(function(2))


@pytest.mark.parametrize(
    ("one_", "other", "equal"),
    [
        (lambda: named(1, 5), lambda: named(a=1, b=6), True),
        (lambda: named(1), lambda: named(1, one(3)), True),
        (lambda: named(1, 5), lambda: named(2, 5), False),
        (lambda: named(1, 5), lambda: named(1, 5, c=4), False),
    ],
)
def test_ignored_parameters(one_, other, equal):
    digests = [recipe(call().set_name("last"), ignore=("b",)).digest for call in (one_, other)]
    assert (digests[0] == digests[1]) is equal


def test_ignored_parameters_of_a_wrapped_function():
    recipes = [recipe(call.set_name("last"), ignore=("b",)) for call in (watched(1, 5), watched(1, b=6))]
    assert recipes[0] == recipes[1]


def test_an_ignored_parameter_that_there_is_not():
    with pytest.raises(OptionError, match=r"no parameter 'x' to ignore; named has a, b, c"):
        recipe(named(1).set_name("last"), ignore=("x",))


# Names and annotations

HINTS = "import typing\ndef hints(g):\n    return typing.get_type_hints(g)\n"
FRAME = "import sys\ndef caller(name):\n    return sys._getframe(1).f_locals[name]\n"

SPELLINGS = {
    "local": ("def f(x):\n  y = x + 1\n  return y", "def f(x):\n  z = x + 1\n  return z", True),
    "locals swapped": (
        "def f(x):\n  a = x\n  b = 2\n  return a - b",
        "def f(x):\n  a = x\n  b = 2\n  return b - a",
        False,
    ),
    "another local": (
        "def f(x):\n  a = b = x\n  a += 1\n  return a",
        "def f(x):\n  a = b = x\n  a += 1\n  return b",
        False,
    ),
    "parameter or local": ("def f(x):\n  y = 1\n  return x", "def f(x):\n  y = 1\n  return y", False),
    "loop": (
        "def f(x):\n  for i in x:\n    print(i)",
        "def f(x):\n  for item in x:\n    print(item)",
        True,
    ),
    "exception": (
        "def f(x):\n  try:\n    x()\n  except ValueError as e:\n    print(e)",
        "def f(x):\n  try:\n    x()\n  except ValueError as error:\n    print(error)",
        True,
    ),
    "rest": ("def f(*args, **kw):\n  return args, kw", "def f(*a, **k):\n  return a, k", True),
    "rest swapped": ("def f(*args, **kw):\n  return args, kw", "def f(*args, **kw):\n  return kw, args", False),
    "name of a parameter": ("def f(x):\n  return x", "def f(y):\n  return y", False),
    "comprehension": ("def f(x):\n  return [i * 2 for i in x]", "def f(x):\n  return [j * 2 for j in x]", True),
    "closure": (
        "def f(x):\n  b = x\n  a = 1\n  def g(): return b - a\n  return g()",
        "def f(x):\n  p = x\n  q = 1\n  def g(): return p - q\n  return g()",
        True,
    ),
    "closure swapped": (
        "def f(x):\n  b = x\n  a = 1\n  def g(): return b - a\n  return g()",
        "def f(x):\n  a = x\n  b = 1\n  def g(): return b - a\n  return g()",
        False,
    ),
    "depth of a closure": (
        "def f(x):\n  v = 1\n  def g():\n    v = 2\n    def h(): return v\n    return h()\n  return g(), v",
        "def f(x):\n  v = 1\n  def g():\n    w = 2\n    def h(): return v\n    return h()\n  return g(), v",
        False,
    ),
    "variables of a live closure": (
        "def m(a, b):\n  def f(): return a - b\n  return f\nf = m(2, 1)",
        "def m(q, p):\n  def f(): return q - p\n  return f\nf = m(2, 1)",
        True,
    ),
    "values of a live closure": (
        "def m(a, b):\n  def f(): return a - b\n  return f\nf = m(2, 1)",
        "def m(q, p):\n  def f(): return q - p\n  return f\nf = m(1, 2)",
        False,
    ),
    "nonlocal": (
        "def f(x):\n  n = 0\n  def g():\n    nonlocal n\n    n += 1\n  g()\n  return n",
        "def f(x):\n  m = 0\n  def g():\n    nonlocal m\n    m += 1\n  g()\n  return m",
        True,
    ),
    "local or nonlocal": (
        "def f(x):\n  n = 0\n  def g():\n    nonlocal n\n    n = 1\n  g()\n  return n",
        "def f(x):\n  n = 0\n  def g():\n    n = 1\n  g()\n  return n",
        False,
    ),
    "local or global": ("def f():\n  n = 1\n  return n", "n = 1\ndef f():\n  return n", False),
    "name of an inner function": (
        "def f():\n  def g(): return 1\n  return g",
        "def f():\n  def h(): return 1\n  return h",
        False,
    ),
    "name of an inner class": ("def f():\n  class A: pass\n  return A", "def f():\n  class B: pass\n  return B", False),
    "super": (
        "class A:\n  def m(self):\n    r = super().__repr__()\n    return r\ndef f(): return A().m()",
        "class A:\n  def m(self):\n    s = super().__repr__()\n    return s\ndef f(): return A().m()",
        True,
    ),
    "class variable": (
        "def f():\n  class A:\n    x = 1\n  return A",
        "def f():\n  class A:\n    y = 1\n  return A",
        False,
    ),
    "debugging text": ("def f(x):\n  y = x\n  return f'{y=}'", "def f(x):\n  z = x\n  return f'{z=}'", False),
    **{
        f"read by {name}": (f"def f(x):\n  a = x\n  return {call}", f"def f(x):\n  b = x\n  return {call}", False)
        for name, call in {
            "locals": "locals()",
            "vars": "vars()",
            "dir": "dir()",
            "eval": "eval(x)",
            "exec": "exec(x)",
            "frame": "__import__('sys')._getframe().f_locals",
            "getattr": "getattr(__builtins__, 'locals')()",
            "query": "x.query(x)",
            "code": "f.__code__",
        }.items()
    },
    "read by locals in a text": (
        "def f(x):\n  a = x\n  return x.sql2('a + 1')",
        "def f(x):\n  b = x\n  return x.sql2('a + 1')",
        False,
    ),
    "read by an alias": (
        "e = eval\ndef f(x):\n  a = x\n  return e(x)",
        "e = eval\ndef f(x):\n  b = x\n  return e(x)",
        False,
    ),
    "read within": (
        "def f(x):\n  a = x\n  def g(): return a, locals()\n  return g()",
        "def f(x):\n  b = x\n  def g(): return b, locals()\n  return g()",
        False,
    ),
    "read by a helper": (
        FRAME + "def g(n):\n  return caller(n)\ndef f(x):\n  a = x\n  return g('a')",
        FRAME + "def g(n):\n  return caller(n)\ndef f(x):\n  b = x\n  return g('a')",
        False,
    ),
    "annotation": ("def f(x): return x", "def f(x: int) -> int: return x", True),
    "annotation of a local": ("def f(x):\n  y = x\n  return y", "def f(x):\n  y: int = x\n  return y", True),
    "annotation of a helper": (
        "def g(x): return x\ndef f(x): return g(x)",
        "def g(x: list[int]) -> 'int': return x\ndef f(x): return g(x)",
        True,
    ),
    "annotation of an inner function": (
        "def f(x):\n  def g(y=1): return x + y\n  return g()",
        "import typing\ndef f(x):\n  def g(y: typing.Optional[int] = 1) -> dict[str, int]: return x + y\n  return g()",
        True,
    ),
    "default of an inner function": (
        "def f(x):\n  def g(y=1): return x + y\n  return g()",
        "def f(x):\n  def g(y: int = 2): return x + y\n  return g()",
        False,
    ),
    "annotation of a decorated inner function": (
        "def f(x):\n  @x\n  def g(y: int): return x + y\n  return g()",
        "def f(x):\n  @x\n  def g(y: str): return x + y\n  return g()",
        False,
    ),
    "annotation of an inner function, read": (
        HINTS + "def f(x):\n  def g(y: int): return x + y\n  return hints(g)",
        HINTS + "def f(x):\n  def g(y: str): return x + y\n  return hints(g)",
        False,
    ),
    "annotation of a method": (
        "class f:\n  def m(self, x): return x",
        "class f:\n  def m(self, x: int) -> int: return x",
        True,
    ),
    "annotation that is read": (
        "def f(x: int): return f.__annotations__",
        "def f(x: str): return f.__annotations__",
        False,
    ),
    "annotation that a helper reads": (
        HINTS + "def g(x: int): return x\ndef f(): return hints(g)",
        HINTS + "def g(x: str): return x\ndef f(): return hints(g)",
        False,
    ),
    "class in an annotation that a helper reads": (
        HINTS + "class A:\n  n = 1\ndef g(x: 'A'): return x\ndef f(): return hints(g)",
        HINTS + "class A:\n  n = 2\ndef g(x: 'A'): return x\ndef f(): return hints(g)",
        False,
    ),
    "annotation that a decorator reads": (
        "import typing, functools\ndef d(g):\n  kinds = typing.get_type_hints(g)\n  @functools.wraps(g)\n"
        "  def w(*a): return kinds\n  return w\n@d\ndef f(x: int): return x",
        "import typing, functools\ndef d(g):\n  kinds = typing.get_type_hints(g)\n  @functools.wraps(g)\n"
        "  def w(*a): return kinds\n  return w\n@d\ndef f(x: str): return x",
        False,
    ),
    "annotation that singledispatch reads": (
        "import functools\n@functools.singledispatch\ndef f(x): return 0\n@f.register\ndef _(x: int): return 1",
        "import functools\n@functools.singledispatch\ndef f(x): return 0\n@f.register\ndef _(x: str): return 1",
        False,
    ),
    "annotation of a class": ("class f:\n  x: int = 1", "class f:\n  x: str = 1", False),
    "annotation of an inner class": (
        "def f():\n  class A:\n    x: int = 1\n  return A",
        "def f():\n  class A:\n    x: str = 1\n  return A",
        False,
    ),
    "annotation of a dataclass": (
        "from dataclasses import dataclass\n@dataclass\nclass f:\n  x: int",
        "from dataclasses import dataclass, InitVar\n@dataclass\nclass f:\n  x: str",
        False,
    ),
    "annotation of a named tuple": (
        "from typing import NamedTuple\nclass f(NamedTuple):\n  x: int",
        "from typing import NamedTuple\nclass f(NamedTuple):\n  x: str",
        False,
    ),
}


@pytest.mark.parametrize("future", [False, True])
@pytest.mark.parametrize(("one_", "other", "equal"), SPELLINGS.values(), ids=SPELLINGS)
def test_how_code_is_spelled(one_, other, equal, future):
    assert digest(made(one_, future=future)) == digest(made(one_, future=future))
    assert (digest(made(one_, future=future)) == digest(made(other, future=future))) is equal


@pytest.mark.parametrize("source", [one_ for one_, other, equal in SPELLINGS.values() if equal])
def test_annotations_as_texts(source):
    """Where nothing reads annotations, `from __future__ import annotations` is no difference."""
    assert digest(made(source)) == digest(made(source, future=True))


PROGRAM = """
def f(x, y=1, *rest, **more):
    total, k, v, outer, cell = 0, 0, 0, [x, y], y
    for k, v in more.items():
        try:
            total += v
        except TypeError as problem:
            print(problem, k)
    def apply(u, w=2):
        nonlocal cell
        inner = cell * u - outer[0]
        deep = lambda q: (inner, q, cell, outer, w, total)
        cell += 1
        return [deep(e) + (e,) for e in outer if e != inner]
    with open(x) as stream, x as (left, (right, *others)):
        chosen = {a: b for a, b in zip(left, right) if (m := a) and cell}
    while (n := len(rest)) > total:
        total = n if chosen else v
        del n
    match y:
        case [head, *tail]: total = head, tail
        case {"k": head}: total = head
    return apply(total), cell, stream, others, (g for g in outer if g is not cell)
"""
LOCALS = [
    "total", "k", "v", "outer", "cell", "problem", "inner", "deep", "e", "stream", "left", "right", "others", "chosen",
    "a", "b", "m", "n", "head", "tail", "g", "rest", "more",
]  # fmt: skip


def renamed(names):
    table = dict(zip(LOCALS, names, strict=True))
    return re.sub(r"\b(?<![\"'.])(\w+)\b(?![\"'])", lambda found: table.get(found[1], found[1]), PROGRAM)


NAMES = st.from_regex(r"[a-z]{1,6}", fullmatch=True).filter(
    lambda name: not keyword.iskeyword(name) and not re.search(rf"\b{name}\b", PROGRAM)
)


@hypothesis.settings(deadline=None, derandomize=True, max_examples=100)
@hypothesis.given(st.lists(NAMES, min_size=len(LOCALS), max_size=len(LOCALS), unique=True))
def test_names_of_locals_have_no_order(names):
    assert digest(made(renamed(names))) == digest(made(PROGRAM))


@hypothesis.settings(deadline=None, derandomize=True, max_examples=100)
@hypothesis.given(st.data())
def test_one_use_of_another_local_is_seen(data):
    """Exchange one use of a variable for another: the function is another one."""
    places = [found for found in re.finditer(r"\b\w+\b", PROGRAM) if found[0] in LOCALS]
    place = data.draw(st.sampled_from(places))
    name = data.draw(st.sampled_from([name for name in (*LOCALS, "fresh") if name != place[0]]))
    source = PROGRAM[: place.start()] + name + PROGRAM[place.end() :]
    try:
        other = made(source)
    except SyntaxError:
        hypothesis.assume(False)
    hypothesis.assume(_shapes(source) != _shapes(PROGRAM))
    assert digest(other) != digest(made(PROGRAM))


def _shapes(source):
    """The source with variables replaced by the number of their first use, as far as scopes allow: for one scope."""
    numbers = {}
    return re.sub(r"\b\w+\b", lambda found: str(numbers.setdefault(found[0], len(numbers))), source)


# Places

LOCAL = (
    "def make():\n  class A:\n    n = 1\n    def m(self):\n      {}\n  return A\nA = make()\ndef f(): return A().m()"
)
PLACES = {
    "function": ("def f(x): return x + 1", True),
    "helper": ("def g(x): return x + 1\ndef f(x): return g(x)", True),
    "inner class": ("def f():\n  class A:\n    n = 1\n  return A.n", True),
    "class made by a function": (LOCAL.format("return self.n"), True),
    "local dataclass": (
        "def f():\n  from dataclasses import dataclass\n  @dataclass\n  class A: x: int\n  return A",
        True,
    ),
    "module of a class": (LOCAL.format("return type(self).__module__"), False),
    "module of a function": ("def g(): pass\ndef f(): return g.__module__", False),
    "module by getattr": (LOCAL.format("return getattr(A, '__module__')"), False),
    "name of the module": ("def f(): return __name__", False),
    "text of the class": (LOCAL.format("return str(type(self))"), False),
    "text of the other class": (LOCAL.format("return f'{self.__class__}'"), False),
    "pickle": (LOCAL.format("import pickle; return pickle.dumps(A)"), False),
    "read by a helper": ("def place(x): return x.__module__\ndef g(): pass\ndef f(): return place(g)", False),
    "class": ("class f: pass", False),  # by its place, stored results of it refer to it
    "dataclass": ("from dataclasses import dataclass\n@dataclass\nclass A:\n  x: int = 1\ndef f(): return A()", False),
    "object": ("class A: pass\nf = A()", False),
}


@pytest.mark.parametrize(("source", "equal"), PLACES.values(), ids=PLACES)
def test_where_code_stands(source, equal):
    digests = [digest(made(source, module=name)) for name in ("__main__", "moved", "pkg.moved")]
    assert (len(set(digests)) == 1) is equal


@pytest.mark.parametrize(
    ("source", "equal"),
    [
        ("class f:\n  n = 1\n  def m(self): return self.n", True),
        ("def f(x): return x + 1", True),
        ("class f:\n  def m(self): return type(self).__qualname__", False),
        ("from dataclasses import dataclass\n@dataclass\nclass f:\n  x: int", False),  # as its repr shows the name
        ("def f(x): return x.__qualname__", False),
    ],
)
def test_the_function_around_a_definition(source, equal):
    body = source.replace("\n", "\n  ")
    texts = [f"def {outer}():\n  {body}\n  return f\nf = {outer}()" for outer in ("outer", "another")]
    digests = [digest(made(text)) for text in texts]
    assert (digests[0] == digests[1]) is equal


def test_a_function_that_reads_the_module_of_its_argument():
    reader = workflow(made("def f(g): return g.__module__"))
    functions = [made("def f(): pass", module=name) for name in ("one", "other")]
    assert recipe(reader(functions[0])) == recipe(reader(functions[0])) != recipe(reader(functions[1]))
    assert recipe(one(functions[0])) == recipe(one(functions[1]))


def test_a_dataclass_does_not_make_the_places_of_functions_count():
    source = "from dataclasses import dataclass\n@dataclass\nclass A:\n  x: int = 1\n"
    kind = made(source, name="A")
    functions = []
    for name in ("one", "other"):
        function = made("def f(): return A()", module=name)
        function.__globals__["A"] = kind
        functions.append(function)
    assert digest(functions[0]) == digest(functions[1])


def test_a_script_that_becomes_a_module(tmp_path, monkeypatch):
    source = (
        "from functionfuse import workflow\nK = 3\ndef helper(x): return x * K\n@workflow\ndef f(a): return helper(a)\n"
    )
    (tmp_path / "script_of_it.py").write_text(source)
    (tmp_path / "module_of_it.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    script = runpy.run_path(str(tmp_path / "script_of_it.py"), run_name="__main__")
    module = vars(__import__("module_of_it"))
    monkeypatch.delitem(sys.modules, "module_of_it")
    assert recipe(script["f"](1)) == recipe(module["f"](a=1))
