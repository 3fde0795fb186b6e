"""Parts of error messages that name what the caller may have meant."""

from __future__ import annotations

from bisect import bisect
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_NEIGHBOURS = 200  # comparing with more names would be felt


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"`, or an empty text when no known name is close.

    Args:
        name: which is not known.
        known: the names that are.
    """
    names = sorted(set(known))
    if len(names) > 2 * _NEIGHBOURS:
        middle = bisect(names, name)
        names = names[max(0, middle - _NEIGHBOURS) : middle + _NEIGHBOURS]
    by_lower = {one.lower(): one for one in names}
    close = [by_lower[one] for one in get_close_matches(name.lower(), by_lower, n=3)]
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
