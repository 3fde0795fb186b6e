"""Time limits of calls."""

from __future__ import annotations

import contextvars
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_AGAIN = 0.5  # seconds after which a function that caught the exception of its time limit is interrupted again


class TimeLimitExceeded(TimeoutError):  # noqa: N818
    """Raised when a call took longer than its time limit."""


class TimeLimitReached(BaseException):
    """Raised within a function at its time limit; no Exception, so that ``except Exception`` does not catch it."""


def limited(function: Callable[[], Any], seconds: float, *, grace: float = 0.0) -> Any:
    """Call a function, and return its result.

    Args:
        function: the function.
        seconds: that it may take.
        grace: further seconds before it is stopped, as it keeps to the limit itself.

    Raises:
        TimeLimitExceeded: it took longer.
    """
    if threading.current_thread() is threading.main_thread() and _alarm_is_free():
        return _interrupted(function, seconds, grace)
    return _abandoned(function, seconds, grace)


def _alarm_is_free() -> bool:
    return hasattr(signal, "setitimer") and signal.getitimer(signal.ITIMER_REAL)[0] == 0


class _Alarm:
    """Interrupts the main thread, again and again until the function has ended."""

    def __init__(self) -> None:
        self.strikes = 0
        self.ended = False

    def strike(self, _: int, frame: FrameType | None) -> None:
        """Handle the signal."""
        if self.ended:
            return
        if self.strikes:  # and the exception was caught
            self._trace(_user_frames(frame))
        self.strikes += 1
        raise TimeLimitReached

    def _trace(self, frames: list[FrameType]) -> None:
        """Let the exception be raised at the next line of a frame too, one frame at each strike.

        That line is in, or behind, the clause that catches the exception, if it is this frame that does.
        """
        if frames:
            frames[(self.strikes - 1) % len(frames)].f_trace = self._raise
            sys.settrace(_trace_no_further)

    def _raise(self, _frame: FrameType, event: str, _argument: object) -> Any:
        if self.ended or event != "line":
            return self._raise
        raise TimeLimitReached  # with which Python ends the tracing


def _user_frames(frame: FrameType | None) -> list[FrameType]:
    """Return the frames of the function under the limit, the outermost first."""
    frames = []
    while frame is not None and frame.f_code is not _interrupted.__code__:
        if not frame.f_globals.get("__name__", "").startswith("functionfuse.backends."):
            frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def _trace_no_further(_frame: FrameType, _event: str, _argument: object) -> None:
    """Trace none of the functions that are called from now on."""


def _interrupted(function: Callable[[], Any], seconds: float, grace: float) -> Any:
    """Stop the function with an alarm; code that never returns to the interpreter is not stopped."""
    alarm = _Alarm()
    ended: list[tuple[Any, BaseException | None]] = []
    tracing, before = sys.gettrace(), signal.signal(signal.SIGALRM, alarm.strike)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds + grace, _AGAIN)
        try:
            next(_in_own_state(function, ended))
        finally:
            alarm.ended = True
    except TimeLimitReached as late:  # the function had just ended
        alarm.ended = True
        ended.append((None, late))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if alarm.strikes:
            sys.settrace(tracing)
    value, error = ended[-1]
    if alarm.strikes and not isinstance(error, KeyboardInterrupt):
        _raise_exceeded(f"took longer than {seconds:g} s", error)
    if error is not None:
        raise error
    return value


def _in_own_state(function: Callable[[], Any], ended: list[tuple[Any, BaseException | None]]) -> Iterator[None]:
    """Call a function, and append its result, or what it raised.

    An exception that a tracing function raises at the end of an ``except`` clause leaves the one of this clause as
    the one that is being handled. A generator has this state for itself; that of the thread, which is the context of
    all its later exceptions, stays as it is.
    """
    try:
        ended.append((function(), None))
    except BaseException as error:
        ended.append((None, error))
    yield


def _raise_exceeded(message: str, error: BaseException | None) -> NoReturn:
    """Raise TimeLimitExceeded, with the traceback of where the function was interrupted."""
    exceeded = TimeLimitExceeded(message)
    if isinstance(error, TimeLimitReached):
        raise exceeded.with_traceback(error.__traceback__) from None
    raise exceeded from error


def _abandoned(function: Callable[[], Any], seconds: float, grace: float) -> Any:
    """Wait for the function no longer than the limit; a thread cannot be stopped and is left to itself."""
    ended: list[tuple[Any, BaseException | None]] = []

    def work() -> None:
        try:
            ended.append((function(), None))
        except BaseException as error:
            ended.append((None, error))

    context = contextvars.copy_context()  # where engines keep what they know of the call
    thread = threading.Thread(target=context.run, args=(work,), daemon=True, name="functionfuse-time-limit")
    thread.start()
    thread.join(seconds + grace)
    if not ended:
        raise TimeLimitExceeded(f"took longer than {seconds:g} s (its thread cannot be stopped and goes on)")
    value, error = ended[0]
    if error is not None:
        raise error
    return value
