"""The loop of engines that give a handle for each call: pools, task runners, any PEP 3148 executor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from functionfuse.backends.calls import Outcome
from functionfuse.backends.ready import Ready
from functionfuse.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from functionfuse.backends.admission import Admission
    from functionfuse.backends.calls import Call
    from functionfuse.backends.execution import Run
    from functionfuse.backends.frames import Frame, Task

Handle = TypeVar("Handle")

_POLL = 0.2  # seconds between two questions whether the run is cancelled


class Engine(Protocol[Handle]):
    """What `drive` asks of an engine. A handle stands for one call, and can be a key of a dict."""

    @property
    def window(self) -> int:
        """How many calls the engine takes at this time, those that it has included."""

    def submit(self, task: Task, call: Call) -> Handle:
        """Take a call, and return its handle.

        Args:
            task: what the call is for.
            call: the call.

        Raises:
            NodeError: the call cannot be submitted; the step has failed.
        """

    def wait(self, seconds: float) -> Handle | None:
        """Wait until a call has ended, and return its handle. Each handle is returned once.

        Args:
            seconds: after which None is returned if none has.
        """

    def outcome(self, handle: Handle) -> Outcome | None:
        """Return how a call ended; None when it was dropped before it began.

        A call that was dropped although `stop` was not called has failed: somebody else cancelled it.
        """

    def stop(self, *, at_once: bool) -> None:
        """Begin no further call. Those that did not begin are dropped, and returned by `wait` all the same.

        Args:
            at_once: whether calls that run are given up too. Then nothing more is asked of the engine.
        """


def drive(
    run: Run,
    engine: Engine[Handle],
    *,
    on_open: Callable[[Sequence[Frame]], object] | None = None,
    admission: Admission | None = None,
) -> None:
    """Execute a run on an engine: submit what is ready, wait, settle.

    When a stored result turns out lost, the calls that were submitted end, and are settled and saved, before the
    session plans again: they would have to be made anyway. After a failure that stops the run, calls that did not begin
    are dropped. When the run is interrupted (Ctrl-C, `cancel`), calls that run are given up too, or awaited, as its
    `on_interrupt` says.

    Args:
        run: the run.
        engine: where its calls are made.
        on_open: called with the frames that were opened, before tasks are taken from them.
        admission: which tasks may run at a time; all of them by default.
    """
    ready = Ready(run)
    pending: dict[Handle, tuple[Task, Call]] = {}
    stopping = False
    try:
        while True:
            _submit_ready(run, ready, engine, pending, on_open, admission)
            if (run.interrupted() or run.failed) and not stopping:
                stopping = True
                engine.stop(at_once=False)
            if not pending:
                break
            handle = engine.wait(_POLL)
            if handle is None:
                continue
            task, call = pending.pop(handle)
            if admission is not None:
                admission.release(task)
            outcome = engine.outcome(handle)
            if outcome is None and not stopping:
                outcome = Outcome(None, None, _cancelled(task), 0.0)
            if outcome is not None:
                run.settle(task, outcome, call)
    except BaseException:
        engine.stop(at_once=True)
        raise


def _cancelled(task: Task) -> NodeError:
    name = task.name
    return NodeError(
        f"node {name!r} was cancelled in the engine before it began, and not by this run: its executor was shut down, "
        "or somebody cancelled its future; run again on an executor that stays open",
        name=name,
        function=task.step.target.qualname,
    )


def _submit_ready(
    run: Run,
    ready: Ready,
    engine: Engine[Handle],
    pending: dict[Handle, tuple[Task, Call]],
    on_open: Callable[[Sequence[Frame]], object] | None,
    admission: Admission | None,
) -> None:
    while len(pending) < engine.window:
        if on_open is not None and run.opened:
            on_open(run.opened)
        if run.stopped:
            return
        task = None if admission is None else admission.next()
        if task is None:
            task = ready.pop()
            if task is None:
                return
            if admission is not None and not admission.admit(task):
                continue
        call = run.prepare(task)
        if call is not None:
            try:
                pending[engine.submit(task, call)] = task, call
                continue
            except NodeError as error:
                run.settle(task, Outcome(None, None, error, 0.0), call)
        if admission is not None:
            admission.release(task)
