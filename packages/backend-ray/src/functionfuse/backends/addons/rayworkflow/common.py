"""What states a workflow is in, and the type of events."""

from __future__ import annotations

from enum import Enum, unique
from typing import Any

Event = Any
"""What a listener returns, of any type."""


@unique
class WorkflowStatus(str, Enum):  # noqa: UP042  printed as it was in ray.workflow
    """The state of a workflow; equal to its name."""

    NONE = "NONE"
    """There is no such workflow."""
    RUNNING = "RUNNING"
    """Its tasks are being executed."""
    CANCELED = "CANCELED"
    """Somebody cancelled it; only an explicit ``resume`` lets it go on."""
    SUCCESSFUL = "SUCCESSFUL"
    """Its output is stored."""
    FAILED = "FAILED"
    """A task failed; it can be resumed."""
    RESUMABLE = "RESUMABLE"
    """It was running or pending when its cluster ended; it can be resumed."""
    PENDING = "PENDING"
    """It waits until fewer workflows run."""

    @classmethod
    def non_terminating_status(cls) -> tuple[WorkflowStatus, ...]:
        """Return the states of workflows that go on by themselves."""
        return cls.RUNNING, cls.PENDING
