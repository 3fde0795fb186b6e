"""Outputs, which are fetched where they are unpickled, from memory or else from the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError, RayTaskError

from functionfuse.backends.serialization import deserialized_error

from .._records.references import remote
from .._records.results import TaskResults
from .._worker.reading import is_valid_result, read_output
from ..exceptions import (
    WorkflowCancellationError,
    WorkflowExecutionError,
    WorkflowStillActiveError,
)

if TYPE_CHECKING:
    from .._dag.serialization import Reference
    from .._records.references import RecordLocation
    from .._records.workflow import StoredWorkflow


class LazyOutput:
    """Stands for a value, and becomes it when it is unpickled.

    Args:
        reference: to the value in the cluster, if it is there.
        location: where the records of the workflow are.
        key: under which the value is stored.
    """

    def __init__(self, reference: Reference | None, location: RecordLocation, key: str) -> None:
        self.reference = reference
        self.location = location
        self.key = key

    def __reduce__(self) -> tuple[Any, ...]:
        return fetched, (self.reference, self.location, self.key)


def fetched(reference: Reference | None, location: RecordLocation, key: str) -> Any:
    """Return the value of an output.

    Args:
        reference: to the value in the cluster, if it is there.
        location: where the records of the workflow are.
        key: the key of the task.
    """
    if reference is not None:
        try:
            return ray.get(reference)
        except RayTaskError:
            raise
        except RayError:
            pass  # the process that had it in memory has ended
    return ray.get(remote(read_output).remote(location, key))


def has_output(stored: StoredWorkflow, location: RecordLocation) -> bool:
    """Return True if the output of a successful workflow is as it was stored, or was not to be stored.

    Args:
        stored: the workflow.
        location: where the records of the workflow are.
    """
    ended = stored.ended()
    if ended is None:
        return False
    results = TaskResults(stored.journal)
    return not results.has(ended.output) or is_valid_result(results.get(ended.output), location)


def stored_output(stored: StoredWorkflow, location: RecordLocation, task: str | None) -> LazyOutput:
    """Return the output of a workflow that does not run here, or of one of its tasks.

    Args:
        stored: the workflow.
        location: where the records of the workflow are.
        task: the name or the key of a task; None for the whole workflow.

    Raises:
        WorkflowCancellationError: somebody cancelled it.
        WorkflowExecutionError: it failed.
        ValueError: there is none.
    """
    if task is not None:
        return LazyOutput(None, location, stored.key_of(task))
    ended = stored.ended()
    if ended is None:
        raise ValueError(f"Cannot load output from workflow {stored.workflow_id!r}: it did not end; resume it")
    if ended.status == "CANCELED":
        raise WorkflowCancellationError(stored.workflow_id)
    if ended.error:
        raise failure(stored.workflow_id, ended.task, deserialized_error(ended.error))
    if not TaskResults(stored.journal).has(ended.output):
        raise ValueError(f"Cannot load output from workflow {stored.workflow_id!r}: it was not to be stored")
    return LazyOutput(None, location, ended.output)


def failure(workflow_id: str, task: str, cause: BaseException) -> Exception:
    """Return the error of a workflow of which a task failed.

    Args:
        workflow_id: the id of the workflow.
        task: the name of the task; empty if it was none.
        cause: what was raised.
    """
    if isinstance(cause, WorkflowStillActiveError):
        return cause
    reason = f"Task {task!r}: {type(cause).__name__}: {cause}" if task else f"{type(cause).__name__}: {cause}"
    error = WorkflowExecutionError(workflow_id, reason)
    error.__cause__ = cause
    return error
