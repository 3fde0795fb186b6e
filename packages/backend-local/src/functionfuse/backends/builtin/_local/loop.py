"""This process as an engine: coroutines together on one event loop, other functions one after the other."""

from __future__ import annotations

from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Self

from functionfuse.backends.admission import Admission
from functionfuse.backends.coroutines import LoopThread
from functionfuse.backends.performing import perform_on_loop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functionfuse.backends.calls import Call, Outcome
    from functionfuse.backends.execution import Run
    from functionfuse.backends.frames import Frame, Task

MOST_COROUTINES = 100  # at a time, unless a run says otherwise
_ON_LOOP, _HERE = "calls on the event loop", "calls in this thread"


class LoopEngine:
    """Makes calls of coroutine functions on an event loop, and all others in this thread; see `drive`.

    The loop has a thread of its own: it goes on while this thread saves results or calls functions, and runs also
    where this thread has a running loop, as in notebooks.

    Args:
        run: the run.
        most: how many coroutines are on the loop at a time.
    """

    def __init__(self, run: Run, most: int) -> None:
        self.window = most + 1
        self._run = run
        self._loop = LoopThread()
        self._ended: SimpleQueue[Future[Outcome]] = SimpleQueue()
        self._next: tuple[Future[Outcome], Call] | None = None  # to be made in this thread

    def __enter__(self) -> Self:
        self._loop.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.__exit__(*error)

    def submit(self, task: Task, call: Call) -> Future[Outcome]:  # noqa: ARG002
        """Begin a call on the loop, or keep it for this thread, which takes one at a time.

        Args:
            task: what the call is for.
            call: the call.
        """
        if _runs_on_loop(call.target, call.environment):
            handle: Future[Outcome] = self._loop.submit(perform_on_loop(call))
            handle.add_done_callback(self._ended.put)
        else:
            handle = Future()
            self._next = handle, call
        return handle

    def wait(self, seconds: float) -> Future[Outcome] | None:
        """Return the next call that ended, if need be after making that of this thread; None if none does so long."""
        try:
            return self._ended.get(timeout=0 if self._next else seconds)
        except Empty:
            if self._next is None:
                return None
        (handle, call), self._next = self._next, None
        handle.set_result(self._run.perform(call))
        return handle

    def outcome(self, handle: Future[Outcome]) -> Outcome | None:
        """Return how a call ended; None when it was dropped."""
        return None if handle.cancelled() else handle.result()

    def stop(self, *, at_once: bool) -> None:  # noqa: ARG002
        """Drop the call that did not begin. Coroutines that run are cancelled when the engine's context ends."""
        if self._next is not None:
            handle, self._next = self._next[0], None
            handle.cancel()
            self._ended.put(handle)


def has_coroutines(frame: Frame) -> bool:
    """Return True if a frame has steps to run that call coroutine functions."""
    return any(step.target.is_async and step.may_run for step in frame.plan.steps)


def admission_to_loop(offered: Mapping[str, float], limits: Mapping[str, int], most: int) -> Admission:
    """Return what holds back tasks until there is room for them on the loop, or in this thread.

    Args:
        offered: amounts of resources that the tasks share.
        limits: by tag, how many tasks with it run at a time.
        most: how many coroutines are on the loop at a time.
    """
    on_loop, here, alone = {_ON_LOOP: 1}, {_HERE: 1}, {_ON_LOOP: most, _HERE: 1}

    def needs(task: Task) -> Mapping[str, float]:
        if any(member.step.options.environment for member in task.members):
            return alone  # as the variables are those of the process
        return on_loop if _runs_on_loop(task.step.target, {}) else here

    return Admission({**offered, _ON_LOOP: most, _HERE: 1}, limits, needs)


def _runs_on_loop(target: Any, environment: Mapping[str, Any]) -> bool:
    return target.is_async and not environment
