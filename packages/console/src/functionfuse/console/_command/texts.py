"""Amounts, times and values as texts."""

from __future__ import annotations

import pprint
import re
import time
from typing import TYPE_CHECKING, Any

import click

from functionfuse.sizes import readable_size

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST = 20_000  # characters of a value
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


class Duration(click.ParamType[float]):
    """Seconds, written as `30s`, `15m`, `12h`, `7d` or `2w`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        found = re.fullmatch(r"([0-9]+(?:[.][0-9]+)?) *([smhdw]?)", value.strip())
        if found is None:
            self.fail(f"{value!r} is no duration: write 30s, 15m, 12h, 7d or 2w", param, ctx)
        return float(found[1]) * _UNITS[found[2] or "s"]


class Label(click.ParamType[tuple[str, str]]):
    """A label of a run, written as `NAME=TEXT`."""

    name = "label"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, equals, text = value.partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is no label: write NAME=TEXT", param, ctx)
        return name, text


def printable(text: str) -> str:
    """Return a line in which what would break it, or turn its direction, is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def printable_lines(text: str) -> str:
    """Return lines in which what would obey as a control sequence, or turn the direction, is escaped."""
    return "\n".join(printable(line.expandtabs()) for line in text.split("\n"))


def seconds_text(seconds: float | None) -> str:
    """Return a number of seconds as a text; an empty one for None."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def bytes_text(count: float | None) -> str:
    """Return a number of bytes as a text; an empty one for None."""
    return "" if count is None else readable_size(count)


def time_text(seconds: float | None) -> str:
    """Return a time, in seconds since the epoch, as this machine's clocks show it; an empty text for None."""
    return "" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def counts_text(counts: Mapping[str, int]) -> str:
    """Return numbers of steps: "3 finished, 2 reused"."""
    shown = [f"{counts[state]:,} {state}" for state in ("finished", "reused", "failed", "skipped") if counts.get(state)]
    return ", ".join(shown) or f"{counts.get('steps', 0):,} steps"


def value_text(value: Any) -> str:
    """Return a result as a text; of a very long one the beginning."""
    if isinstance(value, str):
        return value
    try:
        text = pprint.pformat(value, width=100, compact=True, sort_dicts=False)
    except Exception as error:  # of a class of the user's
        return f"(a {type(value).__name__}, whose text cannot be had: {type(error).__name__})"
    more = len(text) - _LONGEST
    return text if more <= 0 else f"{text[:_LONGEST]}\n… and {more:,} characters more"


def type_text(value: Any) -> str:
    """Return the name of the type of a value, with its module if it is no builtin."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
