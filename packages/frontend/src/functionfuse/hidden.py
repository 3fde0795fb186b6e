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
from functionfuse.iterators import is_used_up, may_be_used_up, remedy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

_UNSEARCHED: Any = (deque, type({}.keys()), type({}.values()), type({}.items()), type(type.__dict__))
_HOLDERS = (*CONTAINERS, *_UNSEARCHED)
_PROXY = type(type.__dict__)


def refuse_hidden(value: object) -> None:
    """Refuse an argument, or an item of one, that is no node and no container but holds a node, or is an iterator.

    Raises:
        UsageError: the message says where the node is, and what to write instead.
    """
    kind: Any = type(value)
    search = _search_of(kind)
    if search.may_be_used_up and is_used_up(value):
        raise UsageError(f"an argument is {remedy(value)}")
    if search.has_items:
        items = _items(value)
        node = first_node(items) if items else None
        if node is not None:
            raise UsageError(
                f"a {kind.__qualname__!r} holds {node!r}, whose value is not known yet, and is not searched for nodes; "
                "give the nodes in a list, tuple, dict or set, and make the other object in the decorated function"
            )
    for name, attribute in _attributes(value, search):
        if type(attribute) in ATOMS:
            continue
        node = first_node((attribute,))
        if node is not None:
            verb = "is" if node is attribute else "holds"
            raise UsageError(
                f"attribute {name!r} of {kind.__qualname__!r} {verb} {node!r}, whose value is not known yet; "
                "make the object in a decorated function that takes the node as an argument"
            )


class _Search:
    """What is searched in objects of a type; the attributes of built-in objects are members as slots are."""

    __slots__ = ("has_items", "may_be_used_up", "members")

    def __init__(self, kind: type) -> None:
        self.may_be_used_up = may_be_used_up(kind)
        self.has_items = issubclass(kind, _UNSEARCHED) or kind.__module__.partition(".")[0] in ("numpy", "pandas")
        self.members = tuple(
            (name, member)
            for base in kind.__mro__
            for name, member in vars(base).items()
            if isinstance(member, MemberDescriptorType) and name != "__dict__"
        )


_search_of = lru_cache(maxsize=1024)(_Search)


def _attributes(value: object, search: _Search) -> Iterator[tuple[str, object]]:
    for name, member in search.members:
        try:
            yield name, member.__get__(value)
        except AttributeError:  # a slot without a value
            continue
    if hasattr(value, "__dict__") and not isinstance(value, ModuleType):
        yield from list(vars(value).items())


def _items(value: Any) -> Sequence[object]:
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
