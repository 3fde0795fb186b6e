"""Runs that end before their time: at Ctrl-C, or from another thread."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from functionfuse.errors import RunCancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

    from functionfuse.backends.options import OnInterrupt
    from functionfuse.backends.run_memory import RunMemory
    from functionfuse.backends.run_records import RunRecorder


class Cancellation(KeyboardInterrupt):
    """Raised in the thread of a run when another thread cancels it; the session raises RunCancelled then."""


class Interruption:
    """Whether one run shall end before its time, and how.

    Within its context, Ctrl-C in the main thread is one of these.

    Args:
        on_interrupt: whether what runs is stopped, or let finish.

    Attributes:
        on_interrupt: whether what runs is stopped, or let finish.
        requested: the run shall end.
        performs: the thread of the run is within a call of a user's function.
    """

    def __init__(self, on_interrupt: OnInterrupt) -> None:
        self.on_interrupt = on_interrupt
        self.requested = False
        self.performs = False
        self._is_cancelled = False
        self._lock = threading.Lock()
        self._thread = 0  # of the run, as long as it is going on
        self._stops: list[Callable[[], object]] = []
        self._handler: Any = None  # of SIGINT, before this one
        self._sent = 0  # signals by `cancel` that are not handled yet
        self._raised_elsewhere = False

    def __enter__(self) -> Self:
        self._thread = threading.get_ident()
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._handler = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            thread, self._thread = self._thread, 0
            if self._raised_elsewhere:
                _raise_in(thread, None)  # if it has not been raised yet
        if self._handler is not None and signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, self._handler)

    def at_stop(self, stop: Callable[[], object]) -> None:
        """Call a function when another thread cancels the run and what runs is to be stopped.

        Args:
            stop: ends what the run waits for.
        """
        self._stops.append(stop)

    def check(self) -> bool:
        """Return True if nothing new may start.

        Raises:
            Cancellation: what runs is to be stopped.
        """
        if self.requested and self.on_interrupt == "stop":
            raise Cancellation
        return self.requested

    def cancel(self) -> bool:
        """End the run, from another thread; return False if it has ended."""
        with self._lock:
            if not self._thread:
                return False
            self.requested = self._is_cancelled = True
            if self.on_interrupt == "finish":
                return True
            for stop in self._stops:
                stop()
            if not self.performs:
                return True
            if self._handler is not None:  # the main thread, which a signal interrupts also while it sleeps
                self._sent += 1
                signal.pthread_kill(self._thread, signal.SIGINT)
            else:
                self._raised_elsewhere = True
                _raise_in(self._thread, Cancellation)
        return True

    def raised(self, interrupt: KeyboardInterrupt | None, hint: str) -> BaseException:
        """Return what a run raises that was interrupted.

        Args:
            interrupt: what was raised in it; None if it was let finish.
            hint: how to go on.
        """
        if self._is_cancelled:
            return RunCancelled(f"the run was cancelled; {hint}")
        interrupt = interrupt or KeyboardInterrupt()
        interrupt.add_note(f"the run was interrupted; {hint}")
        return interrupt

    def _handle(self, _: int, _frame: FrameType | None) -> None:
        if self._sent:
            self._sent -= 1
            if self.performs:
                raise Cancellation
            return
        is_first, self.requested = not self.requested, True
        if is_first and self.on_interrupt == "finish":
            sys.stderr.write("\nCtrl-C: nothing new starts, and what runs ends; Ctrl-C again stops at once\n")
            return
        raise KeyboardInterrupt


class LastRun(NamedTuple):
    """What the last run of a workflow object came to.

    Attributes:
        failed: short texts of failures, by name of the step.
        skipped: name of a step to the name of the failed one that it depends on.
        is_complete: every step ran, was reused, failed or was skipped.
        has_store: whether it had a store.
    """

    failed: Mapping[str, str] = {}
    skipped: Mapping[str, str] = {}
    is_complete: bool = False
    has_store: bool = False


class Runs:
    """The runs of one workflow object: those that are going on, and what the last one left.

    A copy in another process has none.

    Attributes:
        completed: names of the steps whose results the last run stored or reused, if it failed.
        last: what the last run came to.
        recorder: what keeps the record of the last run; None before the first.
    """

    def __init__(self) -> None:
        self.completed: set[str] = set()
        self.last = LastRun()
        self.recorder: RunRecorder | RunMemory | None = None
        self._going_on: list[Interruption] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return Runs, ()

    def begin(self, on_interrupt: OnInterrupt) -> Interruption:
        """Return the interruption of a new run.

        Args:
            on_interrupt: whether what runs is stopped, or let finish.
        """
        interruption = Interruption(on_interrupt)
        self._going_on.append(interruption)
        return interruption

    def end(self, interruption: Interruption) -> None:
        """Forget a run that has ended."""
        self._going_on.remove(interruption)

    def cancel(self) -> bool:
        """End the runs that are going on; return True if there were any."""
        cancelled = [interruption.cancel() for interruption in list(self._going_on)]
        return any(cancelled)


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Let another thread raise an exception when it runs Python code again; None takes it back."""
    import ctypes  # which takes long to import

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), None if kind is None else ctypes.py_object(kind))
