"""Short texts of arguments, and of globals of functions, that tell what changed between two runs."""

from __future__ import annotations

from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse.backends.texts import HIDDEN, looks_secret, masked
from functionfuse.containers import ATOMS, CONTAINERS, Nest
from functionfuse.errors import UsageError
from functionfuse.plan import Ref

if TYPE_CHECKING:
    from collections.abc import Sequence

    from functionfuse.plan import Step

_LONGEST = 80  # characters
_NUMBERS = frozenset({int, float, bool, type(None)})
_MOST_ITEMS = 10
_LARGE = 1 << 63


class PositionalNames(NamedTuple):
    """The positional parameters of a function, and whether the name of one looks secret."""

    names: list[str]
    has_secret: bool


class ShortTexts:
    """Makes the texts of a run's steps; what belongs to a function is looked up once."""

    def __init__(self) -> None:
        self._parameters: dict[int, tuple[Any, PositionalNames]] = {}  # by target, which has to stay

    def positional_of(self, step: Step) -> Sequence[Any]:
        """Return the positional arguments of a step: numbers, texts of other values, and "" for results of steps.

        Short texts are shown, larger values by type, length and shape; values of names that look secret are not.
        """
        args, parameters = step.args, self.parameters_of(step)
        if _NUMBERS.issuperset(map(type, args)) and not parameters.has_secret:
            return args
        return [
            value if type(value) in _NUMBERS and not looks_secret(name) else _text(name, value)
            for name, value in zip(parameters.names, args, strict=False)
        ]

    def keywords_of(self, step: Step) -> dict[str, str]:
        """Return texts of those keyword arguments of a step that are values."""
        return {name: text for name, value in step.kwargs.items() if (text := _text(name, value))}

    def globals_of(self, step: Step) -> dict[str, str]:
        """Return texts of the global numbers, texts and short containers that the function of a step uses itself."""
        function = function_of(step.target)
        if function is None:
            return {}
        space = function.__globals__
        found = {name: space[name] for name in _names_in(function.__code__) if name in space}
        shown = {name: value for name, value in found.items() if type(value) in ATOMS or type(value) in CONTAINERS}
        return {name: text_of_value(name, value) for name, value in shown.items()}

    def parameters_of(self, step: Step) -> PositionalNames:
        """Return the positional parameters of what a step calls; numbers where it does not say."""
        known = self._parameters.get(id(step.target))
        if known is None or len(known[1].names) < len(step.args):
            names = _parameters_of(step)
            known = self._parameters[id(step.target)] = (
                step.target,
                PositionalNames(names, any(map(looks_secret, names))),
            )
        return known[1]


def _text(name: str, value: Any) -> str:
    return "" if type(value) is Ref or type(value) is Nest else text_of_value(name, value)


def text_of_value(name: str, value: Any) -> str:
    """Return a short text of a value, without what is secret.

    Args:
        name: of its variable or parameter.
        value: the value.
    """
    return HIDDEN if looks_secret(name) else masked(_shown(value))


def _shown(value: Any) -> str:
    kind = type(value)
    if kind is int and not _is_small(value):
        return f"an int of {value.bit_length()} bits"
    if kind in ATOMS:
        return _cut(repr(value)) if kind not in (str, bytes) or len(value) <= _LONGEST else _long(value)
    if kind in CONTAINERS:
        items = [*value, *value.values()] if kind is dict else list(value)
        is_short = len(items) <= 2 * _MOST_ITEMS and all(type(one) in ATOMS and _is_small(one) for one in items)
        if not is_short or (kind is dict and any(looks_secret(key) for key in value if isinstance(key, str))):
            return _long(value)
        return _cut(repr(value))
    try:
        shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", "")
        if type(shape) is tuple:
            return _cut(f"{kind.__name__} of shape {shape}{f' and dtype {dtype}' if dtype else ''}")
    except Exception:  # of a class of the user's
        return f"a {kind.__name__}"
    return getattr(value, "__qualname__", "") if isinstance(value, FunctionType | type) else f"a {kind.__name__}"


def tells_all(value: Any, text: str) -> bool:
    """Return True if another value of the same parameter would have another text.

    Args:
        value: the value.
        text: of it, as `text_of_value` returns it.
    """
    return (type(value) in ATOMS or type(value) in CONTAINERS) and text == repr(value)


def _names_in(code: CodeType) -> dict[str, None]:
    """Return the names of globals and attributes in code, and in the functions and comprehensions within it."""
    names: dict[str, None] = {}
    codes = [code]
    for one in codes:  # which grows
        names.update(dict.fromkeys(one.co_names))
        codes += [constant for constant in one.co_consts if isinstance(constant, CodeType)]
    return names


def _long(value: Any) -> str:
    return f"{type(value).__name__} of length {len(value)}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def function_of(target: Any) -> FunctionType | None:
    """Return the function that calls of a target make in the end; None where it is not written in Python.

    Args:
        target: what a step calls.
    """
    if target.kind == "function":
        found = target.function
    else:
        owner = target.owner.cls if target.kind == "method" else target.cls
        found = getattr(owner, target.name if target.kind == "method" else "__init__", None)
    return found if isinstance(found, FunctionType) else None


def _is_small(value: Any) -> bool:
    """Return False for an integer that Python may refuse to write out."""
    return type(value) is not int or -_LARGE < value < _LARGE


def _parameters_of(step: Step) -> list[str]:
    try:
        parameters = list(step.target.check.signature().parameters.values())
    except UsageError:
        parameters = []
    names = [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return [*names, *map(str, range(len(names), len(step.args)))]
