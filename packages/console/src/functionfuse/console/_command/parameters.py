"""The parameters of a function that builds a graph, as options of the command line."""

from __future__ import annotations

import ast
import enum
import inspect
import re
import types
import typing
from collections.abc import Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

_PREFIX = "parameter_"
_COLLECTIONS = (list, tuple, set, frozenset, Sequence, Set)
_PLAIN: dict[Any, click.ParamType[Any]] = {int: click.INT, float: click.FLOAT, str: click.STRING}


class Literal(click.ParamType[Any]):
    """A literal of Python, or a text that is none."""

    name = "value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002
        try:
            return ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return value


class OneOf(click.Choice[Any]):
    """One of some values, which are written as texts.

    Args:
        values: by text.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(list(values))
        self._values = values

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return self._values[super().convert(value, param, ctx)]


def options_of(function: Callable[..., Any], taken: Collection[str]) -> list[click.Option]:
    """Return an option for each parameter of a function.

    Args:
        function: that builds a graph.
        taken: what other options are called; a parameter of such a name gets one that begins with `--param-`.
    """
    described = _descriptions(function)
    return [
        _option(parameter, _kind(parameter, function), taken, described.get(parameter.name, ""))
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def arguments_of(context: click.Context, values: dict[str, Any]) -> dict[str, Any]:
    """Take the values of parameters out of those of all options, and return those that were given.

    Args:
        context: of the verb.
        values: of all options.
    """
    names = [name for name in values if name.startswith(_PREFIX)]
    given = {name: values.pop(name) for name in names}
    default = click.core.ParameterSource.DEFAULT
    return {
        name.removeprefix(_PREFIX): value
        for name, value in given.items()
        if context.get_parameter_source(name) not in (None, default)
    }


def flag_of(name: str, taken: Collection[str]) -> str:
    """Return the option of a parameter.

    Args:
        name: of the parameter.
        taken: what other options are called.
    """
    flag = f"--{name.replace('_', '-')}"
    return f"--param-{flag[2:]}" if flag in taken else flag


def _option(parameter: inspect.Parameter, kind: Any, taken: Collection[str], text: str) -> click.Option:
    flag = flag_of(parameter.name, taken)
    is_required = parameter.default is parameter.empty
    default = "" if is_required else f"[default: {_shown(parameter.default)}]"
    settings: dict[str, Any] = {"help": f"{text} {default}".strip(), "required": is_required}
    if kind is bool:
        flag = f"{flag}/--no-{flag[2:]}"
    else:
        settings |= _settings(kind)
    return click.Option([flag, _PREFIX + parameter.name], **settings)


def _settings(kind: Any) -> dict[str, Any]:
    """Return how click reads values of a type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _settings(arguments[0])
    if origin in (typing.Union, types.UnionType):
        rest = [one for one in arguments if one is not type(None)]
        return _settings(rest[0]) if len(rest) == 1 else {"type": Literal()}
    if origin is tuple and arguments and arguments[-1] is not ...:
        return {"type": click.Tuple([_settings(one)["type"] for one in arguments])}
    if kind in _COLLECTIONS or origin in _COLLECTIONS:
        return {"type": _settings(arguments[0])["type"] if arguments else Literal(), "multiple": True}
    if origin is typing.Literal:
        return {"type": OneOf({str(one): one for one in arguments})}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"type": OneOf(dict(kind.__members__))}
    if isinstance(kind, type) and issubclass(kind, Path):
        return {"type": click.Path(path_type=kind)}
    return {"type": _PLAIN.get(kind, Literal())}


def _kind(parameter: inspect.Parameter, function: Callable[..., Any]) -> Any:
    """Return the type of a parameter: as it is annotated, or that of its default."""
    annotation = parameter.annotation
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, getattr(inspect.unwrap(function), "__globals__", {}))  # noqa: S307  its author's own code
        except Exception:  # a name that is there for type checkers only
            annotation = parameter.empty
    if annotation is not parameter.empty:
        inner = [one for one in typing.get_args(annotation) if one is not type(None)]
        return (
            bool if inner == [bool] and typing.get_origin(annotation) in (typing.Union, types.UnionType) else annotation
        )
    return None if parameter.default in (parameter.empty, None) else type(parameter.default)


def _shown(value: Any) -> str:
    return str(value.name) if isinstance(value, enum.Enum) else str(value) if isinstance(value, Path) else repr(value)


def _descriptions(function: Callable[..., Any]) -> dict[str, str]:
    """Return what the section `Args:` of a docstring says of parameters."""
    return dict(_described(inspect.getdoc(function) or ""))


def _described(text: str) -> Iterator[tuple[str, str]]:
    section = text.partition("Args:\n")[2]
    for line in section.splitlines():
        found = re.match(r" +(\w+)(?: \([^)]*\))?: (.+)", line)
        if found:
            yield found[1], found[2]
        elif not line.startswith(" "):
            break
