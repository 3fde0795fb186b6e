"""Tracebacks as users read them: without frames of Function Fuse, and with the line of their own that failed."""

from __future__ import annotations

import os
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from functionfuse.errors import FunctionFuseError

if TYPE_CHECKING:
    from types import FrameType

SWITCH = "FUNCTIONFUSE_TRACEBACK"
"""The environment variable with which tracebacks keep all frames, if it is "full"."""

_SUITES = "functionfuse.testing"  # whose functions stand for those of users


class CodeLine(NamedTuple):
    """A line of code; its text is "at graph.py:12, in fit: return 1 / x".

    Attributes:
        file: of the code.
        line: its number.
        function: the name of the function.
        source: the line itself; empty if it could not be had where it ran.
    """

    file: str
    line: int
    function: str
    source: str = ""

    def __str__(self) -> str:
        source = self.source or _source(self.file, self.line)  # of a notebook, which workers cannot see
        return f"at {self.file}:{self.line}, in {self.function}{f': {source}' if source else ''}"


def keeps_all_frames() -> bool:
    """Return True if tracebacks are shown with all frames."""
    return os.environ.get(SWITCH) == "full"


def hide_own_frames(error: BaseException) -> None:
    """Take the frames of Function Fuse out of the tracebacks of an error, of its causes and contexts.

    A traceback that has no others stays as it is, unless the error was raised on purpose and says all in its message.
    """
    if keeps_all_frames():
        return
    chain, seen = [error], {id(error)}
    for one in chain:  # which grows
        kept = _without_own(one.__traceback__)
        if kept is not None or isinstance(one, FunctionFuseError):
            one.__traceback__ = kept
        for other in (one.__cause__, one.__context__):
            if other is not None and id(other) not in seen:
                seen.add(id(other))
                chain.append(other)


def user_line(error: BaseException) -> CodeLine | None:
    """Return the innermost line of the user's own code in the traceback of an error; None if there is none.

    Libraries are not the user's own code: for an error in one, it is the line that called it.
    """
    from functionfuse.fingerprint.project import in_project  # which is needed after a failure only

    found, traceback = None, error.__traceback__
    while traceback is not None:
        module = _module_of(traceback.tb_frame)
        if module.startswith(_SUITES) or in_project(module):
            found = traceback
        traceback = traceback.tb_next
    if found is None:
        return None
    code, line = found.tb_frame.f_code, found.tb_lineno
    return CodeLine(code.co_filename, line, code.co_name, _source(code.co_filename, line, found.tb_frame))


def _without_own(traceback: TracebackType | None) -> TracebackType | None:
    kept = []
    while traceback is not None:
        if not _is_own(traceback.tb_frame):
            kept.append(traceback)
        traceback = traceback.tb_next
    shown = None
    for one in reversed(kept):
        shown = TracebackType(shown, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return shown


def _is_own(frame: FrameType) -> bool:
    module = _module_of(frame)
    return module.partition(".")[0] == "functionfuse" and not module.startswith(_SUITES)


def _module_of(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__")
    return name if isinstance(name, str) else ""


def _source(file: str, line: int, frame: FrameType | None = None) -> str:
    import linecache

    linecache.checkcache(file)
    return linecache.getline(file, line, None if frame is None else frame.f_globals).strip()
