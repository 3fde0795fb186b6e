"""Nodes that are hidden in arguments, where no engine would replace them by their results.

Arguments are searched in lists, tuples, dicts, sets and frozensets. A node anywhere else is refused when the call is
made: in a deque, a view of a dict, an array or data frame, an attribute, a slot, a partial function or a closure. So is
an iterator, which is consumed once and is not a value.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from types import CellType, MemberDescriptorType, ModuleType

from functionfuse.containers import ATOMS, CONTAINERS
from functionfuse.deferred import Deferred
from functionfuse.errors import UsageError
from functionfuse.iterators import is_used_up, remedy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

_UNSEARCHED: Any = (deque, type({}.keys()), type({}.values()), type({}.items()), type(type.__dict__))
_HOLDERS = (*CONTAINERS, *_UNSEARCHED)
_PROXY = type(type.__dict__)


def refuse_hidden(value: object) -> None:
    """Refuse an argument, or an item of one, that is no node and no container but holds a node, or is an iterator.

    Raises:
        UsageError: the message says where the node is, and what to write instead.
    """
    kind = type(value)
    if is_used_up(value):
        raise UsageError(f"an argument is {remedy(value)}")
    if isinstance(value, _UNSEARCHED) or kind.__module__.partition(".")[0] in ("numpy", "pandas"):
        node = first_node(_items(value))
        if node is not None:
            raise UsageError(
                f"a {kind.__qualname__!r} holds {node!r}, whose value is not known yet, and is not searched for nodes; "
                "give the nodes in a list, tuple, dict or set, and make the other object in the decorated function"
            )
    if isinstance(value, ModuleType):
        return
    for name, attribute in _attributes(value):
        node = None if type(attribute) in ATOMS else first_node((attribute,))
        if node is not None:
            verb = "is" if node is attribute else "holds"
            raise UsageError(
                f"attribute {name!r} of {kind.__qualname__!r} {verb} {node!r}, whose value is not known yet; "
                "make the object in a decorated function that takes the node as an argument"
            )


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    kind: Any = type(value)
    for name, member in _members(kind):
        try:
            yield name, member.__get__(value)
        except AttributeError:  # a slot without a value
            continue
    if hasattr(value, "__dict__"):
        yield from list(vars(value).items())


@lru_cache(maxsize=1024)
def _members(kind: Any) -> tuple[tuple[str, MemberDescriptorType], ...]:
    """Return the slots of a class; attributes of slices, partial functions and other built-in objects are such too."""
    return tuple(
        (name, member)
        for base in kind.__mro__
        for name, member in vars(base).items()
        if isinstance(member, MemberDescriptorType) and name != "__dict__"
    )


def _items(value: Any) -> Iterable[object]:
    """Return the items of a container that arguments are not searched in, or of an array or frame of objects."""
    if isinstance(value, _PROXY):
        return [item for pair in value.items() for item in pair]
    if isinstance(value, _UNSEARCHED):
        return list(value)
    if hasattr(type(value), "select_dtypes"):
        return [value.select_dtypes("object").to_numpy().tolist()]
    is_of_objects = getattr(getattr(value, "dtype", None), "kind", "") == "O" and hasattr(value, "tolist")
    return [value.tolist()] if is_of_objects else ()


def first_node(items: Iterable[object]) -> Deferred | None:
    """Return the first node among items, and in containers among them at any depth."""
    stack = [items]
    seen: dict[int, object] = {}  # by id, which lasts as long as the object
    while stack:
        items = stack.pop()
        if ATOMS.issuperset(map(type, items)):
            continue
        for item in items:
            if isinstance(item, Deferred):
                return item
            if isinstance(item, CellType):
                item = _content(item)
                if isinstance(item, Deferred):
                    return item
            if isinstance(item, _HOLDERS) and id(item) not in seen:
                seen[id(item)] = item
                pairs = item.items() if isinstance(item, (dict, _PROXY)) else ()
                stack.append([part for pair in pairs for part in pair] or list(item))
    return None


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that is assigned later
        return None
