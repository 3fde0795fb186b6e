"""Nodes that a workflow function makes and does not return, so that they never run."""

from __future__ import annotations

import threading
import warnings
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from functionfuse.construction import is_decorated
from functionfuse.decorator import WorkflowClass, WorkflowFunction, workflow
from functionfuse.graph import last_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_MOST = 200  # functions that are looked through


def warn_of_unreturned(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], mark: int
) -> None:
    """Warn if a function made nodes, and no graph of them; its result holds no node.

    Args:
        function: the function.
        args: positional arguments of its call.
        kwargs: keyword arguments of its call.
        mark: the serial number before that of the first node that the call could have made. Nodes were made since, but
            maybe by another thread: where there are several, a function has to know decorated ones.
    """
    if getattr(last_graph, "serial", -1) > mark:
        return  # it runs a workflow of its own
    plain = _plain_function(function)
    if not isinstance(plain, FunctionType):
        return
    if threading.active_count() > 1 and not _knows_decorated(plain, (*args, *kwargs.values())):
        return
    code = plain.__code__
    warnings.warn_explicit(
        f"{plain.__qualname__} made nodes and returned none of them, so they do not run; return the nodes (alone or in "
        "a list, tuple, dict or set), and they run in its place, or call the plain functions (`.__wrapped__`) in it",
        UserWarning,
        code.co_filename,
        code.co_firstlineno,
    )


def _plain_function(function: Any) -> Any:
    if isinstance(function, partial):
        function = function.args[0] if function.args and isinstance(function.args[0], type) else function.func
    if isinstance(function, type):
        return vars(function).get("__init__")
    return function.__func__ if isinstance(function, MethodType) else function


def _knows_decorated(function: FunctionType, arguments: tuple[Any, ...]) -> bool:
    """Return True if a decorated function or class is among what a function and its helpers refer to."""
    seen = {function}
    stack = [function]
    values: Iterator[Any] = iter(arguments)
    while True:
        for value in values:
            if value is workflow or isinstance(value, WorkflowFunction | WorkflowClass) or is_decorated(value):
                return True
            if isinstance(value, FunctionType) and value not in seen and len(seen) < _MOST:
                seen.add(value)
                stack.append(value)
        if not stack:
            return False
        values = _referred(stack.pop())


def _referred(function: FunctionType) -> Iterator[Any]:
    names = set(_names(function.__code__))
    for name in names:
        value = function.__globals__.get(name)
        yield value
        if isinstance(value, ModuleType):
            yield from (vars(value)[name] for name in names & vars(value).keys())
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a variable that is assigned later
            continue


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
