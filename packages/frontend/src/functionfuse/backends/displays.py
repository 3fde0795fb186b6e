"""Displays of the progress of runs: found by entry points, as the console has one, and asked for when one is due."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from functionfuse._warning import warn_user
from functionfuse.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from functionfuse.backends.progress import ProgressSource, RunProgress

    Display: TypeAlias = Callable[[ProgressSource], AbstractContextManager[object]]

GROUP = "functionfuse.progress"
"""The group of entry points. One is called with a `ProgressSource`, and returns a context manager that shows it."""
VARIABLE = "FUNCTIONFUSE_PROGRESS"


class Showing:
    """Shows the progress of a run within its context. A display that fails warns once, and the run goes on.

    Args:
        source: what tells how far the run is.
        display: shows it.
    """

    def __init__(self, source: ProgressSource, display: Display) -> None:
        self._source = source
        self._display = display
        self._shown: AbstractContextManager[object] | None = None

    def __enter__(self) -> Showing:
        try:
            shown = self._display(self._source)
            shown.__enter__()
            self._shown = shown
        except Exception as problem:
            _warn_of(problem)
        return self

    def __exit__(self, *_: object) -> None:
        shown, self._shown = self._shown, None
        if shown is not None:
            try:
                shown.__exit__(None, None, None)
            except Exception as problem:
                _warn_of(problem)


@contextmanager
def displayed(progress: RunProgress, display: Display) -> Iterator[None]:
    """Show the progress of a run as long as the context is open; how that ends is how the run ended.

    Args:
        progress: what the run counts.
        display: shows it.
    """
    from functionfuse.backends.run_records import ended_as  # which imports what runs with a store need

    with Showing(progress, display):
        try:
            yield
            progress.state = "finished"
        except BaseException as error:
            progress.state, _ = ended_as(error)
            raise


def display_if_wanted(option: bool | None) -> Display | None:
    """Return what shows the progress of a run; None if it is not to be shown.

    Args:
        option: what `run(progress=)` was given. Without it the environment variable decides, and without that whether
            this is a terminal or a notebook.

    Raises:
        OptionError: the environment variable is neither "0" nor "1".
    """
    asked = _asked_by_environment() if option is None else option
    if asked is False or (asked is None and not _has_viewer()):
        return None
    display = _installed()
    if display is None and option:
        warn_user("progress is shown by the console, which is not installed: pip install functionfuse-console")
    return display


def checked_progress(progress: object) -> bool | None:
    """Return the value of the option `progress`, or raise OptionError."""
    if progress is None or isinstance(progress, bool):
        return progress
    raise OptionError(f"progress is True or False, got {progress!r}; leave it out to show it on terminals alone")


def _asked_by_environment() -> bool | None:
    text = os.environ.get(VARIABLE, "")
    if text not in ("", "0", "1"):
        raise OptionError(f'the environment variable {VARIABLE} is "0" or "1", got {text!r}')
    return bool(int(text)) if text else None


def _has_viewer() -> bool:
    """Return True in a notebook, and on a terminal, but in a worker process, which shares that with its driver."""
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        return False
    if is_notebook():
        return True
    with suppress(AttributeError, ValueError):  # there is none, or it is closed
        return sys.stderr.isatty() and not os.environ.get("CI")
    return False


def is_notebook() -> bool:
    """Return True in a kernel of a notebook."""
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


@cache
def _installed() -> Display | None:
    from importlib.metadata import entry_points  # which takes long to import

    for point in entry_points(group=GROUP):
        try:
            display: Display = point.load()
        except Exception as problem:
            _warn_of(problem)
        else:
            return display
    return None


def _warn_of(problem: Exception) -> None:
    warn_user(f"progress cannot be shown: {type(problem).__name__}: {problem}")
