"""Modules that code imports when it runs: their files, and what differs from these in memory."""

from __future__ import annotations

import dis
import importlib.util
import sys
from abc import ABCMeta
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from functionfuse.containers import ATOMS, CONTAINERS
from functionfuse.fingerprint.project import class_in_project, code_of, function_in_project, in_project, spec_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from importlib.machinery import ModuleSpec

    from functionfuse.fingerprint.code import Import

_CONSTANTS = {"LOAD_CONST", "LOAD_SMALL_INT"}
_PLAIN_METACLASSES = (type, ABCMeta)  # others, such as that of enums, make attributes of their own


class Assignment(Enum):
    """How the body of a module or class assigns a name, where it assigns no constant."""

    COMPUTED = 1
    IMPORTED = 2
    NOTHING = 3


@dataclass
class Body:
    """What the body of a module or class assigns.

    Attributes:
        values: by name, the constant that is assigned, or how the name is assigned otherwise.
        nested: the code of the functions and class bodies in it.
    """

    values: dict[str, object] = field(default_factory=dict)
    nested: list[CodeType] = field(default_factory=list)


def body_of(code: CodeType) -> Body:
    """Return what the code of a module or class assigns to its names."""
    body = Body(nested=[constant for constant in code.co_consts if isinstance(constant, CodeType)])
    previous = None
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("STORE_NAME", "STORE_GLOBAL"):
            value: object = Assignment.COMPUTED
            if previous is not None and previous.opname in _CONSTANTS:
                value = previous.argval
            elif previous is not None and previous.opname in ("IMPORT_NAME", "IMPORT_FROM"):
                value = Assignment.IMPORTED
            again = instruction.argval in body.values
            body.values[instruction.argval] = Assignment.COMPUTED if again else value
        previous = instruction
    return body


def codes_within(code: CodeType) -> Iterator[CodeType]:
    """Yield all code within the code of a module, at any depth."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from codes_within(constant)


class ImportedModule:
    """A module that code imports when it runs.

    Args:
        live: the module, if it is loaded.
        spec: where it is imported from; that of the module unless given.

    Attributes:
        name: of the module.
        package: what its relative imports start from.
        code: of the file; None if it has none, or is compiled from another language.
    """

    def __init__(self, live: ModuleType | None, spec: ModuleSpec | None = None) -> None:
        spec = spec or getattr(live, "__spec__", None)
        self.live = live
        self.name: str = live.__name__ if live is not None else spec.name if spec is not None else ""
        is_package = hasattr(live, "__path__") or (spec is not None and spec.submodule_search_locations is not None)
        self.package = self.name if is_package else self.name.rpartition(".")[0]
        self.code = None if spec is None else code_of(spec)

    @cached_property
    def _body(self) -> Body:
        return Body() if self.code is None else body_of(self.code)

    def changes(self, digest_of: Callable[[CodeType], bytes]) -> list[tuple[str, Any]]:
        """Return names and values in memory that are not those that the file assigns.

        Of functions and classes, these are the ones whose code is not that of the file, as after an edit without a
        reload; of values, those that are not the constant which the file assigns. What decorators and metaclasses
        generate follows from the file.

        Args:
            digest_of: digests code, without its names of files and lines.
        """
        if self.live is None:
            return []
        return list(self._changed(vars(self.live), self._body, digest_of))

    def imported(self) -> Iterator[tuple[str, Any]]:
        """Yield names and values that the module took from other modules: ``from settings import TABLE``."""
        assigned = {} if self.live is None else self._body.values
        for name, how in assigned.items():
            if how is Assignment.IMPORTED and name in vars(self.live):
                yield name, vars(self.live)[name]

    def _changed(
        self, namespace: Mapping[str, Any], body: Body, digest_of: Callable[[CodeType], bytes]
    ) -> Iterator[tuple[str, Any]]:
        for name, value in sorted(namespace.items()):
            assigned = body.values.get(name, Assignment.NOTHING)
            function = _function_in(value)
            if assigned is Assignment.IMPORTED or isinstance(value, ModuleType):
                continue  # described as what it is
            if function is not None:
                if self._is_changed(name, function, body, digest_of):
                    yield name, value
            elif isinstance(value, type):
                yield from self._changed_class(name, value, body, digest_of)
            elif not name.startswith("__") and not _is_assigned(value, assigned) and is_data(value):
                yield name, value

    def _is_changed(
        self, name: str, function: FunctionType, body: Body, digest_of: Callable[[CodeType], bytes]
    ) -> bool:
        if self.code is not None and name not in body.values and function.__code__.co_filename.startswith("<"):
            return False  # generated by a decorator
        if function.__module__ != self.name:
            return function_in_project(function)
        bodies = [code for code in body.nested if code.co_name == name]
        if not bodies and name in body.values and self.code is not None:
            bodies = list(codes_within(self.code))  # bound to another name, or made by another function
        has_state = any(not attribute.startswith("__") for attribute in vars(function))
        return has_state or digest_of(function.__code__) not in map(digest_of, bodies)

    def _changed_class(
        self, name: str, cls: type, body: Body, digest_of: Callable[[CodeType], bytes]
    ) -> Iterator[tuple[str, Any]]:
        inner = next((code for code in body.nested if code.co_name == cls.__name__), None)
        if cls.__module__ != self.name or inner is None:
            if class_in_project(cls):
                yield name, cls
            return
        inner_body = body_of(inner)
        for attribute, value in self._changed(vars(cls), inner_body, digest_of):
            is_setting = attribute in inner_body.values or type(value) in ATOMS
            if _function_in(value) is not None or (is_setting and type(cls) in _PLAIN_METACLASSES):
                yield f"{name}.{attribute}", value


def is_data(value: object) -> bool:
    """Return True for numbers, texts, containers, and objects of the project's classes.

    Objects of libraries, such as loggers, patterns and locks, are made by what the file says.
    """
    return type(value) in ATOMS or isinstance(value, CONTAINERS) or class_in_project(type(value))


def absolute_names(imported: Import, package: str) -> Iterator[str]:
    """Yield the modules that an import loads: the packages around a module, the module, and modules of it.

    Args:
        imported: the import.
        package: what relative imports start from.
    """
    level, module, names = imported
    try:
        name = importlib.util.resolve_name("." * level + module, package) if level else module
    except ImportError:  # it fails when it runs, too
        name = "." * level + module
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        yield ".".join(parts[:end])
    if not in_project(name):
        return
    live = sys.modules.get(name)
    for attribute in names:
        within = f"{name}.{attribute}"
        known = getattr(live, attribute, None)
        if isinstance(known, ModuleType) or (known is None and spec_of(within) is not None):
            yield within


def module_named(name: str) -> ImportedModule | None:
    """Return a module of the project; None for a library's, or one that does not exist."""
    live, spec = sys.modules.get(name), spec_of(name)
    if not in_project(name) or (live is None and spec is None):
        return None
    return ImportedModule(live, spec)


def _is_assigned(value: object, assigned: object) -> bool:
    return not isinstance(assigned, Assignment) and type(assigned) is type(value) and assigned == value


def _function_in(value: Any) -> FunctionType | None:
    """Return the function that a value is, or that it wraps."""
    for _ in range(100):
        if isinstance(value, staticmethod | classmethod | MethodType):
            value = value.__func__
        elif isinstance(value, property):
            value = value.fget
        elif isinstance(value, FunctionType) and not hasattr(value, "__wrapped__"):
            return value
        else:
            try:
                value = value.__wrapped__
            except Exception:
                return None
    return None
