"""The verbs of a store bound to one workflow, for backends that hand them to workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .._ray.store import RayStore
    from .._record.format import Footer
    from .store import RecordStore


@dataclass(frozen=True)
class WorkflowStarter:
    """Call it to make room for the results of its workflow."""

    store: RecordStore | RayStore
    workflow_name: str

    def __call__(self) -> None:
        self.store.new_workflow(self.workflow_name)


@dataclass(frozen=True)
class WorkflowReader:
    """Reads the results of its workflow."""

    store: RecordStore | RayStore
    workflow_name: str

    def read_task(self, task_name: str) -> Any:
        """Return the stored result. TaskNotFound when there is none."""
        return self.store.read_task(self.workflow_name, task_name)

    def file_exists(self, task_name: str) -> bool:
        """Whether there is a result."""
        return self.store.has_task(self.workflow_name, task_name)

    def list_tasks(self, pattern: str = "*") -> list[str]:
        """Return the names with a result, sorted; ``pattern`` is a glob over names."""
        return self.store.list_tasks(self.workflow_name, pattern)


@dataclass(frozen=True)
class WorkflowSaver:
    """Call it with a task name and an object to store a result of its workflow."""

    store: RecordStore | RayStore
    workflow_name: str

    def __call__(self, task_name: str, obj: object, **options: Any) -> Footer:
        return self.store.save(self.workflow_name, task_name, obj, **options)
