"""Built-in containers, in which arguments hold nodes at any depth."""

from __future__ import annotations

from itertools import chain
from operator import is_

from functionfuse.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

CONTAINERS = (list, tuple, dict, set, frozenset)
ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})
"""Types whose values hold no nodes and are passed on as they are."""


class Nest:
    """A container that holds, at some depth, items that will be replaced by values."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Nest({self.value!r})"


def rebuild(value: object, leaf: Callable[[Any], object]) -> Any:
    """Copy a container, replacing every item that is not a container by ``leaf(item)``.

    Keys of dicts are items too. Lists, dicts and sets become new objects, so that a later change of the
    original does not reach the copy. Immutable containers, and instances of subclasses, are kept where
    nothing in them changed. Works without recursion, so depth is bounded by memory alone.

    Args:
        value: a container; for any other value, ``leaf(value)`` is returned.
        leaf: returns what replaces an item.

    Raises:
        UsageError: a container holds itself.
    """
    if not isinstance(value, CONTAINERS):
        return leaf(value)
    stack = [_Copy(value)]
    within = {id(value)}
    while True:
        top = stack[-1]
        for item in top.rest:
            if isinstance(item, CONTAINERS):
                if id(item) in within:
                    raise UsageError(f"a {type(item).__name__} that contains itself cannot be an argument")
                within.add(id(item))
                stack.append(_Copy(item))
                break
            top.items.append(leaf(item))
        else:
            stack.pop()
            within.discard(id(top.original))
            if not stack:
                return top.finish()
            stack[-1].items.append(top.finish())


class _Copy:
    """A container whose copy is being made."""

    __slots__ = ("items", "original", "rest")

    def __init__(self, original: Any) -> None:
        self.original = original
        if ATOMS.issuperset(map(type, _items(original))):
            self.items = list(_items(original))  # nothing to replace: copied as a whole
            self.rest: Iterator[object] = iter(())
        else:
            self.items = []
            self.rest = _items(original)

    def finish(self) -> object:
        original, items = self.original, self.items
        kind = type(original)
        if kind is list:
            return items
        if kind is dict:
            return _pairs(items)
        if kind is set:
            return set(items)
        if all(map(is_, _items(original), items)):
            return original
        if kind is tuple or kind is frozenset:
            return kind(items)
        return _like(original, items)


def _items(container: Any) -> Iterator[object]:
    if isinstance(container, dict):
        return chain.from_iterable(container.items())
    return iter(container)


def _pairs(items: list[Any]) -> dict[Any, object]:
    return dict(zip(items[::2], items[1::2], strict=True))


def _like(original: Any, items: list[object]) -> object:
    """Return an instance of the same subclass with other items."""
    if isinstance(original, tuple):
        make: Callable[[Iterable[object]], object] = getattr(original, "_make", type(original))
        return make(items)
    if isinstance(original, frozenset):
        return type(original)(items)
    from copy import copy  # rarely needed

    twin = copy(original)
    twin.clear()
    if isinstance(twin, dict):
        twin.update(_pairs(items))
    elif isinstance(twin, list):
        twin.extend(items)
    else:
        twin.update(items)
    return twin
