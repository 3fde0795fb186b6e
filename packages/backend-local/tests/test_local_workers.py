"""Worker processes run what the driver has: its code, the values of its modules, its folder and environment."""

from __future__ import annotations

import importlib
import itertools
import os
import sys

import pytest

from functionfuse import workflow
from functionfuse.backends.builtin.localback import LocalWorkflow
from functionfuse.errors import NodeError

numbers = itertools.count()


class Project:
    """A folder of modules that the driver imports, edits and reloads."""

    def __init__(self, folder, prefix):
        self.folder = folder
        self.prefix = prefix
        self.modules = {}
        self.written = 0

    def write(self, name, source):
        """Write a file that is longer than the one before: a compiled one of the same second is not taken for it."""
        self.written += 1
        text = f"{source.replace('PREFIX', self.prefix)}\n# {'edited ' * self.written}\n"
        (self.folder / f"{self.prefix}{name}.py").write_text(text)
        importlib.invalidate_caches()

    def load(self, name):
        """Import a module, or reload it."""
        known = self.modules.get(name)
        full = f"{self.prefix}{name}"
        self.modules[name] = importlib.reload(known) if known else importlib.import_module(full)
        return self.modules[name]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made = Project(tmp_path, f"ff_workers_{os.getpid()}_{next(numbers)}_")
    yield made
    for name in made.modules:
        sys.modules.pop(f"{made.prefix}{name}", None)


def run(*nodes):
    return LocalWorkflow(*nodes, workflow_name="workers").run(max_workers=1)


MODEL = "from functionfuse import workflow\n@workflow\ndef scaled(x):\n    return {} * x\n"


def test_a_module_that_was_edited_and_reloaded(project):
    for factor in (2, 3, 2):
        project.write("model", MODEL.format(factor))
        assert run(project.load("model").scaled(10)) == 10 * factor


def test_a_helper_that_was_edited_and_reloaded(project):
    project.write("model", "import PREFIXhelper as helper\n" + MODEL.format("helper.factor()"))
    for factor in (2, 3):
        project.write("helper", f"def factor():\n    return {factor}\n")
        project.load("helper")
        assert run(project.load("model").scaled(10)) == 10 * factor


def test_a_name_that_was_imported_from_a_helper(project):
    project.write("model", "from PREFIXhelper import factor\n" + MODEL.format("factor()"))
    for factor in (2, 3):
        project.write("helper", f"def factor():\n    return {factor}\n")
        project.load("helper")
        assert run(project.load("model").scaled(10)) == 10 * factor


def test_a_class_that_was_edited_and_reloaded(project):
    for factor in (2, 3):
        source = (
            "class Model:\n    def __init__(self): self.n = 1\n    def scaled(self, x): self.n += 1; return {} * x\n"
        )
        project.write("model", "from functionfuse import workflow\n@workflow\n" + source.format(factor))
        model = project.load("model").Model()
        assert run(model.scaled(10), model.scaled(1)) == [10 * factor, factor]


VALUES = {
    "constant": ("N = 1\n", lambda module, n: setattr(module, "N", n), "settings.N"),
    "computed": ("N = len('a')\n", lambda module, n: setattr(module, "N", n), "settings.N"),
    "class": ("class C:\n    n = 1\n", lambda module, n: setattr(module.C, "n", n), "settings.C.n"),
    "dict": ("D = {'n': 1}\n", lambda module, n: module.D.update(n=n), "settings.D['n']"),
    "object": (
        "class C:\n    def __init__(self): self.n = 1\nc = C()\n",
        lambda module, n: setattr(module.c, "n", n),
        "settings.c.n",
    ),
    "by a function": ("N = 1\ndef n():\n    return N\n", lambda module, n: setattr(module, "N", n), "settings.n()"),
}


@pytest.mark.parametrize(("source", "change", "read"), VALUES.values(), ids=VALUES)
def test_values_that_are_set_in_the_driver(project, source, change, read):
    project.write("settings", source)
    project.write("model", "import PREFIXsettings as settings\n" + MODEL.format(read))
    settings, model = project.load("settings"), project.load("model")
    for n in (1, 100, 1, 7):
        change(settings, n)
        assert run(model.scaled(10)) == 10 * n


@pytest.mark.parametrize("where", ["global", "inside"])
def test_functions_of_a_script_take_values_of_modules(project, where):
    project.write("settings", "N = 1\n")
    settings = project.load("settings")
    imported = f"import {settings.__name__} as settings\n"
    body = f"def f(x):\n    {imported if where == 'inside' else ''}    return settings.N * x\n"
    namespace = {"__name__": "__main__"}
    exec((imported if where == "global" else "") + body, namespace)
    node = workflow(namespace["f"])
    for n in (1, 100, 1):
        settings.N = n
        assert run(node(10)) == 10 * n


def test_code_that_is_in_the_drivers_memory_alone_is_refused(project):
    project.write("model", MODEL.format(2))
    model = project.load("model")
    assert run(model.scaled(10)) == 20
    project.write("model", MODEL.format(3))  # and not reloaded
    assert run(model.scaled(10)) == 20  # the worker has the old code, too
    exec("def scaled(x):\n    return 4 * x\n", vars(model))
    model.scaled = workflow(model.scaled)
    with pytest.raises(NodeError, match=r"scaled of module '.*model' is not in a worker process as"):
        run(model.scaled(10))


@workflow
def surroundings(name):
    return os.getcwd(), os.environ.get(name), list(sys.path)  # noqa: PTH109


def test_the_folder_the_environment_and_the_path_of_the_driver(tmp_path, monkeypatch):
    name = "FF_TEST_SURROUNDINGS"
    before = run(surroundings(name))
    assert before[:2] == (os.getcwd(), None)  # noqa: PTH109
    for value in ("one", "other"):
        (tmp_path / value).mkdir()
        with monkeypatch.context() as changed:
            changed.chdir(tmp_path / value)
            changed.setenv(name, value)
            changed.syspath_prepend(tmp_path / value)
            folder, seen, path = run(surroundings(name))
        assert (folder, seen, path[0]) == (str(tmp_path / value), value, str(tmp_path / value))
    assert run(surroundings(name))[:2] == before[:2]


def test_a_variable_that_is_deleted(monkeypatch):
    name = next(name for name in ("HOME", "PATH", "LANG") if name in os.environ)
    whole = run(surroundings(name))[1]
    monkeypatch.delenv(name)
    assert run(surroundings(name))[1] is None
    monkeypatch.setenv(name, whole)
    assert run(surroundings(name))[1] == whole
