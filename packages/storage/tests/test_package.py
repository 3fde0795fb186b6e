"""The package as a whole: what it exports, what it may import, and that its README runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import functionfuse.storage

PACKAGE = Path(__file__).parents[1]


def test_public_names():
    assert functionfuse.storage.__all__ == [
        "BadSignature",
        "CorruptRecord",
        "FileStore",
        "LostRace",
        "MissingSerializer",
        "RayStore",
        "S3Store",
        "Serializer",
        "StorageError",
        "TaskNotFound",
        "UnsupportedRecord",
        "storage_factory",
    ]
    assert all(hasattr(functionfuse.storage, name) for name in functionfuse.storage.__all__)


def test_every_public_function_is_described():
    stores = (functionfuse.storage.FileStore, functionfuse.storage.RayStore, functionfuse.storage.S3Store)
    public = [one for store in stores for one in vars(store).values()]
    assert [one for one in public if callable(one) and not one.__name__.startswith("_") and not one.__doc__] == []


def test_only_the_frontend_ships_the_namespace():
    assert not (PACKAGE / "src" / "functionfuse" / "__init__.py").exists()


def test_imports_point_one_way():
    wrong = []
    for path in PACKAGE.glob("src/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            wrong += [(path.name, name) for name in names if name.startswith("functionfuse.backends")]
    assert wrong == []


def test_the_code_in_the_readme_runs(tmp_path, monkeypatch):
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {"__name__": "readme"}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), scope)
