"""What is recorded of a call where it is made: what it prints, logs and warns of, and what it uses.

What it prints is seen where it went before, too. Python's own streams are recorded; what native code, or another
process, writes to the files behind them is not.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import warnings
from collections import deque
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from functionfuse.previews import Preview

MOST_OUTPUT = 1 << 20  # bytes that are kept of what one call prints; the first and the last
MOST_CAPSULE = 256 << 20  # bytes of a failure capsule, unless a run says otherwise
_PIECE = 64  # bytes that a piece of output takes beside its text
_MOST_PARTS = 64  # in which a line is written; then what there is of it becomes a piece
_HIGH_WATER = b"VmHWM:"


class Piece(NamedTuple):
    """A line of output, or a part of a long one.

    Attributes:
        time: when it was begun, in seconds since the epoch.
        source: "stdout", "stderr", "logging" or "warnings".
        text: what was written, with the end of the line.
    """

    time: float
    source: str
    text: str


class Output(NamedTuple):
    """What a call printed, logged and warned of.

    Attributes:
        pieces: in the order of time; of long output the first and the last.
        dropped: how many bytes are left out between them.
    """

    pieces: tuple[Piece, ...] = ()
    dropped: int = 0

    def __str__(self) -> str:
        return "".join(piece.text for piece in self.pieces)


class Usage(NamedTuple):
    """What a call used of the machine where it ran.

    Attributes:
        seconds: how long it took, all attempts.
        cpu: seconds of processors that its process used meanwhile, in all threads.
        memory: the most resident memory that its process had meanwhile, in bytes, with what it had before. Where the
            system does not tell (other than Linux), or calls overlap in threads, that since an earlier time.
        process: the number of the process.
        host: the name of the machine.
        started: when it began there, in seconds since the epoch; 0 if it did not.
    """

    seconds: float
    cpu: float
    memory: int
    process: int
    host: str
    started: float = 0.0


class CallRecord(NamedTuple):
    """What was recorded of a call.

    Attributes:
        usage: what it used.
        output: what it printed.
        capsule: the failure capsule as a file's content; None for a call that succeeded, or without one.
        problem: why there is no capsule, where one was asked for.
        preview: of the result; None without one.
    """

    usage: Usage
    output: Output
    capsule: Any = None
    problem: str = ""
    preview: Preview | None = None


class Recording(NamedTuple):
    """What is to be recorded of a call.

    Attributes:
        name: the full name of its node.
        workflow_name: the workflow.
        pickler: the module with the pickler for capsules, cloudpickle or a copy of it; "" for no capsule.
        capsule_bytes: the most that a capsule may have.
        stored: by positions and keywords of arguments: under which names the store has them, with the paths of items.
        preview: makes a preview of the result, given the names of node and function; None for no preview.
        preview_after: the seconds that the call takes at least if there is a preview of its result.
        records: whether output and usage are recorded.
        running: the location of the `RunningCalls` that receive it; "" for none.
    """

    name: str
    workflow_name: str
    pickler: str = ""
    capsule_bytes: int = 0
    stored: tuple[tuple[int | str, str, tuple[Any, ...]], ...] = ()
    preview: Callable[..., Preview] | None = None
    preview_after: float = 0.0
    records: bool = True
    running: str = ""


class Recorder:
    """Collects what is written in the context of one call, and measures what it uses."""

    def __init__(self) -> None:
        self._head: list[Piece] = []
        self._tail: deque[Piece] = deque()
        self._room = self._tail_room = MOST_OUTPUT // 2
        self._dropped = 0
        self._open: dict[str, tuple[float, list[str]]] = {}  # lines that are not ended, by their source
        self._outer: Recorder | None = None
        self._cpu = self._started = 0.0
        self._memory = 0

    def __enter__(self) -> Recorder:
        self._outer = _current.get()
        self._token = _current.set(self)
        _hooks.add(self)
        self._cpu = time.process_time()
        self._started = time.time()  # last, as the call begins then
        return self

    def __exit__(self, *_: object) -> None:
        self._cpu = time.process_time() - self._cpu
        self._memory = _high_water.bytes()
        _current.reset(self._token)
        _hooks.remove(self)
        for source in list(self._open):
            self._end_line(source)

    def usage(self, seconds: float) -> Usage:
        """Return what the call used."""
        host = os.uname().nodename if hasattr(os, "uname") else ""
        return Usage(seconds, self._cpu, self._memory, os.getpid(), host, self._started)

    def output(self) -> Output:
        """Return what was written."""
        return Output((*self._head, *self._tail), self._dropped)

    def write(self, source: str, text: str) -> None:
        """Take what is written.

        Args:
            source: of the text.
            text: any part of a line, or several.
        """
        for line in text.splitlines(keepends=True):
            begun = self._open.get(source)
            if begun is None:
                begun = self._open[source] = (time.time(), [])
            begun[1].append(line)
            if line.endswith("\n") or len(begun[1]) > _MOST_PARTS:
                self._end_line(source)
        if self._outer is not None:
            self._outer.write(source, text)

    def _end_line(self, source: str) -> None:
        begun, parts = self._open.pop(source)
        piece = Piece(begun, source, "".join(parts)[: MOST_OUTPUT // 2])
        size = len(piece.text) + _PIECE
        if size <= self._room and not self._tail:
            self._room -= size
            self._head.append(piece)
            return
        self._tail.append(piece)
        self._tail_room -= size
        while self._tail_room < 0:
            oldest = self._tail.popleft()
            self._tail_room += len(oldest.text) + _PIECE
            self._dropped += len(oldest.text)


_current: ContextVar[Recorder | None] = ContextVar("functionfuse_recorder", default=None)


class _Hooks:
    """What passes output on to recorders, in place as long as there are some."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recorders: list[Recorder] = []
        self._streams: dict[str, _Stream] = {}
        self._call_handlers: Any = None
        self._show_warning: Any = None
        self._within = threading.local()  # whether a logger or warning writes, which is recorded as such

    def add(self, recorder: Recorder) -> None:
        """Record what is written from now on."""
        with self._lock:
            self._recorders.append(recorder)
            if len(self._recorders) == 1:
                _high_water.reset()
                self._install()
            self._wrap_streams()  # which somebody may have replaced while another call goes on

    def remove(self, recorder: Recorder) -> None:
        """Record no more."""
        with self._lock:
            self._recorders.remove(recorder)
            if not self._recorders:
                self._uninstall()

    def _wrap_streams(self) -> None:
        for source in ("stdout", "stderr"):
            stream = getattr(sys, source)
            if stream is None or stream is self._streams.get(source):
                continue
            if type(stream) is not _Stream:  # one that was put back, after it was replaced
                stream = _Stream(stream, source, self.take)
                setattr(sys, source, stream)
            self._streams[source] = stream

    def _install(self) -> None:
        self._call_handlers, logging.Logger.callHandlers = logging.Logger.callHandlers, _call_handlers  # type: ignore[method-assign,assignment]
        self._show_warning, warnings.showwarning = warnings.showwarning, self._shown

    def _uninstall(self) -> None:
        for source, stream in self._streams.items():
            if getattr(sys, source) is stream:  # else somebody else has replaced it since
                setattr(sys, source, stream.original)
        self._streams.clear()
        logging.Logger.callHandlers = self._call_handlers  # type: ignore[method-assign]
        if warnings.showwarning == self._shown:
            warnings.showwarning = self._show_warning

    def take(self, source: str, text: str) -> None:
        """Pass a text on to the recorder of the context; a thread of a node has none, and takes the only one."""
        if getattr(self._within, "is_handled", False):
            return
        recorder = _current.get()
        if recorder is None:
            recorders = self._recorders
            if len(recorders) != 1:
                return
            recorder = recorders[0]
        recorder.write(source, text)

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Record nothing, in this thread, of what is recorded already."""
        before = getattr(self._within, "is_handled", False)
        self._within.is_handled = True
        try:
            yield
        finally:
            self._within.is_handled = before

    def log(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        """Record what is logged, and let the logger's handlers have it.

        Args:
            logger: the logger.
            record: what is logged.
        """
        with suppress(Exception):  # a message that does not fit its arguments, of which handlers tell
            self.take("logging", f"{record.levelname}:{record.name}:{record.getMessage()}\n")
        with self.handled():
            self._call_handlers(logger, record)

    def _shown(
        self, message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None
    ) -> None:
        self.take("warnings", warnings.formatwarning(message, category, filename, lineno, line))
        with self.handled():
            self._show_warning(message, category, filename, lineno, file, line)


_hooks = _Hooks()


def _call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
    _hooks.log(logger, record)


class _Stream:
    """A text stream that records what is written to it.

    Args:
        original: where the text goes.
        source: its name.
        take: takes the source, and the text.
    """

    def __init__(self, original: Any, source: str, take: Callable[[str, str], None]) -> None:
        self.original = original
        self._source = source
        self._take = take

    def write(self, text: str) -> Any:
        """Write and record a text."""
        written = self.original.write(text)
        self._take(self._source, text)
        return written

    def writelines(self, lines: Any) -> None:
        """Write and record some texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.original)


class _HighWater:
    """The most resident memory that this process had since it was reset, as Linux measures it."""

    def __init__(self) -> None:
        self._process = 0
        self._reset_file = -1
        self._includes_parent = False  # what getrusage tells, after a process was forked and another program started

    def reset(self) -> None:
        """Let the system measure anew, if it can."""
        if self._process != os.getpid():
            self._open()
        if self._reset_file >= 0:
            with suppress(OSError):
                os.write(self._reset_file, b"5")

    def bytes(self) -> int:
        """Return the number of bytes; 0 where no system tells."""
        if self._includes_parent:
            return _status()
        with suppress(ImportError):  # Windows
            import resource

            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return most if sys.platform == "darwin" else most << 10
        return 0

    def _open(self) -> None:
        """Open the file of this process; what a fork leaves is its parent's."""
        self._process, before, self._reset_file = os.getpid(), self._reset_file, -1
        if before >= 0:
            os.close(before)
        with suppress(OSError):
            self._reset_file = os.open("/proc/self/clear_refs", os.O_WRONLY)
            os.write(self._reset_file, b"5")
            self._includes_parent = False
            self._includes_parent = self.bytes() > 1.1 * _status() > 0


def _status() -> int:
    """Return the high-water mark from the status of this process; 0 where there is none."""
    with suppress(OSError, ValueError, IndexError):
        status = Path("/proc/self/status").read_bytes()
        return int(status[status.index(_HIGH_WATER) :].split(None, 2)[1]) << 10
    return 0


_high_water = _HighWater()
