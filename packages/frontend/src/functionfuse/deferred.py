"""What stands for a value that exists only once the workflow has run, and refuses to be used as that value."""

from __future__ import annotations

from types import GenericAlias

from functionfuse._typing import HasResult, R
from functionfuse.containers import ATOMS
from functionfuse.errors import NodeAttributeError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, NoReturn

    class NoValueYet:
        """What checkers see of an expression that would need the value of a node: it fits no parameter."""

        __iter__: ClassVar[None]
        __contains__: ClassVar[None]

        def __bool__(self) -> NoValueYet:
            return self


class Deferred(HasResult[R]):
    """A value of the type `R` that exists only once the workflow has run."""

    __slots__ = ("__weakref__",)

    __hash__ = object.__hash__  # graphs keep nodes in dicts and sets, by identity

    if TYPE_CHECKING:  # what the methods below refuse; checkers report the use of what these return
        __iter__: ClassVar[None]
        __contains__: ClassVar[None]

        def _refused(self, other: object, /) -> NoValueYet:  # noqa: ARG002
            return NoValueYet()

        def _refused_alone(self) -> NoValueYet:
            return NoValueYet()

        __eq__ = __lt__ = __le__ = __gt__ = __ge__ = _refused  # type: ignore[assignment]
        __add__ = __sub__ = __mul__ = __matmul__ = __truediv__ = __floordiv__ = __mod__ = __pow__ = _refused
        __and__ = __or__ = __xor__ = _refused
        __bool__ = __neg__ = __pos__ = __invert__ = __abs__ = _refused_alone
    else:
        __class_getitem__ = classmethod(GenericAlias)

        def __eq__(self, other: object) -> bool:
            return other is self or self._compared(other)

        def _compared(self, other: object) -> NoReturn:
            shown = (
                repr(other) if type(other) in ATOMS or isinstance(other, Deferred) else f"a {type(other).__name__!r}"
            )
            raise UsageError(
                f"{self!r} has no value before the workflow runs, so it cannot be compared with {shown}; "
                "compare inside a decorated function, or use `is` (a set or dict for many) to find the node itself"
            )

        __lt__ = __le__ = __gt__ = __ge__ = _compared

        def __iter__(self) -> NoReturn:
            raise UsageError(
                f"{self!r} has no value before the workflow runs, so it cannot be iterated or unpacked; "
                "take items by index (node[0], node[1]), or loop inside a decorated function"
            )

        def __bool__(self) -> NoReturn:
            raise UsageError(
                f"{self!r} has no value before the workflow runs, so it is neither true nor false; "
                "decide inside a decorated function (it may return the nodes that run next), "
                "or compare with `is None`"
            )

        def __len__(self) -> NoReturn:
            raise UsageError(
                f"{self!r} has no value before the workflow runs, so it has no length; "
                "call len() inside a decorated function"
            )

        def __contains__(self, item: object) -> NoReturn:
            raise UsageError(
                f"{self!r} has no value before the workflow runs, so `in` cannot look into it; "
                "use `in` inside a decorated function"
            )

        def __await__(self) -> NoReturn:
            raise UsageError(
                f"{self!r} has no value before the workflow runs, so it cannot be awaited; pass it as an argument of a "
                "decorated function, and await the run: `await workflow.run_async()`"
            )

    def _computed(self, *_: object, **__: object) -> NoReturn:
        raise UsageError(
            f"{self!r} has no value before the workflow runs, so nothing can be computed from it; "
            "compute inside a decorated function that takes the node as an argument"
        )

    if not TYPE_CHECKING:
        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __matmul__ = __rmatmul__ = _computed
        __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = _computed
        __divmod__ = __rdivmod__ = __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = _computed
        __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = _computed
        __neg__ = __pos__ = __abs__ = __invert__ = __round__ = __trunc__ = __floor__ = __ceil__ = _computed
        __int__ = __float__ = __complex__ = __index__ = _computed
        __array_ufunc__ = __array_function__ = _computed  # what functions of numpy call

    def __fspath__(self) -> NoReturn:
        raise UsageError(
            f"{self!r} has no value before the workflow runs, so it is no path; "
            "open the file inside a decorated function that takes the node as an argument"
        )

    def __format__(self, spec: str) -> NoReturn:
        raise UsageError(
            f"{self!r} has no value before the workflow runs, so it cannot be part of a text; "
            "make the text inside a decorated function, or write {node!r} for a text that describes the node"
        )

    def __str__(self) -> str:
        from functionfuse._warning import warn_user  # rarely needed

        warn_user(
            f"the text of {self!r} describes the node: its value is not known before the workflow runs; "
            "make the text inside a decorated function, or use repr(node) to show the node"
        )
        return repr(self)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UsageError(
            f"{self!r} cannot be pickled or copied, because it is part of a graph and not a value; "
            "pass it as an argument of a decorated function, or store the result of the run"
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python and notebooks probe for
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if name == "run":
            raise NodeAttributeError(
                f"{self!r} does not run by itself; a workflow runs it: "
                "LocalWorkflow(node, workflow_name=...).run() of functionfuse.backends.builtin.localback"
            )
        raise NodeAttributeError(
            f"{self!r} has no value before the workflow runs, so it has no attribute {name!r}; "
            "read the attribute inside a decorated function"
        )
