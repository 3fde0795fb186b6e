"""Edges that cannot work: nodes whose results, by the annotations, are certainly not what a parameter takes.

What a producer returns is compared with what the parameter takes by the built-in kinds of values (`annotated_kinds`).
An edge is refused if they have none in common. What is kept of annotations are kinds, with the function that has them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from inspect import Parameter, formatannotation
from itertools import repeat
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse.annotated_kinds import ANYTHING, item_of, kind_of, kinds_in, union
from functionfuse.containers import ATOMS, CONTAINERS, Nest
from functionfuse.deferred import Deferred
from functionfuse.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from functionfuse.annotated_kinds import Kinds
    from functionfuse.targets import CallCheck, Target

SWITCH = "FUNCTIONFUSE_CHECK_TYPES"
"""The environment variable that turns the check off if it is "0"."""


class Taken(NamedTuple):
    """What a parameter takes.

    Attributes:
        mask: the kinds of values that it takes.
        name: of the parameter.
        kinds: what its annotation says.
    """

    mask: int
    name: str
    kinds: Kinds


class EdgeCheck:
    """Checks the nodes among the arguments of one function.

    Args:
        positional: what the positional parameters take; None for one that takes anything.
        more: what further positional arguments have to be.
        by_name: what parameters take, by their names.
        others: what further keyword arguments have to be.
        node: the class of nodes.
    """

    __slots__ = ("_by_name", "_more", "_node", "_others", "_positional")

    def __init__(
        self,
        positional: tuple[Taken | None, ...],
        more: Taken | None,
        by_name: Mapping[str, Taken],
        others: Taken | None,
        node: type,
    ) -> None:
        self._positional = positional
        self._more = more
        self._by_name = by_name
        self._others = others
        self._node = node

    def check(self, target: Target, args: Sequence[object], kwargs: Mapping[str, object]) -> None:
        """Refuse a call in which a node certainly has another result than its parameter takes.

        Args:
            target: what is called.
            args: positional arguments.
            kwargs: keyword arguments.

        Raises:
            UsageError: there is such a node.
        """
        node = self._node
        for taken, value in zip(self._positional, args):  # noqa: B905  either may be longer
            if taken is None:
                continue
            if type(value) is node:  # which most are, and fit; the rest takes longer
                returned = value._target.check.returns  # type: ignore[attr-defined]
                if returned is not None and returned[0] & taken[0]:
                    continue
            elif type(value) in ATOMS:
                continue
            _check(target, taken, taken.kinds, value)
        if self._more is not None:
            for value in args[len(self._positional) :]:
                _check(target, self._more, self._more.kinds, value)
        for name, value in kwargs.items():
            taken = self._by_name.get(name, self._others)
            if taken is not None:
                _check(target, taken, taken.kinds, value)


def edge_check_of(check: CallCheck, node: type) -> EdgeCheck | None:
    """Return what checks the nodes among the arguments of a function; None if its annotations say nothing.

    Args:
        check: of the arguments of the function.
        node: the class of nodes.
    """
    function: Any = check.function
    try:
        if not _is_plain(function):
            return None
        taken = [(one.kind, _taken_by(one, function)) for one in check.signature().parameters.values()]
    except Exception:  # a default or a signature that is none
        return None
    if not any(one for _, one in taken):
        return None
    positional = [one for kind, one in taken if kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    by_name = [one for kind, one in taken if kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)]
    more = next((one for kind, one in taken if kind is Parameter.VAR_POSITIONAL), None)
    others = next((one for kind, one in taken if kind is Parameter.VAR_KEYWORD), None)
    return EdgeCheck(tuple(positional), more, {one.name: one for one in by_name if one is not None}, others, node)


def _taken_by(parameter: Parameter, function: FunctionType) -> Taken | None:
    """Return what a parameter takes, with a default of another kind than its annotation; None for anything."""
    if parameter.annotation is parameter.empty:
        return None
    kinds = kinds_in(parameter.annotation, function)
    mask = kinds.mask | kind_of(parameter.default)
    return None if kinds == ANYTHING else Taken(mask, parameter.name, kinds._replace(mask=mask))


def _returned_by(target: Target) -> Kinds:
    """Return what the annotation of a function says of its result, which is read once."""
    kinds, function = ANYTHING, target.check.function
    if target.kind != "constructor" and _is_plain(function):
        with suppress(Exception):  # annotations that cannot be evaluated
            annotations = function.__annotations__
            if "return" in annotations:
                kinds = kinds_in(annotations["return"], function)  # type: ignore[arg-type]
    target.check.returns = kinds
    return kinds


def _is_plain(function: Any) -> bool:
    """Return True for a function whose annotations are its own, not those of a function that it wraps."""
    return type(function) is FunctionType and not hasattr(function, "__wrapped__")


# -- the edges of a call


def _check(target: Target, taken: Taken, kinds: Kinds, value: Any) -> None:
    """Refuse a node, an item of one, or a container of some, that does not fit."""
    if isinstance(value, Deferred):
        producer = value._node._target if value._path else value._target
        returned = producer.check.returns or _returned_by(producer)
        for key in value._path:
            returned = item_of(returned, key)
        if not returned.mask & kinds.mask and os.environ.get(SWITCH) != "0":
            raise UsageError(_message(target, taken, value, producer, is_item=kinds is not taken.kinds))
    elif type(value) is Nest:
        _check_items(target, taken, kinds, value.value)


def _check_items(target: Target, taken: Taken, kinds: Kinds, value: Any) -> None:
    """Check the items of a container, as far as the annotation describes them."""
    for item, of_item in zip(value.values() if isinstance(value, dict) else value, _of_items(kinds, value)):  # noqa: B905
        if isinstance(item, CONTAINERS):
            _check_items(target, taken, of_item, item)
        else:
            _check(target, taken, of_item, item)


def _of_items(kinds: Kinds, value: Any) -> Iterable[Kinds]:
    """Return what an annotation says of the items of a container, in their order; nothing if it does not describe them.

    Args:
        kinds: what it says of the container.
        value: the container.
    """
    forms = {container.form for container in kinds.containers}
    if "any" in forms or (isinstance(value, dict) and forms != {"dict"}):
        return ()
    tuples = [one.items for one in kinds.containers if one.form == "tuple" and len(one.items) == len(value)]
    alike = [one.items[0] for one in kinds.containers if one.form == ("dict" if isinstance(value, dict) else "list")]
    if not tuples:
        return repeat(union(alike)) if alike else ()
    if not isinstance(value, list | tuple):
        return ()
    return [union([*alike, *several]) for several in zip(*tuples, strict=True)]


def _message(target: Target, taken: Taken, value: Any, producer: Target, *, is_item: bool) -> str:
    takes = _text_of(target.check.signature().parameters[taken.name].annotation)
    returns = _text_of(producer.check.function.__annotations__["return"])
    verb = "holds" if is_item else "got"
    return (
        f"{target.qualname}: parameter {taken.name!r} is annotated {takes}, but {verb} {value!r}, and "
        f"{producer.qualname} returns {returns}; pass another node, convert the result in a decorated function, or "
        f"correct the annotation that is wrong ({SWITCH}=0 turns this check off)"
    )


def _text_of(annotation: Any) -> str:
    if isinstance(annotation, str):
        return annotation
    try:
        return formatannotation(annotation)
    except Exception:  # of something in an `Annotated`
        return type(annotation).__name__
