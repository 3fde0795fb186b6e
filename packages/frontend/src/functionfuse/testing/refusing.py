"""A backend that refuses to run anything: the double that proves laziness and reuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from functionfuse.backends.base import BaseWorkflow

if TYPE_CHECKING:
    from functionfuse.backends.execution import Run


class RefusingWorkflow(BaseWorkflow):
    """Returns results that a store holds, and runs nothing.

    The first step that would have to run is an AssertionError that names it, with the reason.
    """

    def execute(self, run: Run) -> None:
        """Refuse the first step that is to run."""
        for task in run.in_order():
            raise AssertionError(f"{task.name!r} would have to run: {task.step.reason}")
