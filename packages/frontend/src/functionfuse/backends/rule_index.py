"""Which of many patterns match a name, found without trying each."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_PREFIX = re.compile(r"[A-Za-z0-9_/ -]*")
_MOST_BEGINNINGS = 10_000
_REPEATS = ("*", "?", "{", "+")


class RuleIndex:
    """Patterns by the text that the names they match begin with.

    Args:
        patterns: in the order in which they are numbered.
    """

    def __init__(self, patterns: Sequence[re.Pattern[str]]) -> None:
        self._fullmatch = [pattern.fullmatch for pattern in patterns]
        self._by_prefix: dict[str, list[int]] = {}
        for number, pattern in enumerate(patterns):
            self._by_prefix.setdefault(prefix_of(pattern), []).append(number)
        self._lengths = sorted(set(map(len, self._by_prefix)))
        self._longest = max(self._lengths, default=0)
        self._needs_no_more = [pattern.pattern == f"{prefix_of(pattern)}.*" for pattern in patterns]
        self._possible: dict[str, tuple[int, ...]] = {}  # by what names begin with
        self._certain: dict[str, tuple[int, ...]] = {}  # likewise, of names without a line break

    def matching(self, name: str) -> tuple[int, ...]:
        """Return the numbers of the patterns that match a name as a whole, in their order."""
        beginning = name[: self._longest]
        certain = self._certain.get(beginning)
        if certain is not None and "\n" not in name:
            return certain
        possible = self._possible.get(beginning)
        if possible is None:
            possible = self._possible_for(beginning)
        if not possible:
            return ()
        fullmatch = self._fullmatch
        if len(possible) == 1:
            return possible if fullmatch[possible[0]](name) else ()
        return tuple([number for number in possible if fullmatch[number](name)])

    def _possible_for(self, beginning: str) -> tuple[int, ...]:
        if len(self._possible) >= _MOST_BEGINNINGS:
            self._possible.clear()
            self._certain.clear()
        buckets = [self._by_prefix.get(beginning[:length], ()) for length in self._lengths if length <= len(beginning)]
        possible = self._possible[beginning] = tuple(sorted(chain.from_iterable(buckets)))
        if all(self._needs_no_more[number] for number in possible):
            self._certain[beginning] = possible
        return possible


def prefix_of(pattern: re.Pattern[str]) -> str:
    """Return a text that each name begins with which a pattern matches; empty if none is known."""
    text = pattern.pattern
    if "|" in text or pattern.flags & (re.IGNORECASE | re.VERBOSE):
        return ""
    found = _PREFIX.match(text)
    prefix = found[0] if found else ""
    return prefix[:-1] if text[len(prefix) :].startswith(_REPEATS) else prefix
