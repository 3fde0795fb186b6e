"""Outputs of workflows and tasks: where they are, and why there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import ray
from ray.exceptions import RayError, RayTaskError

from functionfuse.backends.builtin._ray.unchanged import unchanged
from functionfuse.backends.serialization import deserialized_error

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


class Output(NamedTuple):
    """Where an output is.

    Attributes:
        reference: to the value in the cluster, if it is there.
        location: where the records of the workflow are.
        key: under which the value is stored.
    """

    reference: Reference | None
    location: RecordLocation
    key: str


class NotInMemory(Exception):  # noqa: N818
    """The value of an output is not in the memory of the cluster, or not any more."""


def value_in_memory(output: Output) -> Any:
    """Return the value of an output that is in the memory of the cluster, without a copy of large arrays.

    Raises:
        NotInMemory: it is not there.
    """
    if output.reference is None:
        raise NotInMemory
    try:
        return ray.get(output.reference)
    except RayTaskError:
        raise
    except RayError as error:
        raise NotInMemory from error  # the process that had it has ended


def deliver(output: Output) -> Any:
    """Return the value of an output, from memory or else from the store: a task for those who cannot wait for it.

    Nothing may wait where Ray unpickles values: for ``await`` and futures it does so in its own thread.
    """
    try:
        return unchanged(value_in_memory(output))
    except NotInMemory:
        return read_output(output.location, output.key)


def has_output(stored: StoredWorkflow, location: RecordLocation) -> bool:
    """Return True if the output of a successful workflow is stored, and undamaged.

    Args:
        stored: the workflow.
        location: where the records of the workflow are.
    """
    ended = stored.ended()
    return ended is not None and is_valid_result(TaskResults(stored.journal).get(ended.output), location)


def stored_output(stored: StoredWorkflow, location: RecordLocation, task: str | None) -> Output:
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
    ended = stored.ended()
    wanted = task if task is not None else "" if ended is None else ended.output
    key = stored.key_of(wanted) if wanted else ""
    if key:
        return Output(None, location, key)
    if ended is not None and ended.status == "CANCELED":
        raise WorkflowCancellationError(stored.workflow_id)
    if ended is not None and ended.error:
        raise failure(stored.workflow_id, ended.task, deserialized_error(ended.error))
    if task is not None:
        raise ValueError(f"Cannot load output from task id '{task}' in workflow '{stored.workflow_id}'")
    reason = "it did not end; resume it" if ended is None else "it was not stored; resume the workflow to compute it"
    raise ValueError(f"Cannot load output from workflow {stored.workflow_id!r}: {reason}")


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
