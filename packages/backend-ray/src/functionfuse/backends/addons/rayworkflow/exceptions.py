"""What goes wrong with durable workflows.

::

    WorkflowError (functionfuse.errors.EngineError)
    |-- WorkflowExecutionError            a task failed; its exception is the __cause__
    |   `-- FailedOutputError                 of get_output (ValueError)
    |-- WorkflowCancellationError         somebody cancelled it
    |   `-- CancelledOutputError              of get_output (ValueError)
    |-- WorkflowNotResumableError         it cannot go on
    |   `-- WorkflowTaskNotRecoverableError  what a task needs to run is damaged, or missing
    |-- WorkflowNotFoundError             nothing is stored under this id (ValueError)
    `-- WorkflowStillActiveError          it is running or pending

What a driver gets of them is a ``ray.exceptions.RayTaskError``, too.
"""

from __future__ import annotations

from typing import Any

from functionfuse.errors import EngineError


class WorkflowError(EngineError):
    """Base of every error of a durable workflow."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.message, self.__cause__)


class WorkflowExecutionError(WorkflowError):
    """A task failed, or its result could not be kept; what had finished is stored."""

    def __init__(self, workflow_id: str, reason: str = "") -> None:
        super().__init__(f"Workflow[id={workflow_id}] failed during execution.{reason and ' ' + reason}")


class FailedOutputError(WorkflowExecutionError, ValueError):
    """There is no such output, as the workflow failed."""


class WorkflowCancellationError(WorkflowError):
    """Somebody cancelled the workflow."""

    def __init__(self, workflow_id: str) -> None:
        super().__init__(f"Workflow[id={workflow_id}] is cancelled during execution.")


class CancelledOutputError(WorkflowCancellationError, ValueError):
    """There is no such output, as somebody cancelled the workflow."""


class WorkflowNotResumableError(WorkflowError):
    """The workflow cannot go on."""

    def __init__(self, workflow_id: str, reason: str = "") -> None:
        super().__init__(f"Workflow[id={workflow_id}] is not resumable.{reason and ' ' + reason}")


class WorkflowTaskNotRecoverableError(WorkflowNotResumableError):
    """What a task needs to run is damaged in the store, or missing; nothing can replace it."""

    def __init__(self, task_id: str, reason: str = "") -> None:
        message = f"Workflow task[id={task_id}] is not recoverable{reason and ': ' + reason}"
        WorkflowError.__init__(self, message)


class WorkflowNotFoundError(WorkflowError, ValueError):
    """Nothing is stored under this id."""

    def __init__(self, workflow_id: str) -> None:
        super().__init__(f"Workflow[id={workflow_id}] was referenced but doesn't exist.")


class WorkflowStillActiveError(WorkflowError):
    """The workflow is running or pending, which forbids the operation."""

    def __init__(self, operation: str, workflow_id: str) -> None:
        super().__init__(
            f"{operation} couldn't be completed because Workflow[id={workflow_id}] is still running or pending."
        )


def missing_output(error: WorkflowError) -> WorkflowError:
    """Return the error of who asks for an output that does not exist, for the error of the workflow."""
    kind = FailedOutputError if isinstance(error, WorkflowExecutionError) else CancelledOutputError
    return _again(kind, error.message, error.__cause__)


def _again(kind: type[WorkflowError], message: str, cause: BaseException | None) -> WorkflowError:
    error = kind.__new__(kind, message)
    WorkflowError.__init__(error, message)
    error.__cause__ = cause
    return error
