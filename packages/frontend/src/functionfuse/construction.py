"""Decorated classes: the class itself, with a constructor that makes nodes when the user's program calls it.

The class is changed in place, so that it stays a class for its own code and for everyone who looks at it: attributes,
`super()`, patterns, subclasses, pickling by name. Three hooks stand in its namespace:

- ``__new__`` makes a node; in the class's own code, which is plain Python, an object, unless the arguments hold nodes;
- ``__reduce_ex__`` lets pickles and copies of an object make an object, not a node;
- ``__wrapped__`` makes an object when it is called, for unit tests.

A subclass inherits them, and is plain: its calls make objects.
"""

from __future__ import annotations

import sys
from copyreg import __newobj__, __newobj_ex__  # type: ignore[attr-defined]  # what pickled objects are made with
from functools import partial
from types import new_class

from functionfuse.hidden import first_node
from functionfuse.nodes import InstanceNode
from functionfuse.targets import CallCheck, ClassTarget

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from inspect import Signature
    from types import FrameType
    from typing import Any

_COPIES = frozenset({"dataclasses", "attr._funcs", "attr._make", "sklearn.base"})
"""Modules whose functions make an object like another, of that object's class."""
_SHOWN = ("__module__", "__doc__", "__firstlineno__")


class _Hook:
    """Stands in a decorated class's namespace instead of one of its attributes.

    Args:
        plain: that attribute of the class's own, or None.
    """

    name = ""

    def __init__(self, plain: Any = None) -> None:
        self.plain = plain

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.plain,)

    def stands_in(self, cls: type) -> bool:
        """Return True for the decorated class, False for its subclasses."""
        return cls.__dict__.get(self.name) is self

    def original(self, of: object, cls: type) -> Any:
        """Return the attribute that the hook stands for, own or inherited.

        Args:
            of: the class, or an object of it, whose attribute it is.
            cls: the class.
        """
        if self.plain is not None:
            return self.plain.__get__(None if of is cls else of, cls)
        owner = next(base for base in cls.__mro__ if self.stands_in(base))
        return getattr(super(owner, of), self.name)


class Constructor(_Hook):
    """``__new__`` of a decorated class.

    Attributes:
        decorated: the class, once it is known.
    """

    name = "__new__"
    decorated: type | None = None
    _target: ClassTarget | None = None

    def __call__(self, cls: type, /, *args: Any, **kwargs: Any) -> Any:
        frame = sys._getframe(1)
        if not self.stands_in(cls) or frame.f_globals is _OWN_GLOBALS:
            return self._make(cls, args, kwargs)
        while frame.f_back is not None and frame.f_globals.get("__name__") == "typing":  # as in C[int](1)
            frame = frame.f_back
        if _wants_object(frame, cls) and first_node((*args, *kwargs.values())) is None:
            return self._make(cls, args, kwargs)
        target = self.target(cls)
        target.check(args, kwargs)
        return InstanceNode(target, args, kwargs, frame)

    @property
    def __signature__(self) -> Signature:
        if self.decorated is None:
            raise AttributeError("the class is not known yet")
        return self.target(self.decorated).check.whole_signature()

    def target(self, cls: type) -> ClassTarget:
        """Return what the nodes of a decorated class call."""
        target = self._target
        if target is None or target.cls is not cls:
            check = CallCheck(self._called(cls), cls.__qualname__, skip=1)
            target = self._target = _Target(cls, partial(construct, cls), check)
        return target

    def _make(self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        new = self.original(cls, cls)
        if new is not object.__new__:
            return new(cls, *args, **kwargs)
        if (args or kwargs) and getattr(cls, "__init__") is object.__init__:  # noqa: B009
            raise TypeError(f"{cls.__name__}() takes no arguments")
        return new(cls)

    def _called(self, cls: type) -> Any:
        """Return the function whose parameters, after the first, are those of the class."""
        for base in cls.__mro__[:-1]:
            new = vars(base).get("__new__")
            new = new.plain if isinstance(new, Constructor) else new
            if new is not None:
                return getattr(new, "__func__", new)
            if "__init__" in vars(base):
                return vars(base)["__init__"]
        return _takes_nothing


class _Reduction(_Hook):
    """``__reduce_ex__`` of a decorated class."""

    name = "__reduce_ex__"

    def __get__(self, instance: Any, cls: type) -> Any:
        return self if instance is None else partial(self._reduce, instance)

    def _reduce(self, instance: Any, protocol: int) -> Any:
        reduced = self.original(instance, type(instance))(protocol)
        if isinstance(reduced, tuple) and (reduced[0] in (__newobj__, __newobj_ex__) or is_decorated(reduced[0])):
            return construct, (reduced[0], *reduced[1]), *reduced[2:]
        return reduced


class _Plain(_Hook):
    """``__wrapped__`` of a decorated class."""

    name = "__wrapped__"
    _made: PlainClass | None = None

    def __get__(self, instance: object, cls: type) -> PlainClass:
        if instance is not None or not self.stands_in(cls):
            raise AttributeError(f"{cls.__qualname__!r} has no attribute {self.name!r}")
        if self._made is None or self._made.decorated is not cls:
            copied = {name: value for name, value in vars(cls).items() if name in _SHOWN}
            self._made = PlainClass(cls.__name__, (), {**copied, "__qualname__": cls.__qualname__, "decorated": cls})
        return self._made


class PlainClass(type):
    """Stands for a decorated class, and is called like it, but makes objects.

    It is a class for `inspect`, which looks behind ``__wrapped__`` for source code and signature.
    """

    decorated: type

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        """Return a class; a subclass of a plain class is one of the decorated class."""
        if not bases:
            return super().__new__(cls, name, bases, namespace)
        bases = tuple(base.decorated if isinstance(base, PlainClass) else base for base in bases)
        return new_class(name, bases, exec_body=lambda body: body.update(namespace))

    def __call__(cls, /, *args: Any, **kwargs: Any) -> Any:
        return construct(cls.decorated, *args, **kwargs)

    @property
    def __signature__(cls) -> Signature:
        return target_of(cls.decorated).check.signature()

    def __getattr__(cls, name: str) -> Any:
        if name == "__wrapped__":
            raise AttributeError(name)
        return getattr(cls.decorated, name)

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, cls.decorated)

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, cls.decorated)


class _Target(ClassTarget):
    """What nodes of a decorated class call; it leaves the process with the class."""

    def __reduce__(self) -> tuple[Any, ...]:
        return target_of, (self.cls,)


def decorate(cls: type) -> None:
    """Let calls of a class make nodes.

    Raises:
        TypeError: the class cannot be changed.
    """
    for hook in (_Plain, _Reduction, Constructor):
        type.__setattr__(cls, hook.name, hook(vars(cls).get(hook.name)))
    vars(cls)["__new__"].decorated = cls


def is_decorated(value: object) -> bool:
    """Return True for a class whose calls make nodes."""
    return isinstance(value, type) and isinstance(vars(value).get("__new__"), Constructor)


def target_of(cls: type) -> ClassTarget:
    """Return what the nodes of a decorated class call."""
    constructor: Constructor = vars(cls)["__new__"]
    return constructor.target(cls)


def construct(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a decorated class, or what calls one, for an object and not for a node.

    Args:
        function: the class or function.
        args: positional arguments.
        kwargs: keyword arguments.
    """
    return function(*args, **kwargs)


def _wants_object(frame: FrameType, cls: type) -> bool:
    """Return True if a call is made by the code of a class or its bases, or by what copies and unpickles objects."""
    code, module = frame.f_code, frame.f_globals.get("__name__")
    if module in _COPIES or "__new__" in code.co_names:  # it calls `cls.__new__(cls)`
        return True
    # By the name alone: of a class that was pickled by value, cloudpickle forgets in which function it was defined.
    path = f".{code.co_qualname}"
    return "." in path[1:] and any(f".{b.__name__}." in path and b.__module__ == module for b in cls.__mro__[:-1])


def _takes_nothing(self: object) -> None:
    """Have the parameters of a class without a constructor."""


_OWN_GLOBALS = globals()
