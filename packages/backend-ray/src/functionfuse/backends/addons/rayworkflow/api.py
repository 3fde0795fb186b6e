"""Durable workflows: what users call. The signatures are those of ray.workflow in Ray 2.47."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray
from ray.dag import DAGNode

from functionfuse.backends.addons.rayworkflow._controller import actor, driver
from functionfuse.backends.addons.rayworkflow._controller.lease import check_lease
from functionfuse.backends.addons.rayworkflow._controller.logs import logger
from functionfuse.backends.addons.rayworkflow._dag.capture import execute_plainly
from functionfuse.backends.addons.rayworkflow._dag.graphs import as_dag
from functionfuse.backends.addons.rayworkflow._dag.options import CHECKPOINTS
from functionfuse.backends.addons.rayworkflow._records.retention import is_retention
from functionfuse.backends.addons.rayworkflow._worker.context import current
from functionfuse.backends.addons.rayworkflow.common import WorkflowStatus
from functionfuse.deferred import Deferred
from functionfuse.stores import open_store

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from functionfuse.stores import Catalogue


def init(
    *,
    max_running_workflows: int | None = None,
    max_pending_workflows: int | None = None,
    storage: Catalogue | str | os.PathLike[str] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    lease_seconds: float | None = None,
    checkpoint: str | None = None,
    retention: str | float | None = None,
) -> None:
    """Start the controller of this cluster's workflows. Ray is initialised if it is not.

    Args:
        max_running_workflows: how many workflows run at a time; -1 for any number.
        max_pending_workflows: how many may wait for that; -1 for any number.
        storage: where workflows are stored: a folder, ``"file:/folder"``, ``"s3://bucket/prefix"`` or a store. By
            default what the environment variable FUNCTIONFUSE_WORKFLOW_STORAGE names, else a temporary folder.
        storage_options: of the store that is opened there, like ``endpoint_url`` and ``credentials`` of a bucket.
        lease_seconds: how long a controller sends no heartbeat before another cluster may take over its workflows.
        checkpoint: "strict", the default, stores a result before its task ends. "grouped" lets tasks go on with results
            up to 32 KiB that the controller stores many at a time; outputs are returned once they are stored. It is
            faster, and what was not stored when the controller dies runs again.
        retention: what is kept of a workflow that ended: "all", the default; "final", after success its output only; or
            for how many seconds it is kept at all.

    Raises:
        ValueError: the controller runs already, with other options; or a number cannot be used.
        TypeError: something that must be a number is none.
    """
    _check_limit("max_running_workflows", max_running_workflows, least=1)
    _check_limit("max_pending_workflows", max_pending_workflows, least=0)
    if lease_seconds is not None:
        check_lease(lease_seconds)
    if checkpoint not in (None, *CHECKPOINTS):
        raise ValueError(f"checkpoint must be one of {', '.join(map(repr, CHECKPOINTS))}, not {checkpoint!r}.")
    if retention is not None and not is_retention(retention):
        raise ValueError(f"retention must be 'all', 'final' or a number of seconds, not {retention!r}.")
    if storage_options and isinstance(storage, str):
        storage = open_store(storage, **storage_options)
    elif storage_options:
        raise ValueError(f"storage_options are for a location that is text, not for {storage!r}")
    actor.start(
        storage,
        max_running=max_running_workflows,
        max_pending=max_pending_workflows,
        lease=lease_seconds,
        checkpoint=checkpoint,
        retention=retention,
    )


def run(
    dag: DAGNode | Deferred,
    *args: Any,
    workflow_id: str | None = None,
    metadata: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Any:
    """Run a workflow to its end, and return its output.

    A workflow of this id that is stored already is resumed as it was stored, with the arguments of then. Errors of the
    workflow are RayTaskErrors, too.

    Args:
        dag: the node whose result is wanted; one of Function Fuse is fine, too.
        args: for the InputNode of the DAG, if it has one.
        workflow_id: an id to find the workflow by; a new one by default.
        metadata: what JSON can hold, for `get_metadata`.
        kwargs: as ``args``.

    Raises:
        TypeError: a function is bound to arguments that it does not take; nothing is stored.
        WorkflowExecutionError: a task failed; its ``__cause__`` is what the function raised.
        WorkflowCancellationError: somebody cancelled it.
        WorkflowNotResumableError: one of this id is stored with other code, and has not ended well.
    """
    return driver.fetch(driver.locate_output(driver.submit(dag, args, kwargs, workflow_id, metadata)))


def run_async(
    dag: DAGNode | Deferred,
    *args: Any,
    workflow_id: str | None = None,
    metadata: dict[str, Any] | None = None,
    **kwargs: Any,
) -> ray.ObjectRef[Any]:
    """Store a workflow and let it run; return an ObjectRef of its output. For the arguments see `run`.

    What ObjectRefs in arguments are to is stored first, and therefore waited for.

    Args:
        dag: the node whose result is wanted.
        args: for the InputNode of the DAG, if it has one.
        workflow_id: an id to find the workflow by; a new one by default.
        metadata: what JSON can hold, for `get_metadata`.
        kwargs: as `args`.

    Raises:
        TypeError: a function is bound to arguments that it does not take; nothing is stored.
        RuntimeError: a workflow of this id is running or pending.
        WorkflowNotResumableError: one of this id is stored with other code, and has not ended well.
        queue.Full: too many workflows are pending.
    """
    return driver.reference_to(driver.locate_output(driver.submit(dag, args, kwargs, workflow_id, metadata)))


def resume(workflow_id: str, *, allow_changed_code: bool = False) -> Any:
    """Let a stored workflow go on, and return its output; at once if it was successful and its output is stored.

    Args:
        workflow_id: its id.
        allow_changed_code: go on even if workers import functions whose code has changed since it was stored.

    Raises:
        RuntimeError: it is running or pending.
        WorkflowNotResumableError: nothing is stored under this id, or code has changed.
    """
    return driver.fetch(driver.locate_output(driver.resume(_checked(workflow_id), allow_changed_code)))


def resume_async(workflow_id: str, *, allow_changed_code: bool = False) -> ray.ObjectRef[Any]:
    """Let a stored workflow go on; return an ObjectRef of its output. See `resume`.

    Args:
        workflow_id: the id of the workflow.
        allow_changed_code: go on even if workers import functions whose code has changed since it was stored.
    """
    return driver.reference_to(driver.locate_output(driver.resume(_checked(workflow_id), allow_changed_code)))


def resume_all(include_failed: bool = False) -> list[tuple[str, ray.ObjectRef[Any]]]:
    """Let all workflows go on that were running or pending when their cluster ended.

    What another cluster runs stays with it. A workflow that cannot be resumed is logged and left out.

    Args:
        include_failed: those that failed too.

    Returns:
        Ids, and ObjectRefs of outputs.
    """
    wanted = {WorkflowStatus.RESUMABLE} | ({WorkflowStatus.FAILED} if include_failed else set())
    resumed = []
    for workflow_id, _ in list_all(wanted):
        try:
            resumed.append((workflow_id, resume_async(workflow_id)))
        except Exception:
            logger.exception("Failed to resume workflow %s", workflow_id)
    return resumed


def get_output(workflow_id: str, *, task_id: str | None = None) -> Any:
    """Return the output of a workflow, or of one of its tasks, once there is one.

    Each error is a ValueError. An output that is stored needs no free processor.

    Args:
        workflow_id: the id of the workflow.
        task_id: the name of one of its tasks; by default the output of the workflow.

    Raises:
        FailedOutputError: a WorkflowExecutionError; the workflow failed, and the ``__cause__`` is what was raised.
        CancelledOutputError: a WorkflowCancellationError; somebody cancelled the workflow.
        WorkflowNotFoundError: nothing is stored under this id; the workflow was never run, or is deleted.
        ValueError: there is no such task, its output was not stored, or the workflow has to be resumed.
    """
    return driver.fetch(driver.find_output(_checked(workflow_id), task_id))


def get_output_async(workflow_id: str, *, task_id: str | None = None) -> ray.ObjectRef[Any]:
    """Return an ObjectRef of the output of a workflow, or of one of its tasks, which need not have begun.

    It is awaited, or waited for with a time limit, like every ObjectRef. For the errors see `get_output`.

    Args:
        workflow_id: the id of the workflow.
        task_id: the name of one of its tasks; by default the output of the workflow.
    """
    return driver.reference_to(driver.find_output(_checked(workflow_id), task_id))


def list_all(
    status_filter: WorkflowStatus | str | set[WorkflowStatus] | set[str] | None = None,
) -> list[tuple[str, WorkflowStatus]]:
    """Return the ids and states of all workflows, or of those in certain states.

    Args:
        status_filter: one state, or several; "NONE" for ids that are no workflows, and to which events were sent.
    """
    if status_filter is None:
        wanted = set(WorkflowStatus) - {WorkflowStatus.NONE}
    elif isinstance(status_filter, str):
        wanted = {WorkflowStatus(status_filter)}
    elif isinstance(status_filter, set):
        if not all(isinstance(status, str) for status in status_filter):
            raise TypeError(
                f"status_filter contains element which is not a type of `WorkflowStatus or str`. {status_filter}"
            )
        wanted = {WorkflowStatus(status) for status in status_filter}
    else:
        raise TypeError("status_filter must be WorkflowStatus or a set of WorkflowStatus.")
    return [(workflow_id, status) for workflow_id, status in actor.call("list_all") if status in wanted]


def get_status(workflow_id: str) -> WorkflowStatus:
    """Return the status of a workflow.

    Raises:
        WorkflowNotFoundError: nothing is stored under this id.
    """
    status: WorkflowStatus = actor.call("status", _checked(workflow_id))
    return status


def get_metadata(workflow_id: str, task_id: str | None = None) -> dict[str, Any]:
    """Return what is known of a workflow, or of one of its tasks.

    Args:
        workflow_id: the id of the workflow.
        task_id: the name of one of its tasks; by default the workflow itself.

    Raises:
        ValueError: there is no such workflow or task.
    """
    known: dict[str, Any] = actor.call("metadata", _checked(workflow_id), task_id)
    return known


def cancel(workflow_id: str) -> None:
    """Stop a workflow, its running tasks too. What it stored stays; see `delete`.

    Raises:
        WorkflowNotFoundError: nothing is stored under this id.
    """
    actor.call("cancel", _checked(workflow_id))


def delete(workflow_id: str) -> None:
    """Remove a workflow, and all that is stored of it; also events that were sent to an id without a workflow.

    Raises:
        WorkflowStillActiveError: it is running or pending.
        WorkflowNotFoundError: nothing is stored under this id.
    """
    actor.call("delete", _checked(workflow_id))


def continuation(dag_node: DAGNode | Deferred) -> Any:
    """Return what a task returns so that a DAG goes on in its place. Outside of workflows, execute the DAG."""
    if isinstance(dag_node, Deferred):
        dag_node = as_dag(dag_node)
    if not isinstance(dag_node, DAGNode):
        raise TypeError("Input should be a DAG.")
    return dag_node if current.get() is not None else ray.get(execute_plainly(dag_node))


def _checked(workflow_id: str) -> str:
    if not isinstance(workflow_id, str):
        raise TypeError("workflow_id has to be a string type.")
    return workflow_id


def _check_limit(name: str, limit: object, *, least: int) -> None:
    if limit is None:
        return
    if not isinstance(limit, int):
        raise TypeError(f"'{name}' must be None or an integer.")
    if limit < least and limit != -1:
        kind = "a positive integer" if least else "a non-negative integer"
        raise ValueError(f"'{name}' must be {kind} or use -1 as infinity.")
