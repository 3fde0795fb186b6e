"""The one directive of the frontend: ``@workflow`` on a function or a class.

What it returns is called like the original, but a call makes a node of a graph. The original stays
reachable as ``__wrapped__``, for unit tests.
"""

from __future__ import annotations

import sys
from functools import update_wrapper

from functionfuse.errors import UsageError
from functionfuse.nodes import InstanceNode, Node
from functionfuse.targets import ClassTarget, FunctionTarget, Method, Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Method", "Target", "WorkflowClass", "WorkflowFunction", "reduce_class", "task", "workflow"]

_MAIN = frozenset({"__main__", "__mp_main__"})  # the second in processes that multiprocessing spawns
_NOT_VALUES = {0x20: "generator", 0x80: "coroutine", 0x200: "asynchronous generator"}  # inspect.CO_...


class WorkflowFunction(FunctionTarget):
    """A decorated function: calling it makes a `Node`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        update_wrapper(self, function)
        super().__init__(function)

    def __call__(self, /, *args: object, **kwargs: object) -> Node:
        self.check(args, kwargs)
        return Node(self, args, kwargs, sys._getframe(1))

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if instance is None:
            return self
        from types import MethodType

        return MethodType(self, instance)

    def __reduce__(self) -> str | tuple[Any, ...]:
        return _importable_name(self) or (WorkflowFunction, (self.function,))

    def __repr__(self) -> str:
        return f"<workflow function {self.qualname}>"


class WorkflowClass(ClassTarget):
    """A decorated class: calling it makes an `InstanceNode`."""

    def __init__(self, cls: type) -> None:
        update_wrapper(self, cls, updated=())
        super().__init__(cls)

    def __call__(self, /, *args: object, **kwargs: object) -> InstanceNode:
        self.check(args, kwargs)
        return InstanceNode(self, args, kwargs, sys._getframe(1))

    def __instancecheck__(self, value: object) -> bool:
        return isinstance(value, self.function)  # the objects that nodes get are of the plain class

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type]:
        return (self.function,)  # `class B(A)` derives from the plain class

    def __reduce__(self) -> str | tuple[Any, ...]:
        return _importable_name(self) or (WorkflowClass, (self.function,))

    def __repr__(self) -> str:
        return f"<workflow class {self.qualname}>"


def workflow(target: Callable[..., Any]) -> Any:
    """Turn calls of a function or class into nodes of a graph.

    The docstring and the signature are kept, and the plain function stays reachable as ``__wrapped__``.
    Arguments may be nodes, or hold them in lists, tuples, dicts, sets and frozensets at any depth.

    Args:
        target: a function or a class.

    Returns:
        An object that is called like the target and returns a `Node`.

    Raises:
        UsageError: not a function or class, or one whose result is not a value (a generator or coroutine).
            At a later call: the arguments do not fit the signature.
    """
    if isinstance(target, WorkflowFunction | WorkflowClass):
        return target
    if isinstance(target, type):
        return WorkflowClass(target)
    if not callable(target):
        raise UsageError(f"workflow decorates functions and classes, got {target!r}")
    flags = getattr(getattr(target, "__code__", None), "co_flags", 0)
    for flag, kind in _NOT_VALUES.items():
        if flags & flag:
            raise UsageError(
                f"{target.__qualname__} is a {kind} function: its result is consumed once and is not a value; "
                "decorate a function that returns a list, or that runs it to its end"
            )
    return WorkflowFunction(target)


task = workflow


def reduce_class(cls: object) -> tuple[Any, ...] | None:
    """Reduce a plain class under whose name its decorated class is found.

    A pickler finds the decorated class by that name, and so cannot refer to the plain one by the name alone.

    Returns:
        What `__reduce__` returns, or None for everything else.
    """
    if not isinstance(cls, type) or cls.__module__ in _MAIN:
        return None
    found: object = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        found = getattr(found, part, None)
    return (getattr, (found, "function")) if type(found) is WorkflowClass and found.function is cls else None


def _importable_name(target: WorkflowFunction | WorkflowClass) -> str | None:
    """Return the name under which another process can import what was decorated, or None."""
    module = getattr(target, "__module__", None)
    if module is None or module in _MAIN:
        return None
    found: object = sys.modules.get(module)
    for part in target.qualname.split("."):
        found = getattr(found, part, None)
    return target.qualname if found is target else None
