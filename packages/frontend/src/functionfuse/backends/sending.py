"""Sending steps to other processes: what pickles by name, and whom to blame for what does not pickle."""

from __future__ import annotations

from types import BuiltinMethodType, MethodType
from typing import TYPE_CHECKING, Any

from functionfuse.decorator import reduce_class
from functionfuse.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from functionfuse.decorator import Target


def reduce_by_name(obj: object) -> tuple[Any, ...] | None:
    """How a pickler refers to what it must not copy; None for all else. For ``reducer_override``.

    A class under whose name its decorated one stands is referred to by that. By value, ``random.seed`` and what
    ``from random import random`` gives would take along a copy of the generator, in whose place the worker has
    one of its own.
    """
    if isinstance(obj, MethodType | BuiltinMethodType):
        from functionfuse.fingerprint.project import library_name  # not needed by most results

        named = library_name(obj)
        if named is not None:
            return getattr, named
    return reduce_class(obj)


def cannot_be_sent(
    name: str,
    target: Target,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    others: Mapping[str, Any],
    dumps: Callable[[Any], object],
    problem: Exception,
) -> NodeError:
    """Return the error of a step that cannot be pickled, which names the argument to blame.

    Args:
        name: the step's full name.
        target: what it calls.
        args: its positional arguments.
        kwargs: its keyword arguments.
        others: what else is sent, by what to call it.
        dumps: pickles one of them, or raises.
        problem: what pickling all of it raised.
    """
    named: dict[str, Any] = {f"argument {i}": value for i, value in enumerate(args)}
    named |= {f"argument {key!r}": value for key, value in kwargs.items()}
    named |= {**others, "the function": target}
    culprit = "the call"
    for what, value in named.items():
        try:
            dumps(value)
        except Exception as error:
            culprit, problem = f"{what} ({type(value).__name__})", error
            break
    failure = NodeError(
        f"node {name!r} cannot be sent to another process: {culprit} cannot be pickled "
        f"({type(problem).__name__}: {problem}); make it inside the function",
        name=name,
        function=target.qualname,
    )
    failure.__cause__ = problem
    return failure
