"""Durable workflows on Ray: the public API of ``ray.workflow``, which Ray had until 2.47.

>>> from functionfuse.backends.addons import rayworkflow as workflow  # doctest: +SKIP
>>> workflow.init(storage="/shared/workflows")  # doctest: +SKIP
>>> workflow.run(add.bind(100, one.bind()), workflow_id="sum")  # doctest: +SKIP
"""

from __future__ import annotations

from functionfuse.backends.addons.rayworkflow._dag.graphs import as_dag
from functionfuse.backends.addons.rayworkflow._dag.options import options
from functionfuse.backends.addons.rayworkflow._dag.waits import sleep, wait_for_event
from functionfuse.backends.addons.rayworkflow.api import (
    cancel,
    continuation,
    delete,
    get_metadata,
    get_output,
    get_output_async,
    get_status,
    init,
    list_all,
    resume,
    resume_all,
    resume_async,
    run,
    run_async,
)
from functionfuse.backends.addons.rayworkflow.common import WorkflowStatus
from functionfuse.backends.addons.rayworkflow.event_listener import EventListener
from functionfuse.backends.addons.rayworkflow.exceptions import (
    WorkflowCancellationError,
    WorkflowError,
    WorkflowExecutionError,
    WorkflowNotFoundError,
    WorkflowNotResumableError,
    WorkflowStillActiveError,
)

NONE = WorkflowStatus.NONE
RUNNING = WorkflowStatus.RUNNING
CANCELED = WorkflowStatus.CANCELED
SUCCESSFUL = WorkflowStatus.SUCCESSFUL
FAILED = WorkflowStatus.FAILED
RESUMABLE = WorkflowStatus.RESUMABLE
PENDING = WorkflowStatus.PENDING

__all__ = [
    "EventListener",
    "WorkflowCancellationError",
    "WorkflowError",
    "WorkflowExecutionError",
    "WorkflowNotFoundError",
    "WorkflowNotResumableError",
    "WorkflowStatus",
    "WorkflowStillActiveError",
    "as_dag",
    "cancel",
    "continuation",
    "delete",
    "get_metadata",
    "get_output",
    "get_output_async",
    "get_status",
    "init",
    "list_all",
    "options",
    "resume",
    "resume_all",
    "resume_async",
    "run",
    "run_async",
    "sleep",
    "wait_for_event",
]
