"""Fingerprints of code in modules: what is imported when a function runs, and which modules are the project's."""

from __future__ import annotations

import importlib
import importlib.util
import runpy
import shutil
import sys
import sysconfig
import uuid
from pathlib import Path

import pytest

from functionfuse.backends.recording import Recorder
from functionfuse.fingerprint import Fingerprinter
from functionfuse.fingerprint.project import in_project


def digest(value):
    return Fingerprinter().digest(value).hex()


class Project:
    """A folder of modules that can be edited, imported, and forgotten by the interpreter."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(self, name, source):
        """Write a file; its size and time may be those of the one before, of which there is no compiled file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        importlib.invalidate_caches()

    def forget(self):
        """Forget all modules of the folder, as a new process does."""
        loaded = [name for name, module in sys.modules.items() if self._is_here(module)]
        for name in loaded:
            del sys.modules[name]
        importlib.invalidate_caches()

    def _is_here(self, module):
        places = [getattr(module, "__file__", None) or "", *map(str, getattr(module, "__path__", ()))]
        return any(place.startswith(str(self.folder)) for place in places)

    def function(self, module="main_of_it", name="f"):
        return getattr(importlib.import_module(module), name)


@pytest.fixture
def project(tmp_path, monkeypatch):
    made = Project(tmp_path, monkeypatch)
    yield made
    made.forget()


HELPER = "import sys\nN = {0}\nclass Settings:\n    n = {0}\ndef g(x):\n    return x + {0}\n"
IMPORTS = {
    "module": ("helper_of_it.py", "import helper_of_it\n    return helper_of_it.g(x)"),
    "name": ("helper_of_it.py", "from helper_of_it import g\n    return g(x)"),
    "alias": ("helper_of_it.py", "import helper_of_it as h\n    return h.g(x)"),
    "submodule": ("pkg_of_it/sub.py", "from pkg_of_it import sub\n    return sub.g(x)"),
    "dotted": ("pkg_of_it/sub.py", "import pkg_of_it.sub\n    return pkg_of_it.sub.g(x)"),
    "package": ("pkg_of_it/__init__.py", "import pkg_of_it.other\n    return pkg_of_it.g(x)"),
    "folder": ("folder_of_it/deep/sub.py", "from folder_of_it.deep import sub\n    return sub.g(x)"),
    "by name": ("helper_of_it.py", "import importlib\n    return importlib.import_module('helper_of_it').g(x)"),
    "by a name in a package": ("pkg_of_it/sub.py", "return __import__('pkg_of_it.sub').sub.g(x)"),
    "by another": ("helper_of_it.py", "import between_of_it\n    return between_of_it.helper_of_it.g(x)"),
}


@pytest.fixture(params=IMPORTS)
def imported(request, project):
    """A function that imports when it runs; returns a function that writes another version of what it imports."""
    file, body = IMPORTS[request.param]
    project.write("main_of_it.py", f"def f(x):\n    {body}\n")
    project.write("pkg_of_it/__init__.py", "")
    project.write("pkg_of_it/other.py", "")
    project.write("between_of_it.py", "import helper_of_it")
    return lambda n: project.write(file, HELPER.format(n))


def test_an_edit_is_seen_by_the_next_process(project, imported):
    imported(1)
    before = digest(project.function())
    assert digest(project.function()) == before
    imported(2)
    assert digest(project.function()) != before
    imported(1)
    project.forget()
    assert digest(project.function()) == before


def test_it_does_not_matter_whether_it_was_imported_yet(project, imported):
    imported(1)
    before = digest(project.function())
    assert project.function()(1) == 2
    assert digest(project.function()) == before


def test_code_in_memory_is_not_taken_for_an_edited_file(project, imported):
    imported(1)
    project.function()(1)
    first = digest(project.function())
    imported(2)
    in_memory = digest(project.function())
    assert project.function()(1) == 2
    project.forget()
    assert len({first, in_memory, digest(project.function())}) == 3


def modules_of_it():
    return [module for name, module in sys.modules.items() if "_of_it" in name and hasattr(module, "g")]


@pytest.mark.parametrize(
    "change",
    [
        lambda module: setattr(module, "N", 100),
        lambda module: setattr(module, "M", 100),
        lambda module: setattr(module, "N", True),
        lambda module: setattr(module.Settings, "n", 100),
        lambda module: setattr(module.Settings, "m", 100),
        lambda module: setattr(module.Settings, "g", module.g),
        lambda module: setattr(module, "g", test_code_in_memory_is_not_taken_for_an_edited_file),
        lambda module: setattr(module.g, "n", 1),
    ],
)
def test_what_a_module_got_while_the_program_runs_counts(project, imported, change):
    imported(1)
    project.function()(1)
    before = digest(project.function())
    (module,) = modules_of_it()
    change(module)
    assert digest(project.function()) != before


MADE_AT_IMPORT = """
import abc, dataclasses, enum, functools, logging, re, threading, typing

LOCK = threading.Lock()
logger = logging.getLogger(__name__)
PATTERN = re.compile("a")
T = typing.TypeVar("T")

class Colour(enum.Enum):
    RED = 1

@dataclasses.dataclass
class Row(typing.Generic[T]):
    x: int = 1
    y: list = dataclasses.field(default_factory=list)

class Pair(typing.NamedTuple):
    a: int = 1

class Base(abc.ABC):
    __slots__ = ("x",)

    @abc.abstractmethod
    def m(self): ...

    @property
    def p(self): return 1

@functools.lru_cache
def cached(x):
    return x

def g(x):
    return x + 1
"""


def test_what_a_module_makes_at_its_import_follows_from_its_file(project):
    project.write("main_of_it.py", "def f(x):\n    import helper_of_it\n    return helper_of_it.g(x)\n")
    project.write("helper_of_it.py", MADE_AT_IMPORT)
    before = digest(project.function())
    assert project.function()(1) == 2
    assert digest(project.function()) == before
    with Recorder():  # as while other threads make calls
        assert digest(project.function()) == before


def test_nothing_is_imported_to_describe_it(project):
    project.write("main_of_it.py", "def f(x):\n    from pkg_of_it.deep import sub\n    import missing_of_it\n")
    for name in ("pkg_of_it/__init__.py", "pkg_of_it/deep/__init__.py", "pkg_of_it/deep/sub.py"):
        project.write(name, "raise RuntimeError")
    digest(project.function())
    assert not [name for name in sys.modules if name.startswith(("pkg_of_it", "missing_of_it"))]


def test_a_relative_import(project):
    project.write("pkg_of_it/__init__.py", "")
    project.write(
        "pkg_of_it/main.py", "def f(x):\n    from . import sub\n    from .other import g\n    return sub.g(x)\n"
    )
    digests = set()
    for one, other in ((1, 1), (2, 1), (1, 2)):
        project.write("pkg_of_it/sub.py", HELPER.format(one))
        project.write("pkg_of_it/other.py", HELPER.format(other))
        digests.add(digest(project.function("pkg_of_it.main")))
    assert len(digests) == 3


def test_a_relative_import_that_must_fail(project):
    project.write("main_of_it.py", "def f(x):\n    from . import sub\n")
    assert digest(project.function()) == digest(project.function())


# Which modules are the project's


def by_import(path, name):
    return importlib.import_module(name)


def by_path(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Namespace:
    def __init__(self, names):
        self.__dict__.update(names)


def by_runpy(path, name):
    return Namespace(runpy.run_path(path))


def by_exec(path, name):
    names = {"__name__": name}
    exec(compile(Path(path).read_text(), path, "exec"), names)
    return Namespace(names)


@pytest.mark.parametrize("load", [by_import, by_path, by_runpy, by_exec])
@pytest.mark.parametrize("name", ["helper_of_it", "wave", "code", "folder_of_it.sub"])
def test_the_place_of_the_file_decides(project, monkeypatch, load, name):
    if name in ("wave", "code"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    found = []
    for n in (1, 1, 2):
        file = f"{name.replace('.', '/')}.py"
        project.write(file, HELPER.format(n) + "class C:\n    def m(self):\n        return g(1)\nc = C()\n")
        project.forget()
        module = load(str(project.folder / file), name)
        found.append([digest(value) for value in (module.g, module.C, module.c, module.c.m)])
        if load in (by_import, by_path):
            namespace = {"m": module, "__name__": "__main__"}
            exec("def f(): return m.g(1)\ndef w(): return m", namespace)
            found[-1] += [digest(namespace["f"]), digest(namespace["w"])]
    assert found[0] == found[1]
    assert all(one != other for one, other in zip(found[0], found[2], strict=True))


@pytest.mark.parametrize("name", ["math", "json", "json.decoder", "sys", "builtins", "pytest", "_pytest.python"])
def test_libraries(name):
    assert not in_project(name)


@pytest.mark.parametrize("name", ["__main__", "", "no_such_module_at_all", "no_such.module"])
def test_what_is_not_known_is_the_projects(name):
    assert in_project(name)


def test_a_compiled_module_of_the_project(project):
    """One of Python's own compiled modules, copied into the project, is rebuilt with other bytes at its end."""
    folder = Path(sysconfig.get_config_var("DESTSHARED") or "")
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    names = [name for name in ("xxlimited", "_testbuffer", "_bisect") if (folder / f"{name}{suffix}").exists()]
    names = [name for name in names if name not in sys.modules]
    if not names:
        pytest.skip("Python has no compiled module in a file that could be copied")
    name, found = names[0], []
    project.write("main_of_it.py", f"def f():\n    import {name}\n    return {name}\n")
    for build in ("one", "one", "other"):
        copy = project.folder / f"{name}{suffix}"
        copy.unlink(missing_ok=True)
        shutil.copy(folder / copy.name, copy)
        with copy.open("ab") as file:
            file.write(build.encode())
        found.append(digest(project.function()))
    assert found[0] == found[1] != found[2]
    module = importlib.import_module(name)
    assert Path(module.__file__) == copy
    functions = [value for value in vars(module).values() if type(value).__name__ == "builtin_function_or_method"]
    before = [digest(function) for function in functions]
    with copy.open("ab") as file:
        file.write(uuid.uuid4().bytes)
    assert functions
    assert all(one != digest(function) for one, function in zip(before, functions, strict=True))
