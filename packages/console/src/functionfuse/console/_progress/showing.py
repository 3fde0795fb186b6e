"""The thread that shows how far runs are, where it is fit to show that."""

from __future__ import annotations

import os
import sys
import threading
from contextvars import copy_context
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, Self

from functionfuse.backends.displays import is_notebook

from .plain import failure_line, gap_after, line_for
from .streams import original

if TYPE_CHECKING:
    from functionfuse.backends.progress import ProgressSource

    from .screen import Screen


_screens: dict[Any, Screen] = {}  # by stream
_screens_lock = threading.Lock()


def shown(source: ProgressSource) -> Showing:
    """Return a context manager that shows how far a run is, as long as it is open.

    Args:
        source: what tells how far the run is.
    """
    return Showing(source)


class View(Protocol):
    """One way to show one run."""

    interval: float
    """Seconds between two drawings."""

    def draw(self) -> None:
        """Show how far the run is now."""

    def close(self) -> None:
        """Show the outcome of the run, and nothing more."""


class Showing:
    """Shows how far a run is, in a thread, as long as its context is open.

    Args:
        source: what tells how far it is.
    """

    def __init__(self, source: ProgressSource) -> None:
        self._source = source
        self._view: View | None = None
        self._problem: Exception | None = None
        self._stop = threading.Event()
        context = copy_context()  # by which a kernel knows the cell
        self._thread = threading.Thread(
            target=context.run, args=(self._draw,), name="functionfuse-progress", daemon=True
        )

    def __enter__(self) -> Self:
        self._view = _view_of(self._source)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._view is not None
        self._stop.set()
        try:
            self._thread.join()
        finally:
            self._view.close()
        if self._problem is not None:
            raise self._problem

    def _draw(self) -> None:
        assert self._view is not None
        while not self._stop.wait(self._view.interval):
            try:
                self._view.draw()
            except Exception as problem:
                self._problem = problem
                return


class TerminalView:
    """A run on a terminal, which it shares with others.

    Args:
        source: what tells how far the run is.
        stream: the terminal.
    """

    interval = 0.1

    def __init__(self, source: ProgressSource, stream: Any) -> None:
        self._source = source
        self._stream = stream
        self._screen: Screen | None = None  # once something is drawn

    def draw(self) -> None:
        """Draw all runs of the terminal."""
        self._begun().draw()

    def close(self) -> None:
        """Leave the line of the outcome."""
        self._begun().remove(self._source)

    def _begun(self) -> Screen:
        if self._screen is None:
            self._screen = _screen_of(self._stream)
            self._screen.add(self._source)
        return self._screen


class LinesView:
    """A run as lines now and then.

    Args:
        source: what tells how far the run is.
        stream: where the lines go.
    """

    interval = 0.25

    def __init__(self, source: ProgressSource, stream: Any) -> None:
        self._source = source
        self._stream = stream
        self._seen = 0  # failures that were written
        self._written = 0.0  # when the last line was

    def draw(self) -> None:
        """Write what is due."""
        snapshot = self._source.snapshot()
        lines = [failure_line(failure) for failure in snapshot.failures[self._seen :]]
        self._seen += len(lines)
        if not self._written:
            self._written = snapshot.started
        if snapshot.state != "running" or snapshot.now - self._written >= gap_after(snapshot.now - snapshot.started):
            self._written = snapshot.now
            lines.append(line_for(snapshot))
        if lines:
            self._stream.write("".join(f"{line}\n" for line in lines))
            self._stream.flush()

    def close(self) -> None:
        """Write the line of the outcome."""
        self.draw()


class NotebookView:
    """A run below the cell of a notebook.

    Args:
        source: what tells how far the run is.
    """

    interval = 0.5

    def __init__(self, source: ProgressSource) -> None:
        display = import_module("IPython.display")  # which a kernel has
        self._source = source
        self._html = display.HTML
        self._handle = display.display(self._drawn(), display_id=True)

    def draw(self) -> None:
        """Update the output of the cell."""
        self._handle.update(self._drawn())

    def close(self) -> None:
        """Leave the outcome there."""
        self.draw()

    def _drawn(self) -> Any:
        from .page import html_of

        return self._html(html_of(self._source.snapshot()))


def _view_of(source: ProgressSource) -> View:
    """Return what shows a run here: in a notebook, on a terminal, or in lines."""
    if is_notebook():
        return NotebookView(source)
    stream = original(sys.stderr)
    if not stream.isatty() or os.environ.get("CI") or os.environ.get("TERM", "dumb") == "dumb":
        return LinesView(source, stream)
    return TerminalView(source, stream)


def _screen_of(stream: Any) -> Screen:
    from .screen import Screen  # which imports rich

    with _screens_lock:
        screen = _screens.get(stream)
        if screen is None:
            screen = _screens[stream] = Screen(stream)
        return screen
