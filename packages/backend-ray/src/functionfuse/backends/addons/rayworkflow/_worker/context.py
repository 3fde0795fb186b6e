"""What a function can know of the workflow that calls it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .._records.references import RecordLocation


class TaskContext(NamedTuple):
    """The task that is running here.

    Attributes:
        workflow_id: of its workflow.
        task_id: its name.
        key: under which its result is stored.
        location: where the records of the workflow are.
    """

    workflow_id: str
    task_id: str
    key: str
    location: RecordLocation


current: ContextVar[TaskContext | None] = ContextVar("functionfuse_task", default=None)
