"""Compiled code, compared by what it does and not by how it was written.

Local variables count by their roles, annotations of functions not at all. Some code sees them all the same:
``locals()``, ``typing.get_type_hints(f)``. `_READ_BY` tells by which names such code is known, and what it sees then
counts for all code that it is reached from.
"""

from __future__ import annotations

import dis
import re
import sys
from bisect import bisect_left
from functools import lru_cache
from inspect import (
    CO_ASYNC_GENERATOR,
    CO_COROUTINE,
    CO_GENERATOR,
    CO_ITERABLE_COROUTINE,
    CO_OPTIMIZED,
    CO_VARARGS,
    CO_VARKEYWORDS,
)
from types import CodeType
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from dis import Instruction

Detail = Literal["variables", "annotations", "functions", "classes"]
"""What counts only where code reads it: names of local variables, annotations of functions, and the module and
qualified name of functions and of classes made within functions."""

NOTHING_READ: frozenset[Detail] = frozenset()

_READ_BY: dict[Detail, str] = {
    "variables": (
        "locals vars dir eval exec _getframe currentframe f_locals f_code f_back tb_frame gi_frame cr_frame ag_frame "
        "getargvalues getclosurevars getgeneratorlocals getcoroutinelocals getasyncgenlocals capture_locals settrace "
        "setprofile __code__ __closure__ co_varnames co_cellvars co_freevars "
        "evaluate re_evaluate query sql from_query dmatrix dmatrices from_formula"  # of numexpr, pandas, duckdb, patsy
    ),
    "annotations": (
        "__annotations__ __annotate__ __signature__ get_type_hints get_annotations signature getfullargspec register "
        "validate_call validate_arguments TypeAdapter beartype typechecked inject"
    ),
    "functions": (
        "__name__ __qualname__ __module__ __globals__ co_name co_qualname getmodule getfile getsourcefile getsource "
        "getsourcelines"
    ),
    "classes": (
        "__qualname__ __module__ __class__ type getmodule getfile getsourcefile getsource getsourcelines pickle "
        "cloudpickle dill joblib dump dumps Pickler save to_pickle"
    ),
}
EVERYTHING: frozenset[Detail] = frozenset(_READ_BY)
_READERS: dict[str, frozenset[Detail]] = {
    name: frozenset(detail for detail, readers in _READ_BY.items() if name in readers.split())
    for name in {name for readers in _READ_BY.values() for name in readers.split()}
}
_EXECUTES = {"eval", "exec"}  # code that is not known
_NAMED_BY_TEXT = {"eval", "exec", "locals", "vars", "dir"}  # others may be the key of a dict as well

_SILENT = {"NOP", "CACHE", "RESUME", "EXTENDED_ARG", "PRECALL", "TO_BOOL", "MAKE_CELL", "COPY_FREE_VARS"}
_ABOUT_SOURCE = {"__doc__", "__qualname__", "__firstlineno__", "__module__", "__static_attributes__"}
_GLOBALS = {"LOAD_GLOBAL", "LOAD_NAME"}
_ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD"}
_IMPORTERS = {"import_module", "__import__"}
_CONSTANTS = {"LOAD_CONST", "LOAD_SMALL_INT", "LOAD_NAME"}
_VARIABLES = frozenset((*dis.haslocal, *dis.hasfree))
_BY_NAME_FIRST = {"LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"}  # in the namespace of the class, then by role
_FLAGS = CO_VARARGS | CO_VARKEYWORDS | CO_GENERATOR | CO_COROUTINE | CO_ITERABLE_COROUTINE | CO_ASYNC_GENERATOR
_ANNOTATIONS = 4  # the flag of MAKE_FUNCTION, and the attribute of SET_FUNCTION_ATTRIBUTE
_CLOSURE = 8
_TAKEN = {"LOAD_ATTR": 1, "BINARY_SUBSCR": 2, "BINARY_OP": 2}  # values of the stack


def read_by(function: str) -> frozenset[Detail]:
    """Return what a function of Python or of a library with this name reads of code."""
    return EVERYTHING if function in _EXECUTES else _READERS.get(function, NOTHING_READ)


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
        reads: what it reads of other code, and of itself.
        free: the variables of its closure, in the order of their use.
    """

    tokens: tuple[object, ...]
    names: frozenset[tuple[str, ...]]
    imports: frozenset[Import]
    reads: frozenset[Detail]
    free: tuple[str, ...]


@lru_cache(maxsize=4096)
def facts_of(code: CodeType, counted: frozenset[Detail] = NOTHING_READ) -> CodeFacts:
    """Return what a code object does and uses.

    The tokens hold neither lines nor names of files; they do depend on the minor version of Python.

    Args:
        code: the code.
        counted: what counts although most code does not read it.
    """
    reader = _Reader(code, counted)
    scope = _Scope(code, None)
    tokens = reader.tokens(scope)
    free = (*scope.outer, *(name for name in code.co_freevars if name not in scope.outer))
    return CodeFacts(tokens, frozenset(reader.names), frozenset(reader.imports), frozenset(reader.reads), free)


class _Scope:
    """The variables of a code object, numbered in the order of their use; parameters come first.

    Args:
        code: the code.
        parent: the scope around it; None where the code is looked at by itself.

    Attributes:
        cells: the variables that closures share.
        outer: the variables that come from outside of what is looked at, numbered likewise.
    """

    def __init__(self, code: CodeType, parent: _Scope | None) -> None:
        self.code = code
        self.parent = parent
        self.cells = frozenset(code.co_cellvars + code.co_freevars)
        parameters = code.co_argcount + code.co_kwonlyargcount
        parameters += bool(code.co_flags & CO_VARARGS) + bool(code.co_flags & CO_VARKEYWORDS)
        self._numbers = {name: number for number, name in enumerate(code.co_varnames[:parameters])}
        self.outer: dict[str, int] = {} if parent is None else parent.outer

    def role(self, name: str) -> tuple[object, ...]:
        """Return what identifies a variable without its name."""
        scope, depth = self, 0
        while name in scope.code.co_freevars:
            if scope.parent is None:
                return "outer", self.outer.setdefault(name, len(self.outer))
            scope, depth = scope.parent, depth + 1
        return depth, scope._numbers.setdefault(name, len(scope._numbers))


class _Reader:
    """Reads code and the code within it.

    Args:
        code: the outermost code.
        counted: see `facts_of`.
    """

    def __init__(self, code: CodeType, counted: frozenset[Detail]) -> None:
        self._counted = counted
        self._instructions = {id(within): _instructions(within) for within in _with_codes_within(code)}
        self._words = set(_words_in(self._instructions.values()))
        self.names: set[tuple[str, ...]] = set()
        self.imports: set[Import] = set()
        self.reads: set[Detail] = set()

    def tokens(self, scope: _Scope) -> tuple[object, ...]:
        """Return the instructions of code with their arguments, and note what it uses."""
        code = scope.code
        instructions = self._instructions[id(code)]
        if "annotations" not in self._counted and (code.co_flags & CO_OPTIMIZED or code.co_name == "<module>"):
            instructions = _without_annotations(instructions)
        offsets = [i.offset for i in instructions]
        tokens: list[object] = [
            f"python {sys.version_info.major}.{sys.version_info.minor}",
            (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, self._flags(code)),
            code.co_varnames[: code.co_argcount + code.co_kwonlyargcount],
        ]
        if scope.parent is not None:
            tokens.append(code.co_name)
        chain: list[str] = []
        recent: list[object] = [None, None]  # the last constants: level and names of an import
        for number, instruction in enumerate(instructions):
            operation, argument = instruction.opname, instruction.argval
            if operation in _ATTRIBUTES and chain:
                chain.append(argument)
            else:
                if chain:
                    self.names.add(tuple(chain))
                chain = [argument] if operation in _GLOBALS else []
            if operation == "LOAD_CONST":
                recent = [recent[-1], argument]
            elif operation == "IMPORT_NAME":
                level, fromlist = recent
                self.imports.add(Import(level if isinstance(level, int) else 0, argument, _strings(fromlist)))
            elif argument in _IMPORTERS:
                self.imports |= {Import(0, text, ()) for text in code.co_consts if _is_module_name(text)}
            if instruction.opcode in _VARIABLES:
                tokens += self._variables(instruction, scope)
                continue
            if isinstance(argument, CodeType):
                argument = self.tokens(_Scope(argument, scope))
            elif instruction.opcode in dis.hasjrel or instruction.opcode in dis.hasjabs:
                argument = bisect_left(offsets, argument)
            elif argument in _READERS or type(argument) is tuple:
                self._note_reading(instruction, number > 0 and instructions[number - 1].argval == "__class__")
            tokens.append((operation, argument))
        if chain:
            self.names.add(tuple(chain))
        tokens += [
            (
                "TRY",
                *(bisect_left(offsets, at) for at in (entry.start, entry.end, entry.target)),
                entry.depth,
                entry.lasti,
            )
            for entry in dis.Bytecode(code).exception_entries  # type: ignore[attr-defined]  # unknown to the stubs
        ]
        return tuple(tokens)

    def _flags(self, code: CodeType) -> int:
        """Return the flags that tell what code does; those of ``__future__`` are handed on to what `exec` compiles."""
        return code.co_flags & (-1 if "variables" in self._counted else _FLAGS)

    def _variables(self, instruction: Instruction, scope: _Scope) -> Iterator[object]:
        """Yield a token for each variable that an instruction is about; the makers of closures are left out.

        Which variables a closure takes is told by the roles of its variables.
        """
        operation = instruction.opname
        names = instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)
        loads_cells = operation.startswith("LOAD_FAST") and operation not in ("LOAD_FAST_AND_CLEAR", "LOAD_FAST_CHECK")
        for name in names:
            if operation == "LOAD_CLOSURE" or (loads_cells and name in scope.cells):
                continue
            is_named = name.startswith((".", "__")) or name in self._words or operation in _BY_NAME_FIRST
            shown = (name,) if is_named or "variables" in self._counted else ()
            yield operation, scope.role(name), *shown

    def _note_reading(self, instruction: Instruction, of_class: bool) -> None:
        """Note what code reads by the name that an instruction is about.

        Args:
            instruction: which reads a name, or loads a text that may be one.
            of_class: whether the name is an attribute of ``x.__class__``, which is no function.
        """
        argument = instruction.argval
        for name in argument if type(argument) is tuple else (argument,):
            if instruction.opname in _GLOBALS:
                self.reads |= NOTHING_READ if name == "__name__" else read_by(name)  # a value like others
            elif instruction.opcode in dis.hasname and of_class:
                self.reads |= _READERS.get(name, NOTHING_READ) - {"functions"}
            elif instruction.opcode in dis.hasname or name in _NAMED_BY_TEXT or "_" in str(name):
                self.reads |= _READERS.get(name, NOTHING_READ)


def _instructions(code: CodeType) -> list[Instruction]:
    """Return the instructions that do something, but for those that tell about the source."""
    found: list[Instruction] = []
    for instruction in dis.get_instructions(code):
        if instruction.opname in _SILENT:
            continue
        is_about_source = instruction.opname == "STORE_NAME" and instruction.argval in _ABOUT_SOURCE
        if is_about_source and found and found[-1].opname in _CONSTANTS:
            found.pop()
        else:
            found.append(instruction)
    return found


def _without_annotations(instructions: list[Instruction]) -> list[Instruction]:
    """Leave out the annotations of functions that are made, as far as no decorator is given them."""
    kept: dict[int, Instruction] = dict(enumerate(instructions))
    for index, instruction in enumerate(instructions):
        if instruction.opname != "MAKE_FUNCTION":
            continue
        end = index + 1
        while instructions[end].opname == "SET_FUNCTION_ATTRIBUTE":
            end += 1
        flags = {number: instructions[number].arg or 0 for number in range(index, end)}
        maker = next((number for number, flag in flags.items() if flag & _ANNOTATIONS), None)
        if maker is None or not instructions[end].opname.startswith("STORE_"):
            continue
        last = index - 2  # before the code
        if any(flag & _CLOSURE for flag in flags.values()):
            last = _first_of(instructions, last) - 1
        first = _first_of(instructions, last)
        if first < 0:
            continue
        for number in range(first, last + 1):
            del kept[number]
        if maker == index:
            kept[maker] = instruction._replace(arg=flags[maker] & ~_ANNOTATIONS, argval=flags[maker] & ~_ANNOTATIONS)
        else:
            del kept[maker]
    return list(kept.values())


def _first_of(instructions: list[Instruction], last: int) -> int:
    """Return the index of the first instruction of a plain expression; less than 0 if it is not plain.

    Args:
        instructions: of the code.
        last: the index of the expression's last instruction.
    """
    needed = 1  # values on the stack
    while needed and last >= 0:
        operation, argument = instructions[last].opname, instructions[last].arg or 0
        if operation in ("BUILD_TUPLE", "BUILD_LIST"):
            needed += argument
        elif operation in _TAKEN:
            needed += _TAKEN[operation]
        elif not operation.startswith("LOAD_"):
            return -1
        needed -= 2 if operation == "LOAD_FAST_LOAD_FAST" else 1
        last -= 1
    return last + 1 if not needed else -1


def _with_codes_within(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_codes_within(constant)


def _words_in(codes: Iterable[list[Instruction]]) -> Iterator[str]:
    """Yield the names in texts of code that may be expressions: ``table.query("a > b")``."""
    for instructions in codes:
        for instruction in instructions:
            if instruction.opname == "LOAD_CONST":
                yield from _words_of(instruction.argval)


def _words_of(constant: object) -> Iterator[str]:
    if isinstance(constant, tuple | frozenset):
        for item in constant:
            yield from _words_of(item)
    elif isinstance(constant, str) and not constant.isidentifier():
        yield from re.findall(r"\w+", constant)


def _is_module_name(value: object) -> bool:
    return isinstance(value, str) and all(part.isidentifier() for part in value.split("."))


def _strings(value: object) -> tuple[str, ...]:
    return value if isinstance(value, tuple) and all(isinstance(v, str) for v in value) else ()
