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


EventKind: TypeAlias = Literal["started", "finished", "reused", "failed"]


class Event(NamedTuple):
    """Something that happened to a step.

    Attributes:
        kind: "started" (its call was handed to the engine), "finished", "reused" or "failed".
        workflow_name: the workflow.
        name: the step's full name.
        time: when, in seconds since the epoch.
        seconds: how long the step took, for "finished" and "failed".
        error: why it failed.
        output: what the step printed, logged and warned of, for "finished" and "failed", where its call was recorded.
        usage: what it used, likewise.
        reason: why the step runs or is reused, for "started" and "reused" where the plan says it.
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
        output, usage = (None, None) if record is None else (record.output, record.usage)
        self.pass_on(Event(kind, self._workflow_name, name, time.time(), seconds, error, output, usage, reason))

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
