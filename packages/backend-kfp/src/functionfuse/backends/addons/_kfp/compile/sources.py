"""Which sources travel with a workflow: modules of the user's project, and those of Function Fuse that pods import."""

from __future__ import annotations

import ast
import functools
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import cloudpickle

import functionfuse
from functionfuse._warning import warn_user
from functionfuse.fingerprint.project import in_project, module_code

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_FRONTEND = ("*.py", "backends/*.py", "fingerprint/*.py")
_POD = ("__init__.py", "pod/*.py")
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
_OF_DRIVER = frozenset(
    f"{name}.py"
    for name in (
        *(f"backends/{name}" for name in ("admission", "base", "capsule", "documents", "drive", "driver_state")),
        *(f"backends/{name}" for name in ("displays", "earlier", "run_memory")),
        *(f"backends/{name}" for name in ("editable_graph", "editor", "inline", "profile", "provenance", "query")),
        *(f"backends/{name}" for name in ("ready", "reasons", "run_records", "session", "short_texts")),
        *("fingerprint/uses", "notebooks", "run_diff", "run_reader", "runs"),
    )
)
"""What pods never import; a command line has little room."""


def project_sources(names: Iterable[str]) -> dict[str, bytes]:
    """Return the sources of the project's modules with these names, and of those that they import, by path."""
    sources: dict[str, bytes] = {}
    seen: set[str] = set()
    pending = sorted(names)
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in ("", "__main__", "__mp_main__"):
            pending += _imports_of_script(name)
            continue
        path = _file_of(name)
        if path is None:
            continue
        source = path.read_bytes()
        is_package = path.name == "__init__.py"
        entry = name.replace(".", "/")
        sources[f"{entry}/__init__.py" if is_package else f"{entry}.py"] = source
        pending += imports_in(source, name if is_package else name.rpartition(".")[0])
        parts = name.split(".")
        pending += [".".join(parts[:end]) for end in range(1, len(parts))]
    return sources


def imports_in(source: bytes, package: str) -> list[str]:
    """Return the names of all modules that a source may import, at any depth of it.

    Args:
        source: the source of a module.
        package: the package that relative imports start from.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*parents, *filter(None, [node.module])])
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return found


def with_folders(paths: Iterable[str]) -> Iterator[str]:
    """Yield the entries of the folders above paths; packages without `__init__` are found by them."""
    folders = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    return (f"{folder}/" for folder in sorted(folders - {"."}))


@functools.cache
def frontend_sources() -> dict[str, bytes]:
    """Return what pods import of Function Fuse and cloudpickle, without docstrings and comments, by path."""
    root = Path(functionfuse.__file__).parent
    files = {
        f"functionfuse/{path.relative_to(root).as_posix()}": path
        for glob in _FRONTEND
        for path in root.glob(glob)
        if path.relative_to(root).as_posix() not in _OF_DRIVER
    }
    kfp = Path(__file__).parents[1]
    files |= {
        f"functionfuse/backends/addons/_kfp/{path.relative_to(kfp).as_posix()}": path
        for glob in _POD
        for path in kfp.glob(glob)
        if path.name != "main.py"  # the zip has it as __main__.py
    }
    files |= {f"cloudpickle/{path.name}": path for path in Path(cloudpickle.__file__).parent.glob("*.py")}
    return {f"lib/{name}": _bare(path.read_text(encoding="utf-8")) for name, path in sorted(files.items())}


def _imports_of_script(name: str) -> list[str]:
    """Return the imports of the program that is running; its functions travel by value."""
    file = getattr(sys.modules.get(name or "__main__"), "__file__", None)
    return imports_in(Path(file).read_bytes(), "") if file and Path(file).suffix == ".py" else []


def _file_of(name: str) -> Path | None:
    """Return the source file of a module of the user's project; None for libraries."""
    if name not in sys.modules:
        code = module_code(name)
        return None if code is None else Path(code.co_filename)
    file = getattr(sys.modules[name], "__file__", None)
    if not file or not in_project(name):
        return None
    if Path(file).suffix != ".py":
        warn_user(f"module {name!r} ({file}) is not Python source and does not travel; it has to be in the image")
        return None
    return Path(file)


def _bare(source: str) -> bytes:
    """Return a source without what a pod would compile for nothing: docstrings, comments, and what checkers read."""
    tree = _WithoutTypes().visit(ast.parse(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | _FUNCTIONS) and ast.get_docstring(node, clean=False):
            node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, _FUNCTIONS):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    return ast.unparse(tree).encode()


class _WithoutTypes(ast.NodeTransformer):
    """Leaves out what stands under ``if TYPE_CHECKING``."""

    def visit_If(self, node: ast.If) -> Any:
        self.generic_visit(node)
        test = ast.unparse(node.test)
        if test == "TYPE_CHECKING":
            return node.orelse or ast.Pass()
        return node.body if test == "not TYPE_CHECKING" else node
