"""Events: what becomes of each step while a workflow runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from functionfuse._warning import warn_user

if TYPE_CHECKING:
    from collections.abc import Iterable

    from functionfuse.backends.recording import CallRecord, Output, Usage
    from functionfuse.errors import NodeError


EventKind: TypeAlias = Literal["started", "finished", "reused", "failed", "skipped"]


class Worker(NamedTuple):
    """Where a call was made.

    Attributes:
        host: the name of the machine.
        process: the number of the process.
    """

    host: str
    process: int


class Event(NamedTuple):
    """Something that happened to a step.

    Attributes:
        kind: "started" (its call was handed to the engine, which may make it later), "finished", "reused", "failed",
            or "skipped" (it cannot run, because a step that it needs failed).
        workflow_name: the workflow.
        name: the step's full name.
        time: when, in seconds since the epoch.
        seconds: how long the step took, for "finished" and "failed".
        error: why it failed; for "skipped" the error of the step that failed, which has the name of that.
        output: what the step printed, logged and warned of, for "finished" and "failed", where its call was recorded.
        usage: what it used, likewise.
        reason: why the step runs or is reused, for "started" and "reused" where the plan says it.
        started: when its call began where it was made, in seconds since the epoch of the clock there; for "finished"
            and "failed", where its call was recorded.
        worker: where it was made, likewise.
    """

    kind: EventKind
    workflow_name: str
    name: str
    time: float
    seconds: float | None = None
    error: NodeError | None = None
    output: Output | None = None
    usage: Usage | None = None
    reason: str = ""
    started: float | None = None
    worker: Worker | None = None


Observer: TypeAlias = Callable[[Event], object]


class EventChannel:
    """Calls observers with events; one that raises is left out, with a warning.

    Args:
        workflow_name: the workflow that the events are of.
        observers: what to call.
    """

    def __init__(self, workflow_name: str, observers: Iterable[Observer]) -> None:
        self._workflow_name = workflow_name
        self._observers = list(observers)

    def __bool__(self) -> bool:
        return bool(self._observers)

    def report(
        self,
        kind: EventKind,
        name: str,
        seconds: float | None = None,
        error: NodeError | None = None,
        record: CallRecord | None = None,
        reason: str = "",
    ) -> None:
        """Make an event and call every observer with it.

        Args:
            kind: what happened.
            name: the step's full name.
            seconds: how long the step took.
            error: why it failed.
            record: what was recorded of its call.
            reason: why it runs or is reused.
        """
        now = time.time()
        if record is None:
            self.pass_on(Event(kind, self._workflow_name, name, now, seconds, error, reason=reason))
            return
        output, usage = record.output, record.usage
        began = usage.started or None  # of a call that was lost with its process, nothing is known
        worker = Worker(usage.host, usage.process) if began else None
        self.pass_on(Event(kind, self._workflow_name, name, now, seconds, error, output, usage, reason, began, worker))

    def pass_on(self, event: Event) -> None:
        """Call every observer with an event."""
        for observer in list(self._observers):
            try:
                observer(event)
            except Exception as problem:
                self._observers.remove(observer)
                warn_user(
                    f"observer {observer!r} raised {problem!r} at {event.kind!r} of {event.name!r}; "
                    "this run calls it no more"
                )
