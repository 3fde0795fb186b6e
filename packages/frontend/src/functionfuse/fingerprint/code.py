"""Compiled code, compared by what it does and not by how it was written."""

from __future__ import annotations

import dis
import sys
from bisect import bisect_left
from functools import lru_cache
from types import CodeType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_SILENT = {"NOP", "CACHE", "RESUME", "EXTENDED_ARG", "PRECALL", "TO_BOOL"}
_ABOUT_SOURCE = {"__doc__", "__qualname__", "__firstlineno__", "__module__", "__static_attributes__"}
_GLOBALS = {"LOAD_GLOBAL", "LOAD_NAME"}
_ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD"}
_IMPORTERS = {"import_module", "__import__"}


class Import(NamedTuple):
    """An ``import`` statement inside the code, or a name of a module that it may give to a function that imports."""

    level: int
    module: str
    names: tuple[str, ...]


class CodeFacts(NamedTuple):
    """What a code object does, and what it uses from outside.

    Attributes:
        tokens: instructions and their arguments; nested code is a tuple of tokens itself.
        names: global names that it reads, each with the attributes read from it: ``("np", "linalg", "norm")``.
        imports: what it imports when it runs.
    """

    tokens: tuple[object, ...]
    names: frozenset[tuple[str, ...]]
    imports: frozenset[Import]


@lru_cache(maxsize=4096)
def facts_of(code: CodeType) -> CodeFacts:
    """Return what a code object does and uses.

    The tokens hold neither lines nor names of files; they do depend on the minor version of Python.
    """
    instructions = [i for i in dis.get_instructions(code) if i.opname not in _SILENT]
    index = _indices([i.offset for i in instructions])
    names: set[tuple[str, ...]] = set()
    imports: set[Import] = set()
    tokens: list[object] = [
        f"python {sys.version_info.major}.{sys.version_info.minor}",
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags),
        code.co_varnames[: code.co_argcount + code.co_kwonlyargcount],
    ]
    chain: list[str] = []
    recent: list[object] = [None, None]  # the last constants: level and names of an import
    for instruction in instructions:
        operation, argument = instruction.opname, instruction.argval
        if operation in _ATTRIBUTES and chain:
            chain.append(argument)
        else:
            if chain:
                names.add(tuple(chain))
            chain = [argument] if operation in _GLOBALS else []
        if operation == "LOAD_CONST":
            recent = [recent[-1], argument]
        elif operation == "IMPORT_NAME":
            level, fromlist = recent
            imports.add(Import(level if isinstance(level, int) else 0, argument, _strings(fromlist)))
        elif argument in _IMPORTERS:
            imports |= {Import(0, text, ()) for text in code.co_consts if _is_module_name(text)}
        elif operation == "STORE_NAME" and argument in _ABOUT_SOURCE:
            tokens.pop()  # the constant, stored for the reader of the source only
            continue
        if isinstance(argument, CodeType):
            nested = facts_of(argument)
            names |= nested.names
            imports |= nested.imports
            argument = nested.tokens
        elif instruction.opcode in dis.hasjrel or instruction.opcode in dis.hasjabs:
            argument = index(argument)
        tokens.append((operation, argument))
    if chain:
        names.add(tuple(chain))
    tokens += [
        ("TRY", index(entry.start), index(entry.end), index(entry.target), entry.depth, entry.lasti)
        for entry in dis.Bytecode(code).exception_entries  # type: ignore[attr-defined]  # unknown to the stubs
    ]
    return CodeFacts(tuple(tokens), frozenset(names), frozenset(imports))


def _indices(offsets: list[int]) -> Callable[[int], int]:
    """Number the kept instructions, so that jumps do not count those that do nothing."""
    return lambda offset: bisect_left(offsets, offset)


def _is_module_name(value: object) -> bool:
    return isinstance(value, str) and all(part.isidentifier() for part in value.split("."))


def _strings(value: object) -> tuple[str, ...]:
    return value if isinstance(value, tuple) and all(isinstance(v, str) for v in value) else ()
