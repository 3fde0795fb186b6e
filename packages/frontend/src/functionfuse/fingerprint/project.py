"""Which modules are the user's own project, whose code is fingerprinted, and which are libraries."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import BuiltinMethodType, CodeType, MethodType

_LIBRARY_FOLDERS = tuple(
    {Path(path).resolve() for key, path in sysconfig.get_paths().items() if key.endswith(("lib", "stdlib"))}
)


def in_project(module: str) -> bool:
    """Return True if a module is neither part of Python nor installed among the libraries.

    An editable install counts as the project's own.
    """
    if module in ("__main__", "__mp_main__"):
        return True
    top = module.partition(".")[0]
    if not top or top == "functionfuse" or top in sys.stdlib_module_names:
        return False
    file = file_of(module)
    return _outside_libraries(file) if file else _made_by_hand(module)


def file_of(module: str) -> str | None:
    """Return the file that a module is, or would be, imported from; None if there is none."""
    if module in sys.modules:
        return getattr(sys.modules[module], "__file__", None)
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return spec.origin if spec is not None and spec.has_location else None


def module_code(name: str) -> CodeType | None:
    """Return the compiled file of a project's module, without running it; None for a library, or without a file."""
    if name.partition(".")[0] in sys.stdlib_module_names:
        return None
    try:
        spec = sys.modules[name].__spec__ if name in sys.modules else importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.has_location or spec.origin is None or not _outside_libraries(spec.origin):
        return None
    if name.partition(".")[0] == "functionfuse":
        return None
    get_code = getattr(spec.loader, "get_code", None)
    try:
        code: CodeType | None = get_code(name) if get_code else None
    except (ImportError, SyntaxError, OSError):
        return None
    return code


def library_name(method: MethodType | BuiltinMethodType) -> tuple[ModuleType, str] | None:
    """Return the module and name of a method of a library's own object, if the module has the method by name.

    ``random.seed`` is one: a method of a generator that the module ``random`` made for itself. The generator's
    state is not part of what the method does.
    """
    owner = getattr(method, "__self__", None)
    if owner is None or isinstance(owner, ModuleType) or in_project(type(owner).__module__):
        return None
    module = sys.modules.get(type(owner).__module__)
    found = getattr(module, method.__name__, None)
    if module is None or type(found) is not type(method) or found != method:
        return None
    return module, method.__name__


def _made_by_hand(module: str) -> bool:
    """Return True for a module without a file: defined in a session, or built into the interpreter."""
    return module in sys.modules and getattr(sys.modules[module], "__spec__", None) is None


@lru_cache(maxsize=4096)
def _outside_libraries(file: str) -> bool:
    path = Path(file).resolve()
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not any(folder in path.parents for folder in _LIBRARY_FOLDERS)
