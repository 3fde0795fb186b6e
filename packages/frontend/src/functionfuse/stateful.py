"""Names that let type checkers see what `@workflow` makes of a class. At run time they do nothing.

Checkers ignore what a decorator makes of a class, so the class says it itself:

    @workflow
    class Counter(Stateful):
        def __init__(self, start: int) -> None:
            self.value = start

        @makes_node
        def add(self, number: int) -> int:
            self.value += number
            return self.value
"""

from __future__ import annotations

from functionfuse._typing import Any, HasResult

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Self, overload

    from functionfuse._typing import P, R
    from functionfuse.nodes import Node

__all__ = ["Stateful", "makes_node"]


class Stateful(HasResult[Any]):
    """A base of classes that `@workflow` decorates: to type checkers, their objects have names as nodes have."""

    __slots__ = ()

    if TYPE_CHECKING:

        def set_name(self, name: str) -> Self:  # noqa: ARG002
            """Give the node of the object a name, unique in its graph, and return it."""
            return self

        def get_name(self) -> str | None:
            """Return the name given with `set_name`, or None."""
            return None

        @classmethod
        def __wrapped__(cls, *args: Any, **kwargs: Any) -> Self:
            """Return an object, for unit tests."""
            return cls(*args, **kwargs)


if TYPE_CHECKING:

    @overload
    def makes_node(method: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Node[R]]: ...
    @overload
    def makes_node(method: Callable[P, R]) -> Callable[P, Node[R]]: ...


def makes_node(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of a decorated class as it is; to type checkers, its calls make nodes."""
    return method
