"""The verbs of a store bound to one workflow, for backends that hand them to workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .._record.format import Footer


class BindableStore(Protocol):
    """The verbs of a store that are bound; `FileStore` describes them."""

    def new_workflow(self, workflow_name: str) -> None:
        """Make room for the results of a workflow."""

    def read_task(self, workflow_name: str, task_name: str) -> Any:
        """Return a stored result.

        Args:
            workflow_name: of the workflow.
            task_name: of the result.
        """

    def has_task(self, workflow_name: str, task_name: str) -> bool:
        """Return True if there is a result.

        Args:
            workflow_name: of the workflow.
            task_name: of the result.
        """

    def list_tasks(self, workflow_name: str, pattern: str = "*") -> list[str]:
        """Return the names with a result.

        Args:
            workflow_name: of the workflow.
            pattern: a glob over names.
        """

    @property
    def save(self) -> Any:
        """Store a result."""


@dataclass(frozen=True)
class WorkflowStarter:
    """Call it to make room for the results of its workflow."""

    store: BindableStore
    workflow_name: str

    def __call__(self) -> None:
        self.store.new_workflow(self.workflow_name)


@dataclass(frozen=True)
class WorkflowReader:
    """Reads the results of its workflow."""

    store: BindableStore
    workflow_name: str

    def read_task(self, task_name: str) -> Any:
        """Return the stored result.

        Raises:
            TaskNotFound: there is none.
        """
        return self.store.read_task(self.workflow_name, task_name)

    def file_exists(self, task_name: str) -> bool:
        """Return True if there is a result."""
        return self.store.has_task(self.workflow_name, task_name)

    def list_tasks(self, pattern: str = "*") -> list[str]:
        """Return the names with a result, sorted; `pattern` is a glob over names."""
        return self.store.list_tasks(self.workflow_name, pattern)


@dataclass(frozen=True)
class WorkflowSaver:
    """Call it with a task name and an object to store a result of its workflow."""

    store: BindableStore
    workflow_name: str

    def __call__(self, task_name: str, obj: object, **options: Any) -> Footer:
        footer: Footer = self.store.save(self.workflow_name, task_name, obj, **options)
        return footer
