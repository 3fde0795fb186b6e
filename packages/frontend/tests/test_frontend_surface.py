"""The public surface, and what importing costs."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import functionfuse
from functionfuse._distributions import DISTRIBUTIONS

SOURCE = Path(functionfuse.__file__).parent
PACKAGES = Path(__file__).parents[2]

EXPORTED = {
    "functionfuse": ["Env", "File", "Fixed", "Stateful", "makes_node", "sweep", "task", "workflow"],
    "functionfuse.stateful": ["Stateful", "makes_node"],
    "functionfuse.workflow": ["task", "workflow"],
    "functionfuse.fingerprint": ["Fingerprinter", "Inherited", "Recipe", "RecipeBook", "Unfingerprintable", "book_of"],
    "functionfuse.testing": ["BackendTests", "MemoryStore", "RefusingWorkflow", "StoreTests", "wait_until"],
}

PUBLIC = {
    "functionfuse.backends.admission": ["Admission"],
    "functionfuse.backends.attempts": ["NotAsGiven", "Snapshot"],
    "functionfuse.backends.base": ["BaseWorkflow"],
    "functionfuse.backends.calls": ["Call", "Expansion", "MemberOutcome", "MemberOutcomes", "Outcome", "RemoteError"],
    "functionfuse.backends.capsule": ["Capsule"],
    "functionfuse.backends.capsule_making": ["FrameInfo"],
    "functionfuse.backends.collapsed": ["Member", "Members"],
    "functionfuse.backends.interruption": ["Cancellation", "Interruption", "LastRun", "Runs"],
    "functionfuse.backends.coroutines": ["LoopThread"],
    "functionfuse.backends.documents": ["Document"],
    "functionfuse.backends.drive": ["Engine"],
    "functionfuse.backends.editable_graph": ["CallSite", "EditableGraph", "EditableNode"],
    "functionfuse.backends.editor": ["Editor"],
    "functionfuse.backends.execution": ["Run"],
    "functionfuse.backends.expanding": ["Expander"],
    "functionfuse.backends.failed_inputs": ["FailedInput"],
    "functionfuse.backends.frames": ["CollapsedTask", "Frame", "StoredResultLost", "Task"],
    "functionfuse.backends.lookup": ["Lookup"],
    "functionfuse.backends.limits": ["TimeLimitExceeded", "TimeLimitReached"],
    "functionfuse.backends.ready": ["Ready"],
    "functionfuse.backends.observers": ["Event", "EventChannel", "Worker"],
    "functionfuse.backends.node_states": ["NodeState"],
    "functionfuse.backends.objects": ["States", "Verdict"],
    "functionfuse.backends.options": ["AllowFailedInputs", "Growing", "OptionRules", "Retry", "Rule", "StepOptions"],
    "functionfuse.backends.planning": ["Planner"],
    "functionfuse.backends.plugins": ["InitializerPlugin", "Plugin", "PluginCollection", "RandomStatePlugin"],
    "functionfuse.backends.profile": ["Profile", "ProfileRule"],
    "functionfuse.backends.provenance": ["GitState"],
    "functionfuse.backends.query": ["BackendInfo", "NodeView", "Query"],
    "functionfuse.backends.recording": ["CallRecord", "Output", "Piece", "Recorder", "Recording", "Usage"],
    "functionfuse.backends.recordings": ["Recordings"],
    "functionfuse.backends.report": ["RunReport"],
    "functionfuse.backends.run_log": ["RunLog"],
    "functionfuse.backends.serialization": ["Serializer"],
    "functionfuse.backends.rule_index": ["RuleIndex"],
    "functionfuse.backends.run_records": ["RunRecorder"],
    "functionfuse.backends.secrets": ["Secret"],
    "functionfuse.backends.short_texts": ["PositionalNames", "ShortTexts"],
    "functionfuse.backends.session": ["Session"],
    "functionfuse.backends.spec": ["RunOptions", "RunSpec"],
    "functionfuse.backends.stored": ["StoredResults"],
    "functionfuse.backends.stores_by_name": ["PlainStore", "StoreByName", "WriterFuncsStore"],
    "functionfuse.annotated_kinds": ["Container", "Kinds"],
    "functionfuse.edge_check": ["EdgeCheck", "Taken"],
    "functionfuse.backends.tracebacks": ["CodeLine"],
    "functionfuse.files": ["Env", "File"],
    "functionfuse.graph": ["Graph"],
    "functionfuse.construction": ["Constructor", "PlainClass"],
    "functionfuse.deferred": ["Deferred"],
    "functionfuse.nodes": ["BoundMethod", "InstanceNode", "Item", "Node"],
    "functionfuse.notebooks": ["CellRun"],
    "functionfuse.plan": ["Plan", "Recipe", "Ref", "Step"],
    "functionfuse.run_diff": ["RunDiff", "StepDiff"],
    "functionfuse.run_reader": ["RunReader"],
    "functionfuse.runs": ["RecipesOfRuns", "RunList", "RunRecord", "RunStep", "RunSummary"],
    "functionfuse.stateful": ["Stateful"],
    "functionfuse.stores": ["Catalogue", "RecipeStore", "Store"],
    "functionfuse.sweeps": ["Fixed", "Sweep"],
    "functionfuse.targets": ["CallCheck", "ClassTarget", "FunctionTarget", "Method"],
}


@pytest.mark.parametrize("module", EXPORTED)
def test_exported_members(module):
    imported = importlib.import_module(module)
    assert sorted(imported.__all__) == EXPORTED[module]
    assert all(hasattr(imported, name) for name in imported.__all__)


@pytest.mark.parametrize("module", PUBLIC)
def test_public_classes(module):
    imported = importlib.import_module(module)
    own = [name for name, cls in vars(imported).items() if inspect.isclass(cls) and cls.__module__ == module]
    assert sorted(name for name in own if not name.startswith("_")) == PUBLIC[module]


def frontend_modules():
    return [path for path in SOURCE.rglob("*.py") if "testing" not in path.parts]


@pytest.mark.parametrize("path", frontend_modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_the_standard_library_is_imported(path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
    for_checkers = {"typing_extensions"}  # they all have it; test_wheels.py imports the package without it
    assert imported - set(sys.stdlib_module_names) - for_checkers <= {"functionfuse"}


def in_a_new_process(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_importing_takes_in_nothing_heavy():
    code = (
        "import sys; before = set(sys.modules); import functionfuse; "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    loaded = set(in_a_new_process(code))
    assert loaded <= set(sys.stdlib_module_names) | {"functionfuse"}
    assert loaded.isdisjoint({"inspect", "typing", "re", "dataclasses", "asyncio", "concurrent", "pickle"})


def test_a_backend_needs_no_other_package():
    code = (
        "import sys, site; import functionfuse.backends.base, functionfuse.testing; "
        "print(*sorted({n.partition('.')[0] for n, m in sys.modules.items() "
        "if 'site-packages' in (getattr(m, '__file__', None) or '')}))"
    )
    assert {name for name in in_a_new_process(code) if name not in ("functionfuse", "_virtualenv")} <= _at_start()


def _at_start():
    """What this Python loads by itself, because of .pth files."""
    code = (
        "import sys; print(*sorted({n.partition('.')[0] for n, m in sys.modules.items() "
        "if 'site-packages' in (getattr(m, '__file__', None) or '')}))"
    )
    return set(in_a_new_process(code))


@pytest.mark.parametrize(
    "imports",
    [
        "import functionfuse.decorator, functionfuse.backends.base",
        "import functionfuse.workflow",
        "from functionfuse import workflow, task; from functionfuse.workflow import workflow, task",
        "from functionfuse.workflow import workflow, task; from functionfuse import workflow, task",
        "import importlib; importlib.import_module('functionfuse.workflow')",
        "import functionfuse, importlib; importlib.reload(functionfuse)",
        "import functionfuse, importlib, sys; importlib.reload(sys.modules['functionfuse.workflow'])",
    ],
)
def test_the_decorator_is_not_shadowed(imports):
    code = (
        f"{imports}\nimport functionfuse, functionfuse.decorator as home\n"
        "from functionfuse import workflow as first\nfrom functionfuse.workflow import task, workflow as second\n"
        "print(first is second is task is functionfuse.workflow is home.workflow, first.__name__)"
    )
    assert in_a_new_process(code) == ["True", "workflow"]


def test_it_is_typed():
    assert (SOURCE / "py.typed").exists()


class TestWhatIsNotInstalled:
    """The error of an import names the distribution that has the module."""

    @pytest.fixture
    def imported(self, tmp_path):
        def run(code, folders=()):
            for folder in folders:
                (tmp_path / folder).mkdir(parents=True)
            found = f"import sys; sys.path[:0] = {[str(SOURCE.parent), str(tmp_path)]}\n"
            # Nothing but this package, whether it and others are installed or not.
            ended = subprocess.run(
                [sys.executable, "-I", "-S", "-c", found + code], capture_output=True, text=True, check=False
            )
            return ended.stderr.strip()

        return run

    @pytest.mark.parametrize("module", DISTRIBUTIONS)
    @pytest.mark.parametrize("others", [False, True], ids=["alone", "beside others"])
    @pytest.mark.parametrize("form", ["import {0}.{1}", "from {0} import {1}", "from {0}.{1} import name"])
    def test_a_module(self, imported, module, others, form):
        folders = [f"functionfuse/backends/{folder}" for folder in ("builtin", "addons")] if others else []
        package, _, name = module.rpartition(".")
        last = imported(form.format(package, name), folders).splitlines()[-1]
        error = f"no module {module!r} is installed: pip install {DISTRIBUTIONS[module]}"
        assert last == f"ModuleNotFoundError: {error}"

    @pytest.mark.parametrize("module", ["functionfuse.no_such", "functionfuse.backends.no_such", "no_such"])
    def test_other_modules(self, imported, module):
        assert imported(f"import {module}").endswith(f"ModuleNotFoundError: No module named '{module}'")

    def test_one_that_is_installed_meanwhile(self, imported, tmp_path):
        (tmp_path / "functionfuse/backends").mkdir(parents=True)
        code = (
            "import importlib, pathlib\n"
            "try: import functionfuse.backends.builtin.localback\n"
            "except ImportError: pass\n"
            f"folder = pathlib.Path({str(tmp_path)!r}, 'functionfuse/backends/builtin')\n"
            "folder.mkdir()\n"
            "(folder / 'localback.py').write_text('')\n"
            "importlib.invalidate_caches()\n"
            "import functionfuse.backends.builtin.localback\n"
            "sys.exit('found')\n"
        )
        assert imported(code) == "found"

    def test_every_public_module_of_other_packages_is_known(self):
        found = {
            ".".join(path.relative_to(source).with_suffix("").parts)
            for source in PACKAGES.glob("*/src")
            for pattern in ("functionfuse/*", "functionfuse/backends/*/*")
            for path in source.glob(pattern)
            if source.parent.name != "frontend" and not path.name.startswith("_") and path.name != "backends"
        }
        assert found == set(DISTRIBUTIONS)
