"""What a function can know of the workflow that calls it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import NamedTuple


class TaskContext(NamedTuple):
    """The task that is running here."""

    workflow_id: str
    task_id: str


current: ContextVar[TaskContext | None] = ContextVar("functionfuse_task", default=None)
