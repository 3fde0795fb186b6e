"""Fingerprints: what makes a result another one, and what does not."""

from __future__ import annotations

import datetime
import decimal
import enum
import functools
import os
import pathlib
import subprocess
import sys
import threading
import types
from dataclasses import dataclass

import pytest

from functionfuse import workflow
from functionfuse.fingerprint import Fingerprinter, Unfingerprintable


def digest(value):
    return Fingerprinter().digest(value).hex()


@pytest.fixture
def edition(monkeypatch):
    """Execute the source of a project's module, and return what it calls ``f``."""

    def execute(source, name="edited", **namespace):
        module = types.ModuleType(name)
        module.__dict__.update(namespace)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile(source, f"/nowhere/{name}.py", "exec"), module.__dict__)
        return module.f

    return execute


BASE = """
K = 3
def helper(x, y=2):
    return x * K
def f(a, b=1):
    total = 0
    for i in range(a):
        if i % 2:
            total += helper(i) + b
    return total
"""

SAME = {
    "comment": BASE.replace("total = 0", "total = 0  # none yet"),
    "moved": "\n\n\n\n" + BASE,
    "formatting": BASE.replace("for i in range(a):", "for i in range(\n        a,\n    ):"),
    "docstring": BASE.replace("def f(a, b=1):", 'def f(a, b=1):\n    """Add up."""'),
    "helper_docstring": BASE.replace("y=2):", 'y=2):\n    """Multiply."""'),
    "parentheses": BASE.replace("helper(i) + b", "(helper(i) + b)"),
    "annotations": BASE.replace("def f(a, b=1):", "def f(a: 'int', b: 'int' = 1) -> 'int':"),
    "unused_constant": BASE + "\nOTHER = 5\n",
    "unused_function": BASE + "\ndef other():\n    return 1\n",
    "order_of_functions": BASE.replace("K = 3", "") + "\nK = 3\n",
    "decorator": BASE.replace("def f", "def plain(g):\n    return g\n@plain\ndef f"),
}

OTHER = {
    "constant_inside": BASE.replace("total = 0", "total = 1"),
    "global_constant": BASE.replace("K = 3", "K = 4"),
    "type_of_constant": BASE.replace("K = 3", "K = 3.0"),
    "helper": BASE.replace("x * K", "x + K"),
    "default": BASE.replace("b=1", "b=2"),
    "default_of_helper": BASE.replace("y=2", "y=3"),
    "operator": BASE.replace("i % 2", "i % 3"),
    "branch": BASE.replace("if i % 2", "if not i % 2"),
    "name_of_parameter": BASE.replace("def f(a, b=1)", "def f(c, b=1)").replace("range(a)", "range(c)"),
    "builtin": BASE.replace("range(a)", "sorted(range(a))"),
    "attribute": BASE.replace("return total", "return total.real"),
    "other_attribute": BASE.replace("return total", "return total.imag"),
    "keyword_only": BASE.replace("def f(a, b=1)", "def f(a, *, b=1)"),
    "try": BASE.replace("return total", "try:\n        return total\n    finally:\n        pass\n    return 5"),
}


@pytest.mark.parametrize("edit", SAME)
def test_edits_that_change_nothing(edition, edit):
    assert digest(edition(SAME[edit])) == digest(edition(BASE))


@pytest.mark.parametrize("edit", OTHER)
def test_edits_that_change_the_result(edition, edit):
    assert digest(edition(OTHER[edit])) != digest(edition(BASE))


PAIRS = {
    "nested_function": "def f(x):\n    def inner(y):\n        return y + {}\n    return inner(x)",
    "lambda": "def f(x):\n    return (lambda y: y + {})(x)",
    "comprehension": "def f(x):\n    return [y + {} for y in x]",
    "constant_tuple": "def f(x):\n    return x in (1, {})",
    "constant_set": "def f(x):\n    return x in {{'a', {}}}",
    "nested_constant": "def f(x):\n    return x, ((1, ({},)),)",
    "global_list": "VALUES = [1, [{}]]\ndef f(x):\n    return VALUES",
    "global_dict": "VALUES = {{'a': {}}}\ndef f(x):\n    return VALUES['a']",
    "class_method": "class C:\n    def m(self):\n        return {}\ndef f():\n    return C().m()",
    "class_attribute": "class C:\n    size = {}\ndef f():\n    return C.size",
    "static_method": "class C:\n    @staticmethod\n    def m():\n        return {}\ndef f():\n    return C.m()",
    "of_class": "class C:\n    @classmethod\n    def m(cls):\n        return {}\ndef f():\n    return C.m()",
    "property": "class C:\n    @property\n    def m(self):\n        return {}\ndef f():\n    return C().m",
    "base_class": "class B:\n    def m(self):\n        return {}\nclass C(B):\n    pass\ndef f():\n    return C().m()",
    "helper_of_helper": "def h(x):\n    return x + {}\ndef g(x):\n    return h(x)\ndef f(x):\n    return g(x)",
    "helper_in_nested": "def h(x):\n    return x + {}\ndef f(x):\n    def g():\n        return h(x)\n    return g()",
    "helper_in_list": "def h(x):\n    return x + {}\nALL = [h]\ndef f(x):\n    return ALL[0](x)",
    "helper_in_class": (
        "def h(x):\n    return {}\nclass C:\n    def m(self):\n        return h(1)\ndef f():\n    return C().m()"
    ),
    "wrapper": (
        "import functools\ndef times(k):\n    def deco(g):\n        @functools.wraps(g)\n        def w(x):\n"
        "            return g(x) * k\n        return w\n    return deco\n@times({})\ndef h(x):\n    return x\n"
        "def f(x):\n    return h(x)"
    ),
    "cached": "import functools\n@functools.lru_cache\ndef h(x):\n    return x + {}\ndef f(x):\n    return h(x)",
    "partial": (
        "import functools\ndef g(x, y):\n    return x\nh = functools.partial(g, y={})\ndef f(x):\n    return h(x)"
    ),
    "object": "class C:\n    def __init__(self, n):\n        self.n = n\nc = C({})\ndef f():\n    return c.n",
    "workflow_function": (
        "from functionfuse import workflow\n@workflow\ndef g(x):\n    return x + {}\ndef f(x):\n    return g(x)"
    ),
    "default_object": "class C:\n    n = {}\ndef f(c=C):\n    return c.n",
    "dataclass": (
        "from dataclasses import dataclass\n@dataclass\nclass C:\n    n: int = {}\ndef f():\n    return C().n"
    ),
    "enum": "import enum\nclass E(enum.Enum):\n    A = {}\ndef f():\n    return E.A.value",
    "recursion": "def f(n):\n    return f(n - 1) if n else {}",
    "mutual_recursion": "def g(n):\n    return f(n - 1) + {}\ndef f(n):\n    return g(n) if n else 0",
    "global_statement": "N = {}\ndef f():\n    global N\n    N = N + 1\n    return N",
    "format": "def f(x):\n    return f'{{x}} {}'",
    "bytes": "def f(x):\n    return b'{}'",
    "match": "def f(x):\n    match x:\n        case {}:\n            return 1\n    return 2",
    "walrus": "def f(x):\n    return [y := x, y + {}]",
    "large_jump": "def f(x):\n    while x:\n" + "        x = x - 1\n" * 200 + "    return {}",
}


@pytest.mark.parametrize("kind", PAIRS)
def test_a_change_anywhere_is_seen(edition, kind):
    first, again, other = (digest(edition(PAIRS[kind].format(n))) for n in (1, 1, 2))
    assert first == again
    assert first != other


def test_who_calls_first_does_not_matter(edition):
    source = "def g(n):\n    return f(n - 1) + 1\ndef f(n):\n    return g(n) if n else 0"
    f = edition(source)
    g = f.__globals__["g"]
    one, two = Fingerprinter(), Fingerprinter()
    f_first = [one.digest(f), one.digest(g)]
    g_first = [two.digest(g), two.digest(f)]
    assert f_first == g_first[::-1] == [Fingerprinter().digest(f), Fingerprinter().digest(g)]


def test_many_functions_that_call_each_other(edition):
    def clique(edit):
        functions = [
            f"def f{i}(x):\n    return {edit if i == 29 else 0} + " + " + ".join(f"f{j}(x)" for j in range(30))
            for i in range(30)
        ]
        return "\n".join([*functions, "f = f0"])

    assert digest(edition(clique(1))) == digest(edition(clique(1))) != digest(edition(clique(2)))


def test_functions_in_a_set(edition):
    source = "def g(x):\n    return {}\ndef h(x):\n    return {}\nALL = {{g, h}}\ndef f():\n    return ALL"
    first, again, other = (digest(edition(source.format(*numbers))) for numbers in ((1, 2), (1, 2), (1, 3)))
    assert first == again != other


def test_functions_that_use_a_set_they_are_in(edition):
    source = "def g(x):\n    return ALL\ndef f(x):\n    return ALL, {}\nALL = {{f, g}}"
    first, again, other = (digest(edition(source.format(n))) for n in (1, 1, 2))
    assert first == again != other


def test_two_functions_swapped_through_closures():
    def composed(first, second):
        def both(x):
            return first(second(x))

        return both

    def increment(x):
        return x + 1

    def double(x):
        return 2 * x

    assert digest(composed(increment, double)) != digest(composed(double, increment))


def test_two_functions_swapped_by_name(edition):
    source = "def a(x):\n    return {}\ndef b(x):\n    return {}\ndef f(x):\n    return a(b(x))"
    assert digest(edition(source.format("x + 1", "x * 2"))) != digest(edition(source.format("x * 2", "x + 1")))


def test_two_swapped_recursions(edition):
    source = (
        "def a(n):\n    return b(n - 1) + {0} if n else 0\ndef b(n):\n    return a(n - 1) + {1} if n else 0\n"
        "def f(n):\n    return a(n)"
    )
    assert digest(edition(source.format(1, 2))) != digest(edition(source.format(2, 1)))


def test_a_library_function_counts_by_name(edition):
    source = "import statistics\ndef f(x):\n    return statistics.{}(x)"
    means = [digest(edition(source.format(name))) for name in ("mean", "mean", "median")]
    assert means[0] == means[1] != means[2]


def test_the_name_of_a_function_is_not_its_doing(edition):
    assert digest(edition("def g(x):\n    return x\nf = g")) == digest(edition("def h(x):\n    return x\nf = h"))


def test_a_module_of_the_project(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    body = "def f(x):\n    import ff_imported\n    return ff_imported.g(x)\n"
    (tmp_path / "ff_main.py").write_text(body)

    def digest_with(imported):
        (tmp_path / "ff_imported.py").write_text(imported)
        for name in ("ff_main", "ff_imported"):
            sys.modules.pop(name, None)
        import importlib

        importlib.invalidate_caches()
        sys.dont_write_bytecode = True
        try:
            return digest(importlib.import_module("ff_main").f)
        finally:
            sys.dont_write_bytecode = False
            for name in ("ff_main", "ff_imported"):
                sys.modules.pop(name, None)

    one = digest_with("def g(x):\n    return x + 1\n")
    again = digest_with("def g(x):\n    return x + 1  # the same\n")
    other = digest_with("def g(x):\n    return x + 2\n")
    assert one == again != other


# Values


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass
class Config:
    depth: int
    name: str = "x"


class Plain:
    def __init__(self, n):
        self.n = n


DIFFERENT = [
    None, True, 1, 1.0, 1j, "1", b"1", bytearray(b"2"), 0.0, -0.0, float("nan"), float("inf"), 2**100, "", b"",
    [], (), {}, set(), frozenset(), [1], (1,), {1}, frozenset({1}), {1: 1}, {1: None}, [[1]], [1, [2]], [[1], 2],
    [1, 2], [12], ["1", "2"], ["12"], [None], "a\ud800", slice(1), slice(0, 1), range(3), range(4), ...,
    Colour.RED, Colour.BLUE, Config(1), Config(2), Config(1, "y"), Plain(1), Plain(2), Plain, Config, int, float,
    decimal.Decimal("1.0"), decimal.Decimal("1.00"), datetime.date(2020, 1, 1), datetime.date(2020, 1, 2),
    pathlib.PurePosixPath("a"), pathlib.PurePosixPath("b"), functools.partial(int, base=2), functools.partial(int),
    len, abs, print, str.upper, "abc".upper, "abd".upper, math_ := __import__("math"), math_.sin, math_.cos,
    types.SimpleNamespace(a=1), types.SimpleNamespace(a=2), Plain([1]), Plain([2]), Plain((1,)), ValueError("a"),
    ValueError("b"), KeyError("a"),
]  # fmt: skip


def test_values_have_digests_of_their_own():
    digests = [digest(value) for value in DIFFERENT]
    assert len(set(digests)) == len(DIFFERENT)


def test_equal_values_have_equal_digests():
    import copy

    copied = [value for value in DIFFERENT if not isinstance(value, types.ModuleType)]
    assert [digest(copy.deepcopy(value)) for value in copied] == [digest(value) for value in copied]


def test_sets_have_no_order():
    names = [f"name {n}" for n in range(100)]
    backwards = names[::-1]
    assert digest(set(names)) == digest(set(backwards))
    assert digest({frozenset(names), 1}) == digest({1, frozenset(backwards)})


def test_identity_does_not_matter():
    one = "".join(["ab", "cd"])
    assert digest([one, one]) == digest(["abcd", "".join(["a", "bcd"])])


def test_a_value_that_holds_itself():
    one, two, other = [1], [1], [2]
    for value in (one, two, other):
        value.append(value)
    assert digest(one) == digest(two) != digest(other)


def test_an_object_that_holds_itself():
    def made(n):
        plain = Plain(n)
        plain.me = plain
        return plain

    assert digest(made(1)) == digest(made(1)) != digest(made(2))


def test_deep_nesting_is_refused_not_crashed():
    value = None
    for _ in range(100_000):
        value = [value]
    with pytest.raises(Unfingerprintable, match="nested too deeply"):
        digest(value)


def test_a_class_of_the_project_counts_in_its_objects(edition):
    source = "class C:\n    def m(self):\n        return {}\nf = C()"
    assert digest(edition(source.format(1))) != digest(edition(source.format(2)))


@pytest.mark.parametrize("thing", [threading.Lock(), (n for n in ()), sys.stdout, lambda: LOCK])
def test_what_has_no_lasting_description(thing):
    with pytest.raises(Unfingerprintable):
        digest([thing])


LOCK = threading.Lock()


def test_the_culprit_is_named():
    with pytest.raises(Unfingerprintable, match=r"its global 'LOCK'.*_thread\.lock"):
        digest(test_what_has_no_lasting_description.__globals__["uses_lock"])


def uses_lock():
    return LOCK


ARRAYS = {
    "whole": lambda np: np.arange(6),
    "longer": lambda np: np.arange(7),
    "float": lambda np: np.arange(6.0),
    "wide": lambda np: np.arange(6).reshape(2, 3),
    "high": lambda np: np.arange(6).reshape(3, 2),
    "fortran": lambda np: np.asfortranarray(np.arange(6).reshape(2, 3)),
    "reversed": lambda np: np.arange(6)[::-1],
    "strided": lambda np: np.arange(100.0).reshape(10, 10)[::2, 1:5],
    "row": lambda np: np.arange(100.0).reshape(10, 10)[0],
    "other_row": lambda np: np.arange(100.0).reshape(10, 10)[1],
    "double": lambda np: np.float64(1),
    "single": lambda np: np.float32(1),
    "text": lambda np: np.array("a"),
    "dates": lambda np: np.array(["2020"], dtype="M8[D]"),
    "objects": lambda np: np.array([1, "a", None], dtype=object),
    "fields": lambda np: np.zeros(3, dtype=[("a", "i4")]),
}


def test_arrays():
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    digests = [digest(make(np)) for make in ARRAYS.values()]
    assert [digest(make(np)) for make in ARRAYS.values()] == digests
    assert len(set(digests)) == len(ARRAYS)


def test_a_large_array_is_hashed_in_blocks():
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    large = np.zeros(5_000_000)
    before = digest(large)
    assert digest(large.copy()) == before
    large[-1] = 1
    assert digest(large) != before


def test_random_generators():
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    assert digest(np.random.default_rng(1)) == digest(np.random.default_rng(1)) != digest(np.random.default_rng(2))


def test_estimators():
    linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    one, same, other = (linear.LogisticRegression(C=c) for c in (1.0, 1.0, 2.0))
    assert digest(one) == digest(same) != digest(other)


def test_data_frames():
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    one, same, other = (pd.DataFrame({"a": [1, n], "b": ["x", "y"]}) for n in (2, 2, 3))
    assert digest(one) == digest(same) != digest(other)


def test_decorated_functions_count_as_their_functions():
    def plain(x):
        return x

    assert digest(workflow(plain)) == digest(plain)


# Other processes


PROGRAM = """
import enum, sys
from functionfuse import workflow
from functionfuse.fingerprint import Fingerprinter

class E(enum.Enum):
    A = 1
    B = 2

class C:
    names = {"a", "b", "c"}
    def m(self, x):
        return x in {"p", "q", "r"}

def helper(x):
    return C().m(x) and E.A

@workflow
def f(x, known=frozenset({"u", "v", "w"})):
    return helper(x) in known

values = [f, C, C(), E.A, {"a", "b", "c", "d"}, {"k": {"s", "t"}}, helper, len, C().m]
print(*[Fingerprinter().digest(value).hex() for value in values])
"""


def test_digests_are_equal_in_every_process(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    def digests(seed):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, str(program)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    first = digests("1")
    assert len(set(first.split())) == 9
    assert [digests("2"), digests("3")] == [first, first]


def test_the_state_of_a_librarys_own_generator_is_left_out():
    import random

    before = digest(random.seed), digest(random.random)
    random.random()
    assert (digest(random.seed), digest(random.random)) == before
    assert before[0] != before[1]


def test_the_state_of_a_generator_of_ones_own_counts():
    import random

    assert digest(random.Random(1).random) != digest(random.Random(2).random)


USED = {
    "metaclass": "class M(type):\n  def __call__(cls): return 1\nclass A(metaclass=M): pass\ndef f(): return A()",
    "cached_property": (
        "import functools\nclass A:\n  @functools.cached_property\n  def p(self): return 1\ndef f(): return A().p"
    ),
    "pattern": "import re\nPATTERN = re.compile('1')\ndef f(text): return PATTERN.match(text)",
    "single_dispatch": (
        "import functools\n@functools.singledispatch\ndef g(x): return 0\n"
        "@g.register\ndef _(x: int): return 1\ndef f(): return g(5)"
    ),
    "partial": "import functools\ndef g(x): return x\nh = functools.partial(g, 1)\ndef f(): return h()",
    "cache": "import functools\n@functools.lru_cache\ndef g(x): return 1\ndef f(): return g(5)",
    "dict_of_functions": "def g(x): return 1\nTABLE = {'g': g}\ndef f(): return TABLE['g'](5)",
    "default_factory": (
        "from dataclasses import dataclass, field\n@dataclass\nclass A:\n"
        "  x: list = field(default_factory=lambda: [1])\ndef f(): return A()"
    ),
    "nested_class": "def f():\n  class A:\n    x = 1\n  return A.x",
    "f_string": "def f(x): return f'{x:.1f}'",
}


@pytest.mark.parametrize("source", USED.values(), ids=USED)
def test_what_is_used_counts_wherever_it_stands(edition, source):
    assert (
        digest(edition(source)) == digest(edition("\n# moved\n" + source)) != digest(edition(source.replace("1", "2")))
    )


def test_a_class_stays_the_same_when_it_is_used(edition):
    made = edition("class f:\n  def __init__(self): self.x = 1")
    before = digest(made)
    assert made.__annotations__ == {}
    made().__reduce_ex__(2)
    assert "__slotnames__" in vars(made)
    assert digest(made) == before
