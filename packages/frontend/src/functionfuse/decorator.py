"""The one directive of the frontend: ``@workflow`` on a function or a class.

What it returns is called like the original, but a call makes a node of a graph. The original stays
reachable as ``__wrapped__``, for unit tests.
"""

from __future__ import annotations

import sys
from functools import update_wrapper

from functionfuse.errors import UsageError
from functionfuse.nodes import InstanceNode, Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from inspect import Signature
    from typing import Any, TypeAlias

    Target: TypeAlias = "WorkflowFunction | WorkflowClass | Method"

_NOT_VALUES = {0x20: "generator", 0x80: "coroutine", 0x200: "asynchronous generator"}  # inspect.CO_...
_SHAPES_KEPT = 256
_PROBED = ("__", "_repr_", "_ipython_")
"""Names that Python and notebooks look for and call by themselves; that must not make nodes."""


class CallCheck:
    """Checks arguments against a signature, as Python would at the call.

    Whether a call fits depends only on the number of positional arguments and the names of the others, so
    each such shape is bound once.
    """

    __slots__ = ("_callable", "_known", "_name", "_signature", "_skip")

    def __init__(self, function: Callable[..., object], name: str, *, skip: int = 0) -> None:
        self._callable = function
        self._name = name
        self._skip = skip  # leading parameters that Python fills in: self
        self._signature: Signature | None = None
        self._known: set[object] = set()

    def __call__(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
        shape = (len(args), *kwargs) if kwargs else len(args)
        if shape in self._known:
            return
        signature = self._signature or self._read()
        if signature is not None:
            try:
                signature.bind(*(None,) * self._skip, *args, **kwargs)
            except TypeError as error:
                raise UsageError(f"{self._name}{signature}: {error}") from None
        if len(self._known) < _SHAPES_KEPT:
            self._known.add(shape)

    def signature(self) -> Signature:
        """Return the signature, without the parameters that Python fills in itself."""
        signature = self._signature or self._read()
        if signature is None:
            raise UsageError(f"{self._name} does not tell its parameters")
        return signature.replace(parameters=list(signature.parameters.values())[self._skip :])

    def _read(self) -> Signature | None:
        import inspect  # not needed to import the package

        try:
            self._signature = inspect.signature(self._callable)
        except ValueError:  # a builtin that does not tell
            return None
        return self._signature


class WorkflowFunction:
    """A decorated function: calling it makes a :class:`~functionfuse.nodes.Node`."""

    kind = "function"

    def __init__(self, function: Callable[..., Any]) -> None:
        update_wrapper(self, function)
        self.function = function
        self.qualname: str = getattr(function, "__qualname__", type(function).__name__)
        self.check = CallCheck(function, self.qualname)

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


class Method:
    """A method of a decorated class, as the target of a node."""

    kind = "method"

    def __init__(self, owner: WorkflowClass, name: str, function: Callable[..., Any], *, bound: bool) -> None:
        self.owner = owner
        self.name = name
        self.qualname = f"{owner.qualname}.{name}"
        self.check = CallCheck(function, self.qualname, skip=0 if bound else 1)

    def __reduce__(self) -> tuple[Any, ...]:
        return _method_of, (self.owner, self.name)

    def __repr__(self) -> str:
        return f"<workflow method {self.qualname}>"


class WorkflowClass:
    """A decorated class: calling it makes an :class:`~functionfuse.nodes.InstanceNode`."""

    kind = "constructor"

    def __init__(self, cls: type) -> None:
        update_wrapper(self, cls, updated=())
        self.function = cls
        self.qualname = cls.__qualname__
        self.check = CallCheck(cls, self.qualname)
        self.methods = _methods(self, cls)
        for name in ("set_name", "get_name"):
            if name in self.methods:
                raise UsageError(f"{self.qualname} has a method {name!r}, which every node has already; rename it")

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

    Raises:
        UsageError: not a function or class, or one whose result is not a value (a generator or coroutine).
            Later, at a call: the arguments do not fit the signature.
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


def _methods(owner: WorkflowClass, cls: type) -> dict[str, Method]:
    methods = {}
    for base in reversed(cls.__mro__[:-1]):
        for name, attribute in vars(base).items():
            if name.startswith(_PROBED) and name != "__call__":
                continue
            if isinstance(attribute, staticmethod):
                methods[name] = Method(owner, name, attribute.__func__, bound=True)
            elif isinstance(attribute, classmethod) or (callable(attribute) and not isinstance(attribute, type)):
                function: Any = getattr(attribute, "__func__", attribute)
                methods[name] = Method(owner, name, function, bound=False)
            else:
                methods.pop(name, None)
    return methods


def _method_of(owner: WorkflowClass, name: str) -> Method:
    return owner.methods[name]


def reduce_class(cls: object) -> tuple[Any, ...] | None:
    """How a pickler refers to a plain class under whose name the decorated one stands; None for all else.

    It finds the decorated one there, and so cannot refer to the class by its name alone.
    """
    if not isinstance(cls, type) or cls.__module__ == "__main__":
        return None
    found: object = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        found = getattr(found, part, None)
    return (getattr, (found, "function")) if type(found) is WorkflowClass and found.function is cls else None


def _importable_name(target: WorkflowFunction | WorkflowClass) -> str | None:
    """The name under which another process finds the decorated object by import, if it can."""
    module = getattr(target, "__module__", None)
    if module is None or module == "__main__":
        return None
    found: object = sys.modules.get(module)
    for part in target.qualname.split("."):
        found = getattr(found, part, None)
    return target.qualname if found is target else None
