"""What a function uses by name, each with a small digest of its own, so that a reason can name what changed."""

from __future__ import annotations

from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from functionfuse.backends.short_texts import tells_all, text_of_value
from functionfuse.backends.texts import looks_secret
from functionfuse.containers import ATOMS, CONTAINERS
from functionfuse.decorator import WorkflowClass, WorkflowFunction
from functionfuse.fingerprint.code import NOTHING_READ, facts_of
from functionfuse.fingerprint.encoding import Unfingerprintable
from functionfuse.fingerprint.modules import ImportedModule
from functionfuse.fingerprint.project import is_of_project

if TYPE_CHECKING:
    from collections.abc import Iterator

    from functionfuse.fingerprint.values import Fingerprinter
    from functionfuse.targets import Target

_MOST = 40
_HEX = 8
_MOST_BYTES = 1 << 16  # of a value, which is described once more than for the recipe
_MOST_ITEMS = 1000
_LONGEST = 80  # characters of a name
_DEFINED = (FunctionType, type, ModuleType, WorkflowFunction, WorkflowClass, BuiltinFunctionType, MethodType)


def uses_of(target: Target, own: FunctionType | None, fingerprinter: Fingerprinter) -> dict[str, str]:
    """Return digests of a function's own "code", and of the globals, helpers, classes and modules that it uses.

    Of a number, a short text or a short container, "=" and its text stands for the digest.

    Each digest is of that alone, without what it uses in turn. Large globals, and those whose names look secret, are
    left out, and what goes beyond a number of names.

    Args:
        target: what a step calls.
        own: the function that the step calls in the end; what is in other files is named with the file.
        fingerprinter: that described the target for its recipe.
    """
    found: dict[str, str] = {}
    for code, digest, counted in fingerprinter.used_by(target):
        for name, one in _parts(code, digest, fingerprinter, own, counted):
            found.setdefault(name[:_LONGEST], one if type(one) is str else one.hex()[:_HEX])
        if len(found) >= _MOST:
            break
    return dict(list(found.items())[:_MOST])


def _parts(
    code: object, digest: bytes, fingerprinter: Fingerprinter, own: FunctionType | None, counted: Any
) -> Iterator[tuple[str, Any]]:
    """Yield names and digests of the parts of a function; of a class or module one for the whole."""
    if isinstance(code, ImportedModule):
        yield f"module {code.name}", digest
    elif isinstance(code, FunctionType):
        facts = facts_of(code.__code__, counted)
        place = _place(code.__code__, own)
        yield (
            "code" if code is own else f"helper {_short(code.__qualname__)}(){place}",
            fingerprinter.digest((facts.tokens, code.__defaults__, code.__kwdefaults__), NOTHING_READ),
        )
        for kind, name, value in _values(code, facts.names, facts.free):
            if _is_small(value) and not looks_secret(name):
                text = text_of_value(name, value)
                if tells_all(value, text):
                    yield f"{kind} {name}{place}", f"={text}"
                    continue
                try:
                    yield f"{kind} {name}{place}", fingerprinter.digest(value)
                except Unfingerprintable:
                    continue
    elif isinstance(code, type):
        yield f"class {_short(code.__qualname__)} of module {code.__module__}", digest


def _values(function: FunctionType, names: Any, free: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield the values that code takes from outside, and that are no code."""
    for chain in sorted(names):
        value = function.__globals__.get(chain[0], _DEFINED)
        for attribute in chain[1:]:
            if not isinstance(value, ModuleType) or not is_of_project(value):
                break
            value = getattr(value, attribute, _DEFINED)
        if value is not _DEFINED and not isinstance(value, _DEFINED):
            yield "global", ".".join(chain), value
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    for name in free:
        try:
            value = cells[name].cell_contents
        except ValueError:  # assigned later
            continue
        if not isinstance(value, _DEFINED):
            yield "variable", name, value


def _is_small(value: Any, depth: int = 3) -> bool:
    if type(value) in CONTAINERS:
        items = [*value, *value.values()] if type(value) is dict else value
        return bool(depth) and len(items) <= _MOST_ITEMS and all(_is_small(item, depth - 1) for item in items)
    if isinstance(value, str | bytes):
        return len(value) <= _MOST_BYTES
    size = getattr(value, "nbytes", None)
    return type(value) in ATOMS or (isinstance(size, int) and size <= _MOST_BYTES)


def _place(code: CodeType, own: FunctionType | None) -> str:
    file = code.co_filename
    is_elsewhere = own is None or file != own.__code__.co_filename
    return f" of {PurePath(file).name}" if is_elsewhere and file.endswith(".py") else ""


def _short(qualname: str) -> str:
    return qualname.rpartition("<locals>.")[2]
