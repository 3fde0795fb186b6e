"""The loop of one run: submit what is ready, wait, settle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functionfuse.backends.calls import Outcome
from functionfuse.backends.frames import StoredResultLost
from functionfuse.backends.ready import Ready
from functionfuse.errors import NodeError

if TYPE_CHECKING:
    from functionfuse.backends.calls import Call
    from functionfuse.backends.execution import Run
    from functionfuse.backends.frames import Task

    from .engine import PrefectEngine


class RunLoop:
    """Runs all tasks of a run on an engine, each when its parents are done.

    Args:
        run: the run.
        engine: makes the calls.
    """

    def __init__(self, run: Run, engine: PrefectEngine) -> None:
        self._run = run
        self._engine = engine
        self._ready = Ready(run)
        self._pending: dict[Any, tuple[Task, Call]] = {}
        self._lost: StoredResultLost | None = None

    def execute(self) -> None:
        """Run everything.

        Raises:
            StoredResultLost: a result that the plan reuses cannot be read.
            RunCancelled: somebody cancelled the flow run.
        """
        engine = self._engine
        try:
            while True:
                self._submit_ready()
                if not self._pending:
                    break
                handle = engine.wait()
                task, call = self._pending.pop(handle)
                self._settle(task, engine.outcome(handle), call)
            engine.finish()
        except BaseException:
            engine.stop()
            raise
        if self._lost is not None:
            raise self._lost

    def _submit_ready(self) -> None:
        while len(self._pending) < self._engine.window:
            self._engine.show_reused()  # while the frames that were opened are still listed
            try:
                task = None if self._run.stopped else self._ready.pop()
                if task is None:
                    return
                call = self._run.prepare(task)
            except StoredResultLost as loss:
                self._end_early(loss)
                return
            if call is not None:
                self._submit(task, call)

    def _submit(self, task: Task, call: Call) -> None:
        try:
            self._pending[self._engine.submit(task, call)] = task, call
        except NodeError as error:
            self._settle(task, Outcome(None, None, error, 0.0), call)

    def _settle(self, task: Task, outcome: Outcome, call: Call) -> None:
        try:
            self._run.settle(task, outcome, call)
        except StoredResultLost as loss:
            self._end_early(loss)

    def _end_early(self, loss: StoredResultLost) -> None:
        """Let what is running end, and be stored, before all is planned again."""
        self._lost = self._lost or loss
        self._run.stopped = True
