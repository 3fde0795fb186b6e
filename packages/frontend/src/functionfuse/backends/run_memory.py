"""The last run of a workflow without a store, kept in memory: what its record is made from when it is asked for.

For each step that ends a few values are appended to a list. The record itself is made by a `RunRecorder`, as in a
store: when it is asked for, or from the first graph on that a dynamic step returns, whose values shall not stay.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from functionfuse.backends.frames import Frame, Task
from functionfuse.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from functionfuse.backends.recording import CallRecord
    from functionfuse.backends.run_records import RunRecorder
    from functionfuse.backends.spec import RunSpec
    from functionfuse.errors import NodeError
    from functionfuse.plan import Plan, Ref
    from functionfuse.runs import RunRecord

MOST_STEPS = 250_000  # of a run that is kept


class RunMemory:
    """Keeps what a run does; as a `RunRecorder` does for a run with a store.

    Args:
        spec: the run.
        options: of the backend's own `run`.
    """

    uses_records = False

    def __init__(self, spec: RunSpec, options: Mapping[str, Any]) -> None:
        self._spec = spec._replace(steps=(), store=None)
        self._options = options
        self._started = time.time()
        self._ended_at: float | None = None
        self._outcome: tuple[Any, str] = ("running", "")
        self._plan: Plan | None = None
        self._is_kept = True  # unless it is a very long one
        self._ended: list[Any] = []  # of each step four values: no tuples, which the garbage collector would visit
        self._details: dict[str, dict[str, Any]] = {}  # of few steps, by name
        self._recorder: RunRecorder | None = None
        self._content = _Content()

    def planned(self, frame: Frame) -> None:
        """Take in the steps of a frame.

        Args:
            frame: that was opened.
        """
        if self._plan is None:
            self._plan = frame.plan
            self._is_kept = len(frame.plan) <= MOST_STEPS
        elif self._is_kept:
            root = _root(self._plan) if frame.parent is None else frame.parent.frame
            recorder = self._recorder = self._recorder or self._new_recorder(root)
            recorder.planned(frame)

    def begin(self, frame: Frame) -> None:
        """Do nothing: a record is made when it is asked for."""

    def began(self, task: Task) -> None:
        """Do nothing: a step that runs is not in the record of a run that has ended."""

    def write_later(self) -> None:
        """Do nothing, likewise."""

    def write_if_due(self) -> None:
        """Do nothing, likewise."""

    def taken(self, frame: Frame, refs: Sequence[Ref], values: Sequence[Any]) -> None:
        """Do nothing: results are the caller's, and previews would keep every run waiting for a report.

        Args:
            frame: of the whole plan.
            refs: what was asked for.
            values: the results.
        """

    def finished(self, task: Task, seconds: float) -> None:
        """Take in that a step ran to its end, of which there is nothing else to record.

        Args:
            task: the step.
            seconds: how long it took.
        """
        if self._recorder is not None:
            self._recorder.ended(task, "finished", seconds)
        elif self._is_kept:
            self._ended += (task.step.name, "finished", time.time(), seconds)

    def ended(
        self,
        task: Task,
        state: str,
        seconds: float,
        record: CallRecord | None = None,
        *,
        attempts: int = 1,
        footer: Mapping[str, Any] | None = None,  # noqa: ARG002  there is no store
        error: str = "",
    ) -> None:
        """Take in how a step ended.

        Args:
            task: the step.
            state: "finished", "failed" or "skipped".
            seconds: how long it took.
            record: what was recorded of its call.
            attempts: how many there were.
            footer: of its stored result.
            error: why it failed.
        """
        if self._recorder is not None:
            self._recorder.ended(task, state, seconds, record, attempts=attempts, error=error)
        elif self._is_kept:
            name = task.step.name
            self._ended += (name, state, time.time(), seconds)
            if error or attempts > 1 or record is not None:
                self._details[name] = {
                    "record": None if record is None else record._replace(capsule=None),
                    "attempts": attempts,
                    "error": error,
                }

    def noted(
        self,
        state: str,
        name: str,
        seconds: float | None = None,
        error: NodeError | None = None,
        record: CallRecord | None = None,
    ) -> None:
        """Take in what became of a step that is known by its name alone.

        Args:
            state: "finished", "reused", "failed" or "skipped".
            name: the step's full name.
            seconds: how long it took.
            error: why it failed, or the error of the step that it depends on.
            record: what was recorded of its call.
        """
        if self._is_kept and self._plan is not None:
            self._recorder = self._recorder or self._new_recorder(_root(self._plan))
            self._recorder.noted(state, name, seconds, error, record)

    def end(self, error: BaseException | None) -> None:
        """Take in that the run has ended.

        Args:
            error: why it failed, or was cancelled.
        """
        from functionfuse.backends.run_records import ended_as

        self._ended_at = time.time()
        self._outcome = ended_as(error)

    def record(self) -> RunRecord | None:
        """Return the record of the run; None of one that was refused before it started.

        Raises:
            OptionError: it had too many steps to be kept.
        """
        from functionfuse.runs import record_of

        if self._plan is None:
            return None
        if not self._is_kept:
            raise OptionError(
                f"a run of {len(self._plan):,} nodes leaves a record in a store only: set_storage(...) before it; "
                f"without one, those of up to {MOST_STEPS:,} nodes are kept"
            )
        if not self._content.saved:
            recorder = self._new_recorder(_root(self._plan)) if self._recorder is None else self._recorder
            recorder.end_as(*self._outcome, self._ended_at or time.time())
        id, content, meta = self._content.saved
        return record_of(id, self._spec.workflow_name, meta, content)

    def _new_recorder(self, root: Frame) -> RunRecorder:
        """Return a recorder that knows what happened so far."""
        from functionfuse.backends.run_records import RunRecorder  # which imports what runs with a store need

        store: Any = self._content  # which needs but one verb
        recorder = RunRecorder(self._spec, self._options, store=store, started=self._started)
        recorder.planned(root)
        by_name = root.plan.by_name
        for name, state, at, seconds in zip(*(self._ended[n::4] for n in range(4)), strict=True):
            recorder.ended(Task(root, by_name[name]), state, seconds, at=at, **self._details.get(name, {}))
        self._ended.clear()
        self._details.clear()
        return recorder


class _Content:
    """Stands for a store that has nothing but the record of this run."""

    def __init__(self) -> None:
        self.saved: tuple[Any, ...] = ()

    def save(self, workflow_name: str, id: str, content: bytes, *, meta: Mapping[str, Any]) -> None:  # noqa: ARG002
        self.saved = id, content, meta["run"]


def _root(plan: Plan) -> Frame:
    """Return a frame in whose place a recorder takes that of the run, which holds results."""
    return Frame(plan, (), None, None, lambda frame, name: None)  # noqa: ARG005
