"""Nodes that are hidden in arguments, where no engine would replace them by their results.

Arguments are searched in lists, tuples, dicts, sets and frozensets. A node anywhere else is refused when the call is
made: in a deque, a view of a dict, an array or data frame, an attribute, a slot, a partial function or a closure. So is
an iterator, which is consumed once and is not a value.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from types import CellType, FunctionType, MemberDescriptorType, ModuleType

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
_OF_MODULE = frozenset({"__globals__", "__builtins__"})  # of a function; they are no part of what it holds
_MOST_OBJECTS = 20


def refuse_hidden(value: object) -> None:
    """Refuse an argument, or an item of one, that is no node and no container but holds a node, or is an iterator.

    Of what an object holds, a number of further objects is searched too.

    Raises:
        UsageError: the message says where the node is, and what to write instead.
    """
    kind: Any = type(value)
    if _search_of(kind).may_be_used_up and is_used_up(value):
        raise UsageError(f"an argument is {remedy(value)}")
    objects = [value]
    for one in objects:
        within: list[object] = []
        _refuse_within(one, within)
        for found in within:
            kind = type(found)
            if len(objects) < _MOST_OBJECTS and _search_of(kind).is_entered:
                objects.append(found)


def _refuse_within(value: object, others: list[object]) -> None:
    """Refuse an object that holds a node in its items or attributes.

    Args:
        value: the object.
        others: takes the other objects among these.
    """
    kind: Any = type(value)
    search = _search_of(kind)
    if search.has_items:
        items = _items(value)
        node = first_node(items, others) if items else None
        if node is not None:
            raise UsageError(
                f"a {kind.__qualname__!r} holds {node!r}, whose value is not known yet, and is not searched for nodes; "
                "give the nodes in a list, tuple, dict or set, and make the other object in the decorated function"
            )
    for name, attribute in _attributes(value, search):
        if type(attribute) in ATOMS:
            continue
        node = first_node((attribute,), others)
        if node is not None:
            verb = "is" if node is attribute else "holds"
            raise UsageError(
                f"attribute {name!r} of {kind.__qualname__!r} {verb} {node!r}, whose value is not known yet; "
                "make the object in a decorated function that takes the node as an argument"
            )


class _Search:
    """What is searched in objects of a type; the attributes of built-in objects are members as slots are."""

    __slots__ = ("has_items", "is_entered", "may_be_used_up", "members")

    def __init__(self, kind: type) -> None:
        is_of_arrays = kind.__module__.partition(".")[0] in ("numpy", "pandas")
        self.may_be_used_up = may_be_used_up(kind)
        self.has_items = issubclass(kind, (*_UNSEARCHED, BaseException)) or is_of_arrays
        self.is_entered = not is_of_arrays and not issubclass(kind, (*ATOMS, type, ModuleType))
        self.members = tuple(
            (name, member)
            for base in kind.__mro__
            for name, member in vars(base).items()
            if isinstance(member, MemberDescriptorType) and name != "__dict__" and name not in _OF_MODULE
        )


_search_of = lru_cache(maxsize=1024)(_Search)


def _attributes(value: object, search: _Search) -> Iterator[tuple[str, object]]:
    for name, member in search.members:
        try:
            yield name, member.__get__(value)
        except AttributeError:  # a slot without a value
            continue
    if isinstance(value, FunctionType):
        yield from (("__defaults__", value.__defaults__), ("__kwdefaults__", value.__kwdefaults__))
    if hasattr(value, "__dict__") and not isinstance(value, ModuleType):
        yield from list(vars(value).items())


def _items(value: Any) -> Sequence[object]:
    """Return the items of a container that arguments are not searched in, or of an array or frame of objects."""
    if isinstance(value, _PROXY):
        return [item for pair in value.items() for item in pair]
    if isinstance(value, _UNSEARCHED):
        return list(value)
    if isinstance(value, BaseException):
        return value.args
    if hasattr(type(value), "select_dtypes"):
        return [value.select_dtypes("object").to_numpy().tolist()]
    is_of_objects = getattr(getattr(value, "dtype", None), "kind", "") == "O" and hasattr(value, "tolist")
    return [value.tolist()] if is_of_objects else ()


def first_node(items: Iterable[object], others: list[object] | None = None) -> Deferred | None:
    """Return the first node among items, and in containers among them at any depth.

    Args:
        items: among which nodes are searched.
        others: takes what is neither a node nor a container.
    """
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
            elif others is not None and len(others) < _MOST_OBJECTS:
                others.append(item)
    return None


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that is assigned later
        return None
