"""How far a durable run is, as the driver receives it in events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from functionfuse.backends.displays import displayed
from functionfuse.backends.progress import RunProgress

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from functionfuse.backends.displays import Display
    from functionfuse.backends.observers import Event
    from functionfuse.plan import Plan


class EventProgress:
    """Counts the steps of a run that goes on elsewhere; an observer of it.

    Args:
        workflow_name: the workflow.
    """

    def __init__(self, workflow_name: str) -> None:
        self._counts = RunProgress(workflow_name)
        self._known: set[str] = set()

    def planned(self, plan: Plan) -> None:
        """Take in the steps of a run that begins."""
        self._known.update(plan.by_name)
        self._counts.total = len(plan)

    def __call__(self, event: Event) -> None:
        """Take in what became of a step; one of a graph that another step returned is counted from then on."""
        if event.name not in self._known:
            self._known.add(event.name)
            self._counts.total += 1
        self._counts.seconds += event.seconds or 0.0
        self._counts.noted(event.kind, event.name, event.error)

    def shown(self, display: Display) -> AbstractContextManager[None]:
        """Return a context in which the progress is shown.

        Args:
            display: shows it.
        """
        return displayed(self._counts, display)
