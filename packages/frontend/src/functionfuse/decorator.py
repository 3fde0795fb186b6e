"""The one directive of the frontend: ``@workflow`` on a function or a class.

What it returns is called like the original, but a call makes a node of a graph. The original stays
reachable as ``__wrapped__``, for unit tests. A class stays the class that it is: see `functionfuse.construction`.
"""

from __future__ import annotations

import sys
from functools import update_wrapper
from types import GenericAlias

from functionfuse._typing import Generic, P, R
from functionfuse.construction import decorate, is_decorated, target_of
from functionfuse.errors import NodeAttributeError, UsageError
from functionfuse.nodes import InstanceNode, Node
from functionfuse.targets import CallCheck, ClassTarget, FunctionTarget, Method, Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any, NoReturn, Self, TypeVar, overload

    from functionfuse.stateful import Stateful

    S = TypeVar("S", bound=Stateful)

__all__ = [
    "Method",
    "Target",
    "WorkflowClass",
    "WorkflowFunction",
    "reduce_class",
    "target_called",
    "task",
    "workflow",
]

_MAIN = frozenset({"__main__", "__mp_main__"})  # the second in processes that multiprocessing spawns
_OF_NODES = frozenset({"set_name", "get_name", "run"})  # what beginners look for
_NOT_VALUES = {0x20: "generator", 0x200: "asynchronous generator"}  # inspect.CO_...


class WorkflowFunction(FunctionTarget, Generic[P, R]):
    """A decorated function: calling it makes a `Node`."""

    if TYPE_CHECKING:
        __name__: str
        __qualname__: str
        __wrapped__: Callable[P, R]
    else:
        __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, function: Callable[P, R]) -> None:
        update_wrapper(self, function)
        super().__init__(function)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Node[R]:
        self.check(args, kwargs)
        return Node(self, args, kwargs, sys._getframe(1))

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type | None = None) -> Self: ...
        @overload
        def __get__(self, instance: object, owner: type | None = None) -> Callable[..., Node[R]]: ...

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if instance is None:
            return self
        from types import MethodType

        return MethodType(self, instance)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            if name in _OF_NODES:
                raise NodeAttributeError(
                    f"{self!r} is no node and has no {name!r}; a call of it makes a node: {self.__name__}(...)"
                )
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __reduce__(self) -> str | tuple[Any, ...]:
        return _importable_name(self) or (WorkflowFunction, (self.function,))

    def __repr__(self) -> str:
        return f"<workflow function {self.qualname}>"


class WorkflowClass(ClassTarget):
    """Stands for a class that is not the decorator's to change: calling it makes an `InstanceNode`.

    Such are the classes of libraries and of Python, and any class that can be used by its own name already:
    ``Later = workflow(Plain)`` leaves ``Plain`` as it is.
    """

    def __init__(self, cls: type) -> None:
        update_wrapper(self, cls, updated=())
        super().__init__(cls, cls, CallCheck(cls, cls.__qualname__))

    def __call__(self, /, *args: object, **kwargs: object) -> InstanceNode:
        self.check(args, kwargs)
        return InstanceNode(self, args, kwargs, sys._getframe(1))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "cls" not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.cls, name)

    def __getitem__(self, parameters: Any) -> Any:
        return self.cls[parameters]  # type: ignore[index]

    def __or__(self, other: Any) -> Any:
        return self.cls | (other.cls if isinstance(other, WorkflowClass) else other)

    def __ror__(self, other: Any) -> Any:
        return other | self.cls

    def __instancecheck__(self, value: object) -> bool:
        return isinstance(value, self.cls)  # the objects that nodes get are of the plain class

    def __subclasscheck__(self, cls: type) -> bool:
        return issubclass(cls, self.cls)

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type]:
        return (self.cls,)  # `class B(A)` derives from the plain class

    def __reduce__(self) -> str | tuple[Any, ...]:
        return _importable_name(self) or (WorkflowClass, (self.cls,))

    def __repr__(self) -> str:
        return f"<workflow class {self.qualname}>"


if TYPE_CHECKING:

    @overload
    def workflow(target: type[S]) -> type[S]: ...  # type: ignore[overload-overlap]  # it is callable, too
    @overload
    def workflow(target: type[Any]) -> Any: ...
    @overload
    def workflow(target: WorkflowFunction[P, R]) -> WorkflowFunction[P, R]: ...
    @overload
    def workflow(target: Callable[P, Coroutine[Any, Any, R]]) -> WorkflowFunction[P, R]: ...
    @overload
    def workflow(target: Callable[P, R]) -> WorkflowFunction[P, R]: ...


def workflow(target: Callable[..., Any]) -> Any:
    """Turn calls of a function or class into nodes of a graph.

    The docstring and the signature are kept, and the plain function stays reachable as ``__wrapped__``.
    Arguments may be nodes, or hold them in lists, tuples, dicts, sets and frozensets at any depth. Coroutine functions
    (``async def``) and methods run to their end as others do.

    Args:
        target: a function or a class.

    Returns:
        What is called like the target and returns a `Node`: for a class that is being defined the class itself, for
        everything else an object that stands for it.

    Raises:
        UsageError: not a function or class, or a generator function, whose result is not a value, or a class of which
            no stateful object can be made (an enum, a protocol). At a later call: the arguments do not fit the
            signature.
    """
    if isinstance(target, WorkflowFunction | WorkflowClass) or is_decorated(target):
        return target
    if isinstance(target, type):
        return _decorated_class(target)
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


def target_called(decorated: Any) -> Target:
    """Return what the nodes of a decorated function or class call."""
    if isinstance(decorated, type):
        return target_of(decorated)
    target: Target = decorated
    return target


def reduce_class(cls: object) -> tuple[Any, ...] | None:
    """Reduce a plain class under whose name what stands for it is found.

    A pickler finds that by the name, and so cannot refer to the plain class by the name alone.

    Returns:
        What `__reduce__` returns, or None for everything else.
    """
    if not isinstance(cls, type) or cls.__module__ in _MAIN:
        return None
    found = _found_by_name(cls)
    return (getattr, (found, "cls")) if type(found) is WorkflowClass and found.cls is cls else None


def _decorated_class(cls: type) -> Any:
    enum = sys.modules.get("enum")
    if enum is not None and issubclass(cls, enum.Enum):
        raise UsageError(f"{cls.__qualname__} is an enum: its members are values already; use it without the decorator")
    if vars(cls).get("_is_protocol"):
        raise UsageError(f"{cls.__qualname__} is a protocol and has no objects; decorate the classes that implement it")
    for name in ("set_name", "get_name"):
        if callable(getattr(cls, name, None)):
            raise UsageError(f"{cls.__qualname__} has a method {name!r}, which every node has already; rename it")
    # A metaclass with a `__call__` of its own, as for singletons, decides itself what a call of the class does.
    if _found_by_name(cls) is cls or type(cls).__call__ is not type.__call__:
        return WorkflowClass(cls)
    try:
        decorate(cls)
    except TypeError:  # of an extension module
        return WorkflowClass(cls)
    return cls


def _found_by_name(target: Any) -> object:
    """Return what another process would import under the name of a function or class, or None."""
    found: object = sys.modules.get(getattr(target, "__module__", None) or "")
    for part in target.__qualname__.split("."):
        found = getattr(found, part, None)
    return found


def _importable_name(target: WorkflowFunction | WorkflowClass) -> str | None:
    """Return the name under which another process can import what was decorated, or None."""
    module = getattr(target, "__module__", None)
    if module is None or module in _MAIN:
        return None
    found: object = sys.modules.get(module)
    for part in target.qualname.split("."):
        found = getattr(found, part, None)
    return target.qualname if found is target else None
