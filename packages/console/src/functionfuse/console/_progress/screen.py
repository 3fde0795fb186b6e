"""A terminal that several runs share: what they draw stays below, and what programs print comes out above it.

The cursor stays in the line above what is drawn. So what other processes, or libraries in C, write to the terminal does
no harm to it, lines that have not ended are seen, and bars of other libraries go on.
"""

from __future__ import annotations

import os
import shutil
import threading
import weakref
from contextlib import suppress
from io import StringIO
from typing import TYPE_CHECKING, Any

from rich.console import Console

from .drawing import ASCII, UNICODE, failure_line, lines_of, outcome_of
from .streams import terminals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.text import Text

    from functionfuse.backends.progress import ProgressSnapshot, ProgressSource

_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_BEGIN_UPDATE, _END_UPDATE = "\x1b[?2026h", "\x1b[?2026l"  # what terminals that know it show at once
_DOWN, _UP, _SAVE, _RESTORE, _CLEAR = "\x1bD", "\x1b[{}A", "\x1b7", "\x1b8", "\x1b[J"
_MOST_ROWS = 6  # of one run
_LEAST_COLUMNS = 20


class Screen:
    """What is drawn on one terminal.

    Args:
        stream: the terminal.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._write = stream.write
        is_unicode = (getattr(stream, "encoding", "") or "").lower().startswith("utf")
        self._marks = UNICODE if is_unicode else ASCII
        self._shown: dict[ProgressSource, int] = {}  # with the number of failures that were shown
        self._block = ""  # what is drawn now
        self._is_line_open = False
        self._above: list[_Above] = []
        self.lock = threading.RLock()
        _screens.add(self)

    def add(self, source: ProgressSource) -> None:
        """Show a run from now on."""
        with self.lock:
            if not self._shown:
                for stream in {id(one): one for one in (self._stream, *terminals())}.values():
                    with suppress(AttributeError):  # of a stream of another kind, which writes over what is drawn
                        self._above.append(_Above(self, stream))
                self._write(_HIDE_CURSOR)
            self._shown[source] = 0

    def remove(self, source: ProgressSource) -> None:
        """Show the outcome of a run that has ended."""
        with self.lock:
            seen = self._shown.pop(source)
            try:
                snapshot, width = source.snapshot(), self._width()
                lines = [*self._new_failures(snapshot, seen, width), outcome_of(snapshot, width, self._marks)]
                self._block = self._drawn_below() if self._shown else ""
                self._put(self._rendered(lines, width))
            finally:
                if not self._shown:
                    self.release()
                    self._write(_SHOW_CURSOR)
                    self._stream.flush()

    def draw(self) -> None:
        """Draw all runs anew."""
        with self.lock:
            if not self._shown:
                return
            width = self._width()
            above: list[Text] = []
            for source, seen in self._shown.items():
                failures = list(self._new_failures(source.snapshot(), seen, width))
                self._shown[source] = seen + len(failures)
                above += failures
            self._block = self._drawn_below()
            self._put(self._rendered(above, width))

    def write(self, stream: Any, text: str) -> None:
        """Write what a program prints.

        Args:
            stream: where it prints to, this terminal too.
            text: what it prints.
        """
        with self.lock:
            self._write(_BEGIN_UPDATE + _CLEAR)
            self._stream.flush()
            type(stream).write(stream, text)
            stream.flush()
            if text:
                self._is_line_open = not text.endswith("\n")
            self._write(self._block + _END_UPDATE)
            self._stream.flush()

    def release(self) -> None:
        """Let streams write by themselves again."""
        above, self._above = self._above, []
        for one in above:
            one.restore()

    def forget(self) -> None:
        """Draw no more, in a process that was forked: nothing does there, and the lock may be held for ever."""
        self.lock = threading.RLock()
        self.release()
        self._shown.clear()

    def _put(self, lines: Sequence[str]) -> None:
        """Write whole lines, and what is drawn below them."""
        text = "".join(f"{line}\n" for line in lines)
        if text:  # "\r" for what a terminal itself writes at Ctrl-C
            text, self._is_line_open = ("\n" if self._is_line_open else "\r") + text, False
        self._write(f"{_BEGIN_UPDATE}{text[:1]}{_CLEAR}{text[1:]}{self._block}{_END_UPDATE}")
        self._stream.flush()

    def _drawn_below(self) -> str:
        """Return what draws all runs below the line of the cursor, and leaves that where it is."""
        width, tall = self._width(), shutil.get_terminal_size().lines - 2
        rows = max(2, min(_MOST_ROWS, tall // len(self._shown)))
        lines = [line for source in self._shown for line in lines_of(source.snapshot(), width, rows, self._marks)]
        drawn = self._rendered(lines[: max(1, tall)], width)
        count = len(drawn)
        return f"{_DOWN * count}{_UP.format(count)}{_SAVE}" + "".join(f"\n{line}" for line in drawn) + _RESTORE

    def _new_failures(self, snapshot: ProgressSnapshot, seen: int, width: int) -> Iterator[Text]:
        for failure in snapshot.failures[seen:]:
            yield failure_line(failure, width, self._marks)

    def _rendered(self, lines: list[Text], width: int) -> list[str]:
        """Return lines as a terminal takes them, with colours if that has some."""
        buffer = StringIO()
        console = Console(file=buffer, force_terminal=True, width=width, legacy_windows=False, highlight=False)
        rendered = []
        for line in lines:
            console.print(line, no_wrap=True, overflow="crop", crop=True, end="")
            rendered.append(buffer.getvalue())
            buffer.seek(0)
            buffer.truncate()
        return rendered

    def _width(self) -> int:
        """Return how many columns are drawn; not the last one, behind which terminals break lines."""
        return max(_LEAST_COLUMNS, shutil.get_terminal_size().columns - 1)


class _Above:
    """Stands for the method `write` of a stream, whose text comes out above what a screen draws."""

    def __init__(self, screen: Screen, stream: Any) -> None:
        self._screen = screen
        self._stream = stream
        stream.write = self

    def __call__(self, text: str) -> int:
        self._screen.write(self._stream, text)
        return len(text)

    def restore(self) -> None:
        """Let the stream write by itself again."""
        with suppress(AttributeError):
            del self._stream.write


_screens: weakref.WeakSet[Screen] = weakref.WeakSet()


def _forget_in_child() -> None:
    for screen in list(_screens):
        screen.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
