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

SOURCE = Path(functionfuse.__file__).parent

EXPORTED = {
    "functionfuse": ["task", "workflow"],
    "functionfuse.fingerprint": ["Fingerprinter", "Inherited", "Recipe", "RecipeBook", "Unfingerprintable"],
    "functionfuse.testing": ["BackendTests", "MemoryStore", "RefusingWorkflow", "StoreTests", "wait_until"],
}

PUBLIC = {
    "functionfuse.backends.attempts": ["NotAsGiven", "Snapshot"],
    "functionfuse.backends.base": ["BaseWorkflow"],
    "functionfuse.backends.calls": ["Call", "Expansion", "Outcome", "RemoteError"],
    "functionfuse.backends.drive": ["Engine"],
    "functionfuse.backends.execution": ["Run"],
    "functionfuse.backends.frames": ["Frame", "StoredResultLost", "Task"],
    "functionfuse.backends.limits": ["TimeLimitExceeded", "TimeLimitReached"],
    "functionfuse.backends.ready": ["Ready"],
    "functionfuse.backends.observers": ["Event", "EventChannel"],
    "functionfuse.backends.objects": ["States", "Verdict"],
    "functionfuse.backends.options": ["OptionRules", "Retry", "Rule", "StepOptions"],
    "functionfuse.backends.planning": ["Planner"],
    "functionfuse.backends.plugins": ["InitializerPlugin", "Plugin", "PluginCollection", "RandomStatePlugin"],
    "functionfuse.backends.query": ["NodeView", "Query"],
    "functionfuse.backends.report": ["RunReport"],
    "functionfuse.backends.serialization": ["Serializer"],
    "functionfuse.backends.session": ["Expander", "Session"],
    "functionfuse.backends.spec": ["RunSpec"],
    "functionfuse.backends.stored": ["StoredResults"],
    "functionfuse.backends.writer_funcs": ["WriterFuncsStore"],
    "functionfuse.graph": ["Edit", "Edits", "Graph"],
    "functionfuse.construction": ["Constructor", "PlainClass"],
    "functionfuse.deferred": ["Deferred"],
    "functionfuse.nodes": ["BoundMethod", "InstanceNode", "Item", "Node"],
    "functionfuse.plan": ["Plan", "Recipe", "Ref", "Step"],
    "functionfuse.stores": ["Catalogue", "Store"],
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
    assert imported - set(sys.stdlib_module_names) <= {"functionfuse"}


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


def test_the_decorator_is_not_shadowed():
    code = (
        "import functionfuse.decorator, functionfuse.backends.base; "
        "from functionfuse import workflow; print(workflow.__name__)"
    )
    assert in_a_new_process(code) == ["workflow"]


def test_it_is_typed():
    assert (SOURCE / "py.typed").exists()
