"""Docstrings name every argument, and names and prose use the words of the glossary."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(path.parent.name for path in ROOT.glob("packages/*/pyproject.toml"))

# What the specification gives two classes of one package as their name.
HOMONYMS = {"backend-ray": {"RayWorkflow"}}

# Metaphors that stood for a thing which has a name in the field; ARCHITECTURE.md has a glossary.
BANNED = {
    "candidate": "implementation",
    "cargo": "serialized call",
    "exam": "conformance suite",
    "handover": "task submitter",
    "hub": "wait actor",
    "parcel": "serialized call",
    "relay": "event channel",
    "sealed": "serialized outcome",
    "teller": "callback",
    "telling": "report, tell apart",
    "vigil": "lease guard",
}

ROLE = re.compile(r":[a-z]+:`")
ENTRY = re.compile(r" *\*{0,2}(\w+)(?: \([^)]*\))?:")
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
PROPER_NAME = re.compile(r"GitHub|docker[ _]hub", re.IGNORECASE)


class Method(NamedTuple):
    """A function or method, with the classes around it."""

    file: str
    classes: tuple[ast.ClassDef, ...]
    node: ast.FunctionDef | ast.AsyncFunctionDef

    @property
    def name(self) -> str:
        return ".".join([*(cls.name for cls in self.classes), self.node.name])

    @property
    def is_public(self) -> bool:
        return not any(part.startswith("_") for part in self.name.split("."))

    @property
    def arguments(self) -> list[str]:
        """Names of the arguments that a caller gives."""
        args = self.node.args
        names = [arg.arg for arg in (*args.posonlyargs, *args.args)]
        if self.classes and "staticmethod" not in self.decorators:
            names = names[1:]
        starred = [arg.arg for arg in (args.vararg, args.kwarg) if arg is not None]
        return [*names, *(arg.arg for arg in args.kwonlyargs), *starred]

    @property
    def decorators(self) -> set[str]:
        """The last names of its decorators: "fixture" of ``@pytest.fixture(autouse=True)``."""
        called = [node.func if isinstance(node, ast.Call) else node for node in self.node.decorator_list]
        return {ast.unparse(node).rpartition(".")[2] for node in called}

    @property
    def is_for_pytest(self) -> bool:
        """Whether pytest calls it, with fixtures as its arguments, which are documented where they are defined."""
        return self.node.name.startswith("test_") or "fixture" in self.decorators


def sources(package: str) -> list[Path]:
    return sorted((ROOT / "packages" / package / "src").rglob("*.py"))


def definitions(source: str, file: str) -> tuple[list[Method], list[ast.ClassDef]]:
    """The functions and classes at the level of a module or of a class in it."""
    methods: list[Method] = []
    found: list[ast.ClassDef] = []

    def visit(body: list[ast.stmt], classes: tuple[ast.ClassDef, ...]) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                methods.append(Method(file, classes, node))
            elif isinstance(node, ast.ClassDef):
                found.append(node)
                visit(node.body, (*classes, node))
            elif isinstance(node, ast.If | ast.Try):
                visit([*node.body, *node.orelse], classes)

    visit(ast.parse(source).body, ())
    return methods, found


def defined_in(package: str) -> tuple[list[Method], list[ast.ClassDef]]:
    methods, classes = [], []
    for path in sources(package):
        file = path.relative_to(ROOT / "packages" / package / "src").as_posix()
        more = definitions(path.read_text(encoding="utf-8"), file)
        methods += more[0]
        classes += more[1]
    return methods, classes


def names_of_bases(cls: ast.ClassDef) -> list[str]:
    return [ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in cls.bases]


class Interfaces:
    """Which methods of some classes have a docstring that an override inherits."""

    def __init__(self, methods: list[Method], classes: list[ast.ClassDef]) -> None:
        self._bases = {cls.name: names_of_bases(cls) for cls in classes}
        self._described: set[tuple[str, str]] = set()
        self._of_protocols: set[str] = set()
        for method in methods:
            if method.classes and ast.get_docstring(method.node):
                owner = method.classes[-1]
                self._described.add((owner.name, method.node.name))
                if "Protocol" in names_of_bases(owner):
                    self._of_protocols.add(method.node.name)

    def describe(self, method: Method) -> bool:
        """Return True if a base class, or any protocol, describes a method of this name.

        A base class from elsewhere is a third party's, which documents its methods itself.
        """
        name = method.node.name
        bases = names_of_bases(method.classes[-1]) if method.classes else []
        for base in bases:  # which grows
            bases += [more for more in self._bases.get(base, ()) if more not in bases]
        elsewhere = set(bases) - set(self._bases) - {"ABC", "Exception", "Generic", "NamedTuple", "Protocol"}
        described = name in self._of_protocols or any((base, name) in self._described for base in bases)
        return bool(method.classes) and (described or bool(elsewhere))


def documented_arguments(docstring: str) -> list[str]:
    """Names of the entries of the section ``Args:``."""
    lines = iter(docstring.splitlines())
    for line in lines:
        if line.strip() == "Args:":
            break
    entries: list[tuple[int, str]] = []
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if line.strip() and not indent:
            break
        if entry := ENTRY.match(line):
            entries.append((indent, entry[1]))
    outermost = min((indent for indent, _ in entries), default=0)
    return [name for indent, name in entries if indent == outermost]  # what is deeper goes on with an entry


def undocumented(method: Method, interfaces: Interfaces) -> str | None:
    """What is wrong with the section ``Args:`` of a function, or None."""
    docstring = ast.get_docstring(method.node)
    if docstring is None and interfaces.describe(method):
        return None
    listed = documented_arguments(docstring or "")
    missing = [name for name in method.arguments if name not in listed] if len(method.arguments) > 1 else []
    unknown = [name for name in listed if name not in method.arguments]
    if missing or unknown:
        problem = [f"no entry for {', '.join(missing)}"] * bool(missing)
        problem += [f"no argument {', '.join(unknown)}"] * bool(unknown)
        return f"{method.file}:{method.node.lineno} {method.name}: {'; '.join(problem)}"
    return None


def lines_with(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number} {line.strip()}"
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]


def banned_words(text: str) -> set[str]:
    """The banned words in a text, also in the plural and as a part of ``some_name`` or ``SomeName``."""
    words = {word.lower() for word in WORD.findall(PROPER_NAME.sub("", text))}
    return {word for word in BANNED if {word, f"{word}s"} & words}


def lines_with_banned_words(paths: list[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number} say {BANNED[word]!r}, not {word!r}"
        for path in paths
        for number, line in enumerate([path.name, *path.read_text(encoding="utf-8").splitlines()])
        for word in sorted(banned_words(line))
    ]


def prose(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).glob("*.*") if path.suffix in (".py", ".md"))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_argument_is_documented(package):
    """Of each public function and method with two or more; an override may leave its docstring to its base."""
    methods, classes = defined_in(package)
    shared_methods, shared_classes = defined_in("frontend")
    interfaces = Interfaces([*shared_methods, *methods], [*shared_classes, *classes])
    public = [m for m in methods if m.is_public and not m.is_for_pytest and "overload" not in m.decorators]
    assert public
    wrong = list(filter(None, (undocumented(method, interfaces) for method in public)))
    assert wrong == [], "\n".join(wrong)


@pytest.mark.parametrize("package", PACKAGES)
def test_class_names_are_unique(package):
    counts = Counter(cls.name for cls in defined_in(package)[1])
    assert {name for name, count in counts.items() if count > 1} == HOMONYMS.get(package, set())


@pytest.mark.parametrize("package", PACKAGES)
def test_docstrings_are_plain_markdown(package):
    """The documentation site knows no roles of Sphinx."""
    wrong = lines_with(ROLE, [*sources(package), *prose(f"packages/{package}")])
    assert wrong == [], "\n".join(wrong)


@pytest.mark.parametrize("folder", [".", "docs", "benchmarks", "examples"])
def test_documents_are_plain_markdown(folder):
    wrong = lines_with(ROLE, prose(folder))
    assert wrong == [], "\n".join(wrong)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_words_of_a_package(package):
    wrong = lines_with_banned_words([*sources(package), *prose(f"packages/{package}")])
    assert wrong == [], "\n".join(wrong)


def test_the_words_of_the_documents():
    wrong = lines_with_banned_words(prose("docs"))
    assert wrong == [], "\n".join(wrong)


CLASS = '''
class Base:
    def one(self, a, b):
        """Do it.

        Args:
            a: first.
            b (int): second, as in
                c: no entry.

        Returns:
            d: no argument.
        """

class Derived(Base):
    def one(self, a, b): ...
    def two(self, a, *, b, **more):
        """Do it.

        Args:
            a: first.
            **more: others.
            wrong: not there.
        """
    @staticmethod
    def three(a, b): ...
    def _four(self, a, b): ...
'''


def test_a_missing_argument_is_found():
    methods, classes = definitions(CLASS, "m.py")
    interfaces = Interfaces(methods, classes)
    assert [undocumented(method, interfaces) for method in methods if method.is_public] == [
        None,
        None,
        "m.py:17 Derived.two: no entry for b; no argument wrong",
        "m.py:26 Derived.three: no entry for a, b",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("class ParcelOf: ...", {"parcel"}),
        ("self._sealed_call", {"sealed"}),
        ("three vigils", {"vigil"}),
        ("an example on GitHub, github.com, _DOCKER_HUB, of a subhub", set()),
    ],
)
def test_a_banned_word_is_found(text, words):
    assert banned_words(text) == words
