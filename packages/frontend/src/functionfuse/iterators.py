"""Iterators, which the first that goes through them uses up, and which are no values for that reason."""

from __future__ import annotations

from types import AsyncGeneratorType, CoroutineType

from functionfuse.containers import ATOMS, CONTAINERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PLAIN = ATOMS | frozenset(CONTAINERS)
_CONTAINERS = frozenset({list, tuple, set, frozenset})
_USED_UP = frozenset({CoroutineType, AsyncGeneratorType})


def may_be_used_up(kind: type) -> bool:
    """Return True for types of iterators, coroutines and asynchronous generators, and for some others."""
    return hasattr(kind, "__next__") or kind in _USED_UP


def is_used_up(value: Any) -> bool:
    """Return True for an iterator, a coroutine or an asynchronous generator.

    An iterator is what has ``__next__`` and is what ``iter`` returns of it: generators, ``map``, ``zip``, files to read
    from, readers of CSV files, cursors of databases. What makes a new iterator each time, as lists and data loaders
    do, is none, and neither is a file that is only written to.
    """
    kind = type(value)
    if not hasattr(kind, "__next__"):
        return kind in _USED_UP
    try:
        return iter(value) is value and (not hasattr(kind, "readable") or bool(value.readable()))
    except TypeError:  # it has no __iter__
        return False
    except Exception:  # such as a closed file
        return True


def types_in(value: Any) -> set[type]:
    """Return the type of a value, and those of its items if it is a built-in container."""
    kind = type(value)
    if kind in _CONTAINERS:
        return {kind, *map(type, value)}
    if kind is dict:
        return {kind, *map(type, value.values())}
    return {kind}


def first_used_up(value: Any, kinds: set[type]) -> Any:
    """Return a value, or the first of its items, that is used up; None if there is none.

    Args:
        value: the value.
        kinds: its type, and those of its items.
    """
    if kinds <= _PLAIN:
        return None
    suspects = set(filter(may_be_used_up, kinds))
    if not suspects:
        return None
    items = (value.values() if type(value) is dict else value) if len(kinds) > 1 else ()
    return next((item for item in (value, *items) if type(item) in suspects and is_used_up(item)), None)


def remedy(value: Any) -> str:
    """Return what a value that is used up is, and what to write instead."""
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if kind in _USED_UP:
        return f"a {name}, which is used up once and is not a value: run it to its end inside the function"
    return f"an iterator, {name}, which is used up once and is not a value: use list(...) of it, or what it reads from"
