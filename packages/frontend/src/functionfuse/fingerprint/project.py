"""Which code is the user's own project, and is fingerprinted, and which belongs to libraries.

The place of the file decides: code is a library's if its file lies among the installed packages or those of Python.
What has no file that can be found counts as the project's.
"""

from __future__ import annotations

import sys
import sysconfig
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import BuiltinMethodType, CodeType, MethodType

_LIBRARY_FOLDERS = tuple(
    {Path(path).resolve() for key, path in sysconfig.get_paths().items() if key.endswith(("lib", "stdlib"))}
)
_MAIN = ("__main__", "__mp_main__")
_NO_FILE = ("built-in", "frozen")  # modules of the interpreter itself


def in_project(name: str) -> bool:
    """Return True if a module is neither part of Python nor installed among the libraries.

    An editable install counts as the project's own.
    """
    if name in _MAIN:
        return True
    if _is_own(name):
        return False
    if not name:
        return True
    module = sys.modules.get(name)
    if module is not None:
        return is_of_project(module)
    spec = spec_of(name)
    return spec is None or _is_outside(spec.origin, folders_of(name))


def is_of_project(module: ModuleType) -> bool:
    """Return True if this very module is the project's, under whichever name it was loaded."""
    if _is_own(module.__name__):
        return False
    spec = getattr(module, "__spec__", None)
    file = getattr(module, "__file__", None)
    if file is None and spec is None:  # made by hand, or by its package
        parent = sys.modules.get(module.__name__.rpartition(".")[0])
        return parent is None or is_of_project(parent)
    return _is_outside(file or getattr(spec, "origin", None), getattr(module, "__path__", None))


def function_in_project(function: FunctionType) -> bool:
    """Return True if a function is the project's, by its module or by the file of its code.

    A wrapper that a library makes for a function of the project is the project's, as it bears the other's module.
    """
    return in_project(function.__module__ or "") or _has_project_code(function)


def class_in_project(cls: type) -> bool:
    """Return True if a class is the project's, by its module or by the files of its methods.

    A method that this package puts into a class of a library while calls are recorded does not count.
    """
    module = cls.__module__ if isinstance(cls.__module__, str) else ""
    functions = (attribute for attribute in vars(cls).values() if isinstance(attribute, FunctionType))
    return in_project(module) or (not _is_own(module) and any(map(_has_project_code, functions)))


def is_code(obj: object) -> bool:
    """Return True for a function, a class or a module of the project."""
    if isinstance(obj, type):
        return class_in_project(obj)
    if isinstance(obj, FunctionType):
        return function_in_project(obj)
    return isinstance(obj, ModuleType) and is_of_project(obj)


def file_of(module: str) -> str | None:
    """Return the file that a module is, or would be, imported from; None if there is none."""
    if module in sys.modules:
        return getattr(sys.modules[module], "__file__", None)
    spec = spec_of(module)
    return spec.origin if spec is not None and spec.has_location else None


def spec_of(name: str) -> ModuleSpec | None:
    """Return where a module is imported from, without importing it or a package that it is in."""
    if name in sys.modules:
        return getattr(sys.modules[name], "__spec__", None)
    package = name.rpartition(".")[0]
    path = folders_of(package) if package else None
    if package and not path:
        return None
    try:
        found = (finder.find_spec(name, path) for finder in sys.meta_path)
        return next((spec for spec in found if spec is not None), None)
    except KeyError:  # a folder without __init__.py in another one that is not imported yet
        return ModuleSpec(name, None, is_package=True)
    except (ImportError, ValueError, AttributeError):
        return None


def folders_of(package: str) -> list[str]:
    """Return the folders that the modules of a package are searched in, without importing it; [] for a module."""
    if package in sys.modules:
        return list(getattr(sys.modules[package], "__path__", ()))
    spec = spec_of(package)
    if spec is None or spec.submodule_search_locations is None:
        return []
    if spec.origin is not None:
        return list(spec.submodule_search_locations)
    parent, _, name = package.rpartition(".")  # a folder without __init__.py, whose own list needs an import
    return [
        str(path) for folder in (folders_of(parent) if parent else sys.path) if (path := Path(folder, name)).is_dir()
    ]


def module_code(name: str) -> CodeType | None:
    """Return the compiled file of a project's module, without running it; None for a library, or without a file."""
    spec = spec_of(name)
    return code_of(spec) if spec is not None and in_project(name) else None


def code_of(spec: ModuleSpec) -> CodeType | None:
    """Return the compiled file of a module, without running it; None if there is none that can be compiled."""
    get_code = getattr(spec.loader, "get_code", None) if spec.has_location else None
    try:
        code: CodeType | None = get_code(spec.name) if get_code else None
    except (ImportError, SyntaxError, OSError):
        return None
    return code


def extension_file(module: str) -> str | None:
    """Return the file of a project's module that was compiled by another language; None for all others."""
    file = file_of(module)
    is_compiled = file is not None and file.endswith(tuple(EXTENSION_SUFFIXES))
    return file if is_compiled and in_project(module) else None


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


def held_by_library(value: Any) -> tuple[str, str] | None:
    """Return the module and name under which a library's module holds an object, if one does."""
    for name in (getattr(type(value), "__module__", None), getattr(value, "__module__", None)):
        module = sys.modules.get(name) if isinstance(name, str) else None
        if module is not None and not in_project(module.__name__):
            for attribute, held in vars(module).items():
                if held is value:
                    return module.__name__, attribute
    return None


def _is_own(module: str) -> bool:
    """Return True for a module of this package, which is a library's, also where it is installed editable."""
    return module.partition(".")[0] == "functionfuse"


def _has_project_code(function: FunctionType) -> bool:
    """Return True for a function of a file of the project, not of this package, whose files may be elsewhere."""
    if _is_own(function.__module__ or ""):
        return False
    file = function.__code__.co_filename
    return not file.startswith("<") and Path(file).is_absolute() and _outside_libraries(file)


def _is_outside(file: str | None, path: Iterable[str] | None) -> bool:
    if file in _NO_FILE:
        return False
    if file is None:  # a folder without __init__.py
        return all(_outside_libraries(folder) for folder in path or ())
    return _outside_libraries(file)


@lru_cache(maxsize=4096)
def _outside_libraries(file: str) -> bool:
    path = Path(file).resolve()
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not any(folder in path.parents for folder in _LIBRARY_FOLDERS)
