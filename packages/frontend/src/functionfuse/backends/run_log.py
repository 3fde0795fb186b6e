"""What is reported of a run while it goes on: its report, events for observers, and its record in the store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from functionfuse.backends.report import RunReport

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from functionfuse.backends.frames import Frame, Task
    from functionfuse.backends.observers import EventChannel, EventKind
    from functionfuse.backends.progress import RunProgress
    from functionfuse.backends.recording import CallRecord
    from functionfuse.backends.run_memory import RunMemory
    from functionfuse.backends.run_records import RunRecorder
    from functionfuse.errors import NodeError
    from functionfuse.plan import Ref


class RunLog:
    """Passes on what becomes of steps.

    Args:
        events: what observers are called through.
        recorder: keeps what the record of the run needs; None if there is none.
        progress: counts what became of steps, for a display; None if there is none.
        reports: whether somebody may see the report of what finished.

    Attributes:
        report: what became of every step.
        is_recorded: whether the run has a record in a store.
        has_receivers: whether anything receives steps that finish.
        memory: what alone receives them, besides `progress`; None if something else does, too, or nothing.
    """

    def __init__(
        self,
        events: EventChannel,
        recorder: RunRecorder | RunMemory | None,
        progress: RunProgress | None,
        *,
        reports: bool,
    ) -> None:
        self.report = RunReport()
        self._progress = progress
        self._events = events if events else None  # asked for at every step
        self._recorder = recorder
        self.is_recorded = recorder is not None and recorder.uses_records
        self._reports = reports
        has_others = self.is_recorded or self.is_observed or reports
        self.has_receivers = has_others or progress is not None or recorder is not None
        self.memory: RunMemory | None = None if has_others else recorder  # type: ignore[assignment]

    @property
    def is_observed(self) -> bool:
        """Return True if observers are called with events."""
        return self._events is not None

    @property
    def uses_records(self) -> bool:
        """Return True if what is recorded of calls that succeed is used."""
        return self._events is not None or (self._recorder is not None and self._recorder.uses_records)

    def write_if_due(self) -> None:
        """Write the record of the run, if it has changed, and was last written some time ago."""
        if self._recorder is not None:
            self._recorder.write_if_due()

    def write_later(self) -> None:
        """Write the record of the run when it is due, as this thread begins a call that may take long."""
        if self._recorder is not None:
            self._recorder.write_later()

    def taken(self, frame: Frame, refs: Sequence[Ref], values: Sequence[Any]) -> None:
        """Take in the results that the run was asked for.

        Args:
            frame: of the whole plan.
            refs: what was asked for.
            values: the results.
        """
        if self._recorder is not None:
            self._recorder.taken(frame, refs, values)

    def opened(self, frame: Frame) -> None:
        """Take in the steps of a frame, and those that are reused.

        Args:
            frame: that was opened.
        """
        reused = []
        for step in frame.plan.steps if frame.left < len(frame.plan) else ():
            if step.action == "reuse":
                name = frame.full_name(step.name)
                reused.append(name)
                if self._events is not None:
                    self._events.report("reused", name, reason=step.reason)
        self.report.reused += reused
        if self._progress is not None:
            self._progress.opened(frame, reused)
        if self._recorder is not None:
            self._recorder.planned(frame)

    def started(self, task: Task) -> None:
        """Take in that a step was handed to the engine.

        Args:
            task: the step.
        """
        if self._progress is not None:
            self._progress.submitted[task.name] = task.step.target.qualname
        if self._events is not None and task.step.name not in task.frame.attempts:
            self._events.report("started", task.name, reason=task.step.reason)
        if self._recorder is not None:
            self._recorder.began(task)

    def finished(
        self,
        task: Task,
        seconds: float,
        record: CallRecord | None,
        *,
        attempts: int,
        footer: Mapping[str, Any] | None,
    ) -> None:
        """Take in that a step ran to its end.

        Args:
            task: the step.
            seconds: how long it took.
            record: what was recorded of it.
            attempts: how many there were.
            footer: of its stored result.
        """
        if self._progress is not None:
            self._progress.finished_one(task, seconds)
        if self._recorder is not None:
            self._recorder.ended(task, "finished", seconds, record, attempts=attempts, footer=footer)
        if self._events is not None:
            self._events.report("finished", task.name, seconds, None, record)
        if self._reports:
            self.report.finished.append(task.name)

    def reused(
        self,
        task: Task,
        seconds: float = 0.0,
        record: CallRecord | None = None,
        *,
        footer: Mapping[str, Any] | None = None,
        difference: str = "",
    ) -> None:
        """Take in that the stored result of a step stands, as turned out while the run went on.

        Args:
            task: the step.
            seconds: how long it took to make it again, where that was done.
            record: what was recorded of that.
            footer: of the stored result.
            difference: how the new result differed from it.
        """
        name = task.name
        if self._progress is not None:
            self._progress.reused_one(task, seconds)
        self.report.reused.append(name)
        if difference:
            self.report.differing[name] = difference
        if self._events is not None:
            self._events.report("reused", name, seconds or None, None, record)
        if self._recorder is not None:
            self._recorder.ended(task, "reused", seconds, record, footer=footer, error=difference)

    def failed(
        self, task: Task, seconds: float, failure: NodeError, record: CallRecord | None, *, attempts: int
    ) -> None:
        """Take in that a step failed.

        Args:
            task: the step.
            seconds: how long it took.
            failure: why.
            record: what was recorded of it.
            attempts: how many there were.
        """
        if self._progress is not None:
            self._progress.failed_one(task, seconds, failure)
        self._report("failed", task.name, seconds, failure, record)
        if self._recorder is not None:
            self._recorder.ended(task, "failed", seconds, record, attempts=attempts, error=str(failure))

    def skipped(self, task: Task, error: NodeError) -> None:
        """Take in that a step cannot run.

        Args:
            task: the step.
            error: of the step that it depends on.
        """
        self.report.skipped[task.name] = error.name
        if self._progress is not None:
            self._progress.noted("skipped", task.name, None)
        if self._events is not None:
            self._events.report("skipped", task.name, error=error)
        if self._recorder is not None:
            self._recorder.ended(task, "skipped", 0.0, error=f"needs {error.name!r}, which failed")

    def failed_within(self, frame: Frame, failure: NodeError) -> None:
        """Take in that a dynamic step, which was started, has no result.

        Args:
            frame: of its graph.
            failure: of a step in it.
        """
        parent, seconds = frame.parent, time.perf_counter() - frame.started
        assert parent is not None
        self.report.skipped[parent.name] = failure.name
        if self._progress is not None:
            self._progress.failed += 1
        if self._events is not None:
            self._events.report("failed", parent.name, seconds, failure, frame.record)
        if self._recorder is not None:
            reason = f"its step {failure.name!r} failed"
            self._recorder.ended(parent, "failed", seconds, frame.record, error=reason)

    def runs(self, name: str) -> None:
        """Take in that a step which was started runs now.

        Args:
            name: the step's full name.
        """
        if self._progress is not None:
            self._progress.began(name)

    def not_stored(self, name: str, failure: NodeError) -> None:
        """Take in that the result of a step that finished could not be stored.

        Args:
            name: the step's full name.
            failure: why.
        """
        if self._progress is not None:
            self._progress.finished -= 1
        self.noted("failed", name, None, failure)

    def noted(
        self,
        kind: EventKind,
        name: str,
        seconds: float | None = None,
        error: NodeError | None = None,
        record: CallRecord | None = None,
    ) -> None:
        """Take in what became of a step that is known by its name alone.

        Args:
            kind: what happened; a step that "failed" with the error of one that it depends on is skipped.
            name: the step's full name.
            seconds: how long it took.
            error: why it failed, or the error of the step that it depends on.
            record: what was recorded of its call.
        """
        if error is not None and error.name not in ("", name) and not error.name.startswith(f"{name}/"):
            kind = "skipped"
        if self._progress is not None:
            self._progress.noted(kind, name, error)
        self._report(kind, name, seconds, error, record)
        if self._recorder is not None and kind != "started":
            self._recorder.noted(kind, name, seconds, error, record)

    def _report(
        self,
        kind: EventKind,
        name: str,
        seconds: float | None,
        error: NodeError | None,
        record: CallRecord | None,
    ) -> None:
        if kind != "started":
            self.report.note(kind, name, error)
        if self._events is not None:
            self._events.report(kind, name, seconds, error, record)
