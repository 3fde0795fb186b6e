"""The conformance suite of backends: steps run what the driver has in memory, also where workers outlive a run."""

from __future__ import annotations

import importlib
import itertools
import os
import re
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from functionfuse import workflow
from functionfuse.errors import EngineError, NodeError
from functionfuse.testing.backend_suite import BackendSuite, requires
from functionfuse.testing.functions import surroundings
from functionfuse.testing.standard_tests import core

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_numbers = itertools.count()

MODEL = "from functionfuse import workflow\n@workflow\ndef scaled(x):\n    return {} * x\n"
MODEL_CLASS = """from functionfuse import workflow
@workflow
class Model:
    def __init__(self): self.n = 1
    def scaled(self, x): self.n += 1; return {} * x
"""
POINT_MAKER = (
    "from functionfuse import workflow\nimport PREFIXpoint as points\n@workflow\ndef point(): return points.Point()\n"
)
POINT_USER = "from functionfuse import workflow\n@workflow\ndef scaled(point, x): return point.scaled(x)\n"
POINT = "class Point:\n    def __init__(self): self.n = 1\n    def scaled(self, x): return {} * x * self.n\n"
POINT_MODEL = """from functionfuse import workflow
import PREFIXpoint as points
@workflow
def point(): return points.Point()
@workflow
def scaled(point, x): return point.scaled(x) if isinstance(point, points.Point) else "another class"
"""

VALUES: dict[str, tuple[str, Callable[[Any, int], Any], str]] = {
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


class Project:
    """A folder of modules that the driver imports, edits and reloads.

    Args:
        folder: in which modules are searched.
    """

    def __init__(self, folder: Path) -> None:
        self.prefix = f"ff_project_{os.getpid()}_{next(_numbers)}_"
        self.modules: dict[str, ModuleType] = {}
        self._folder = folder
        self._written = 0

    def write(self, name: str, source: str) -> None:
        """Write a file that is longer than the one before: a compiled one of the same second is not taken for it.

        Args:
            name: of the module, without the prefix that makes it unique.
            source: of the module, with PREFIX for the prefix.
        """
        self._written += 1
        text = f"{source.replace('PREFIX', self.prefix)}\n# {'edited ' * self._written}\n"
        (self._folder / f"{self.prefix}{name}.py").write_text(text)
        importlib.invalidate_caches()

    def load(self, name: str) -> Any:
        """Import a module, or reload it."""
        known = self.modules.get(name)
        made = importlib.reload(known) if known else importlib.import_module(f"{self.prefix}{name}")
        self.modules[name] = made
        return made


class DriverStateTests(BackendSuite, suite=True):
    """Modules that are edited or changed between runs, and where the driver is."""

    @pytest.fixture
    def project(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
        """A project whose modules the driver finds."""
        folder = tmp_path / "project"
        folder.mkdir()
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        made = Project(folder)
        yield made
        for module in made.modules.values():
            sys.modules.pop(module.__name__, None)

    def test_a_module_that_was_edited_and_reloaded(self, run: Any, project: Project) -> None:
        """The new code runs; the old one again after it is back."""
        for factor in (2, 3, 2):
            project.write("model", MODEL.format(factor))
            assert run(project.load("model").scaled(10)) == 10 * factor

    @pytest.mark.parametrize(
        ("imports", "call"),
        [("import PREFIXhelper as helper", "helper.factor()"), ("from PREFIXhelper import factor", "factor()")],
    )
    def test_a_helper_that_was_edited_and_reloaded(self, run: Any, project: Project, imports: str, call: str) -> None:
        """By whichever name it is used."""
        project.write("model", f"{imports}\n{MODEL.format(call)}")
        for factor in (2, 3):
            project.write("helper", f"def factor():\n    return {factor}\n")
            project.load("helper")
            assert run(project.load("model").scaled(10)) == 10 * factor

    @requires("objects")
    def test_a_class_that_was_edited_and_reloaded(self, run: Any, project: Project) -> None:
        """As nodes make objects of it."""
        for factor in (2, 3):
            project.write("model", MODEL_CLASS.format(factor))
            model = project.load("model").Model()
            assert run(model.scaled(10), model.scaled(1)) == [10 * factor, factor]

    @requires("store")
    def test_stored_objects_of_a_class_that_was_edited(self, make_workflow: Any, store: Any, project: Project) -> None:
        """They are not taken for equal, though their content is: what follows runs again."""
        project.write("maker", POINT_MAKER)
        project.write("user", POINT_USER)
        for factor in (2, 3):
            project.write("point", POINT.format(factor))
            project.load("point")
            node = project.load("user").scaled(project.load("maker").point().set_name("point"), 10).set_name("scaled")
            made = make_workflow(node)
            made.set_storage(store)
            assert made.run() == 10 * factor

    def test_objects_of_a_class_that_was_edited_and_reloaded(self, run: Any, project: Project) -> None:
        """As literals, and as results of other nodes."""
        project.write("model", POINT_MODEL)
        for factor in (2, 3):
            project.write("point", POINT.format(factor))
            points, model = project.load("point"), project.load("model")
            given = points.Point()
            assert run(model.scaled(given, 10), model.scaled(model.point(), 1)) == [10 * factor, factor]

    @pytest.mark.parametrize("kind", VALUES)
    def test_values_that_are_set_in_the_driver(self, run: Any, project: Project, kind: str) -> None:
        """Of modules, classes and objects."""
        source, change, read = VALUES[kind]
        project.write("settings", source)
        project.write("model", "import PREFIXsettings as settings\n" + MODEL.format(read))
        settings, model = project.load("settings"), project.load("model")
        for n in (1, 100, 1):
            change(settings, n)
            assert run(model.scaled(10)) == 10 * n

    def test_values_under_imported_names(self, run: Any, project: Project) -> None:
        """An object that two modules have is changed in both; a name that is bound anew is so in its module alone."""
        project.write("settings", "D = {'n': 1}\nN = 1\n")
        project.write("model", "from PREFIXsettings import D, N\n" + MODEL.format("D['n'] * N"))
        settings, model = project.load("settings"), project.load("model")
        for n in (1, 100, 1):
            settings.D["n"] = settings.N = n
            assert run(model.scaled(10)) == 10 * n

    def test_a_value_that_a_node_sets(self, run: Any, project: Project) -> None:
        """In a worker, it is gone in the next run; in the driver, it stays."""
        project.write("settings", "N = 1\nD = {'n': 1}\n")
        sets = "@workflow\ndef sets(n):\n    settings.N = settings.D['n'] = n\n    return n\n"
        project.write(
            "model", "import PREFIXsettings as settings\n" + MODEL.format("settings.N * settings.D['n']") + sets
        )
        settings, model = project.load("settings"), project.load("model")
        assert run(model.scaled(10)) == 10
        run(*(model.sets(n) for n in (2, 3, 4)))
        assert run(*(model.scaled(n) for n in (1, 2, 3))) == [n * settings.N * settings.D["n"] for n in (1, 2, 3)]

    @core
    @pytest.mark.parametrize("where", ["global", "inside"])
    def test_functions_of_a_script_take_values_of_modules(self, run: Any, project: Project, where: str) -> None:
        """Wherever the script imports the module."""
        project.write("settings", "N = 1\n")
        settings = project.load("settings")
        imported = f"import {settings.__name__} as settings\n"
        body = f"def f(x):\n    {imported if where == 'inside' else ''}    return settings.N * x\n"
        namespace: dict[str, Any] = {"__name__": "__main__"}
        exec((imported if where == "global" else "") + body, namespace)  # noqa: S102
        node = workflow(namespace["f"])
        for n in (1, 100, 1):
            settings.N = n
            assert run(node(10)) == 10 * n

    def test_code_that_is_in_the_drivers_memory_alone(self, run: Any, project: Project) -> None:
        """It runs, or is refused by workers who would have to load it from a file."""
        project.write("model", MODEL.format(2))
        model = project.load("model")
        assert run(model.scaled(10)) == 20
        exec("def scaled(x):\n    return 4 * x\n", vars(model))  # noqa: S102
        model.scaled = workflow(model.scaled)
        try:
            result = run(model.scaled(10))
        except (NodeError, EngineError) as error:
            assert re.search(r"scaled of module '.*model' is not in a worker process as", str(error))  # noqa: PT017
        else:
            assert result == 40

    @core
    def test_a_module_that_the_driver_alone_has(self, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its functions run, or the error names it."""
        module = ModuleType(f"ff_driver_alone_{next(_numbers)}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec("def scaled(x):\n    return 4 * x\n", vars(module))  # noqa: S102
        try:
            result = run(workflow(vars(module)["scaled"])(10))
        except (NodeError, EngineError) as error:
            assert module.__name__ in str(error)  # noqa: PT017
        else:
            assert result == 40

    @core
    @requires("surroundings")
    def test_the_folder_the_environment_and_the_path(
        self, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of the driver, at the time of the run."""
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

    @requires("surroundings")
    def test_a_variable_that_is_deleted(self, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is there again when the driver has it again."""
        name = next(name for name in ("HOME", "PATH", "LANG") if name in os.environ)
        whole = run(surroundings(name))[1]
        monkeypatch.delenv(name)
        assert run(surroundings(name))[1] is None
        monkeypatch.setenv(name, whole)
        assert run(surroundings(name))[1] == whole
