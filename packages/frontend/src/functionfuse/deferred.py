"""What stands for a value that exists only once the workflow has run, and refuses to be used as that value."""

from __future__ import annotations

from functionfuse.containers import ATOMS
from functionfuse.errors import NodeAttributeError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


class Deferred:
    """A value that exists only once the workflow has run."""

    __slots__ = ("__weakref__",)

    __hash__ = object.__hash__  # graphs keep nodes in dicts and sets, by identity

    def __eq__(self, other: object) -> bool:
        return other is self or self._compared(other)

    def _compared(self, other: object) -> NoReturn:
        shown = repr(other) if type(other) in ATOMS or isinstance(other, Deferred) else f"a {type(other).__name__!r}"
        raise UsageError(
            f"{self!r} has no value before the workflow runs, so it cannot be compared with {shown}; "
            "compare inside a decorated function, or use `is` (a set or dict for many) to find the node itself"
        )

    __lt__ = __le__ = __gt__ = __ge__ = _compared

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

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UsageError(
            f"{self!r} cannot be pickled or copied, because it is part of a graph and not a value; "
            "pass it as an argument of a decorated function, or store the result of the run"
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python and notebooks probe for
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise NodeAttributeError(
            f"{self!r} has no value before the workflow runs, so it has no attribute {name!r}; "
            "read the attribute inside a decorated function"
        )
