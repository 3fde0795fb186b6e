"""What nodes call: decorated functions and classes, and the methods of these, with the check of their arguments.

A target knows nothing of nodes, so that it can leave the process without them.
"""

from __future__ import annotations

from functools import partial

from functionfuse.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from inspect import Signature
    from typing import Any, Literal

_SHAPES_KEPT = 256
_COROUTINE = 0x80  # inspect.CO_COROUTINE
_PROBED = ("__", "_repr_", "_ipython_")
"""Prefixes of names that Python and notebooks look up and call by themselves, which must not make nodes."""


class CallCheck:
    """Checks arguments against a signature, as Python does at a call.

    Whether a call fits depends only on the number of positional arguments and the names of the others, so
    each such shape is bound once.

    Args:
        function: what will be called.
        name: what error messages call it.
        skip: how many leading parameters Python fills in, like ``self``.

    Attributes:
        function: what will be called.
        edges: checks the nodes among arguments by the annotations of the parameters; False if these say nothing, None
            before they are read.
        returns: what the annotation of the result says; None before it is read.
    """

    __slots__ = ("_known", "_name", "_signature", "_skip", "edges", "function", "returns")

    def __init__(self, function: Callable[..., object], name: str, *, skip: int = 0) -> None:
        self.function = function
        self._name = name
        self._skip = skip
        self._signature: Signature | None = None
        self._known: set[object] = set()
        self.edges: Callable[[Any, tuple[object, ...], Mapping[str, object]], None] | Literal[False] | None = None
        self.returns: Any = None

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
        """Return the signature, without the parameters that Python fills in itself.

        Raises:
            UsageError: it cannot be found out, as for some functions written in C.
        """
        signature = self.whole_signature()
        return signature.replace(parameters=list(signature.parameters.values())[self._skip :])

    def whole_signature(self) -> Signature:
        """Return the signature, ``self`` included.

        Raises:
            UsageError: it cannot be found out, as for some functions written in C.
        """
        signature = self._signature or self._read()
        if signature is None:
            raise UsageError(f"{self._name} has no signature: its parameters are not known to Python")
        return signature

    def _read(self) -> Signature | None:
        import inspect  # not needed to import the package

        try:
            self._signature = inspect.signature(self.function)
        except ValueError:  # a builtin without a signature
            return None
        return self._signature


class FunctionTarget:
    """A function that nodes call.

    Args:
        function: the plain function.

    Attributes:
        is_async: whether it is a coroutine function.
    """

    kind = "function"

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.qualname: str = getattr(function, "__qualname__", type(function).__name__)
        self.check = CallCheck(function, self.qualname)
        self.is_async = is_coroutine_function(function)


class ClassTarget:
    """A class whose constructor nodes call.

    Args:
        cls: the class.
        function: makes an object of it.
        check: of the arguments that it takes.

    Attributes:
        methods: name to method, those of base classes included.
    """

    kind = "constructor"
    is_async = False

    def __init__(self, cls: type, function: Callable[..., Any], check: CallCheck) -> None:
        self.cls = cls
        self.__module__ = cls.__module__
        self.function = function
        self.qualname = cls.__qualname__
        self.check = check
        self.methods = _methods(self, cls)


class Method:
    """A method of a decorated class.

    Args:
        owner: the class.
        name: the method's name.
        function: the plain function.
        bound: whether it takes all of its arguments from the caller, as a static method does.

    Attributes:
        is_async: whether it is a coroutine function.
    """

    kind = "method"

    def __init__(self, owner: ClassTarget, name: str, function: Callable[..., Any], *, bound: bool) -> None:
        self.owner = owner
        self.name = name
        self.qualname = f"{owner.qualname}.{name}"
        self.check = CallCheck(function, self.qualname, skip=0 if bound else 1)
        self.is_async = is_coroutine_function(function)

    def __reduce__(self) -> tuple[Any, ...]:
        return _method_of, (self.owner, self.name)

    def __repr__(self) -> str:
        return f"<workflow method {self.qualname}>"


Target = FunctionTarget | ClassTarget | Method


def is_coroutine_function(function: Any) -> bool:
    """Return True if a function is defined with ``async def``, also that of a partial or of a callable object.

    Any other function may return a coroutine, too, which only a call shows.
    """
    while isinstance(function, partial):
        function = function.func
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return bool(getattr(code, "co_flags", 0) & _COROUTINE)


def _methods(owner: ClassTarget, cls: type) -> dict[str, Method]:
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
            elif hasattr(type(attribute), "__get__") and callable(found := getattr(base, name, None)):
                methods[name] = Method(owner, name, found, bound=False)  # as of functools.singledispatchmethod
            else:
                methods.pop(name, None)
    return methods


def _method_of(owner: ClassTarget, name: str) -> Method:
    return owner.methods[name]
