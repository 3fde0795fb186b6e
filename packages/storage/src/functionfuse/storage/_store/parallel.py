"""Requests of which several are under way at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")
U = TypeVar("U")

_THREADS = 8


def in_threads(function: Callable[[T], U], items: Iterable[T]) -> list[U]:
    """Return what a function that waits for a disk or a server returns for each of some items, in their order.

    Args:
        function: called in several threads at a time.
        items: what it is called with.
    """
    given = list(items)
    if len(given) < 2:
        return [function(item) for item in given]
    parts = [given[start::_THREADS] for start in range(min(_THREADS, len(given)))]
    with ThreadPoolExecutor(len(parts)) as pool:
        done = list(pool.map(lambda part: [function(item) for item in part], parts))
    return [done[number % _THREADS][number // _THREADS] for number in range(len(given))]
