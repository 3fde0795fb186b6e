"""Events: what becomes of each step while a workflow runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from functionfuse._warning import warn_user

if TYPE_CHECKING:
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
    """

    kind: EventKind
    workflow_name: str
    name: str
    time: float
    seconds: float | None = None
    error: NodeError | None = None


Observer: TypeAlias = Callable[[Event], object]


class Announcer:
    """Passes events on to observers; an observer that raises is warned of and left out."""

    def __init__(self, workflow_name: str, observers: list[Observer]) -> None:
        self._workflow_name = workflow_name
        self._observers = list(observers)

    def __bool__(self) -> bool:
        return bool(self._observers)

    def tell(
        self,
        kind: EventKind,
        name: str,
        seconds: float | None = None,
        error: NodeError | None = None,
    ) -> None:
        """Make an event and hand it to every observer."""
        event = Event(kind, self._workflow_name, name, time.time(), seconds, error)
        for observer in list(self._observers):
            try:
                observer(event)
            except Exception as problem:
                self._observers.remove(observer)
                warn_user(
                    f"observer {observer!r} raised {problem!r} at {kind!r} of {name!r}; it hears no more of this run"
                )
