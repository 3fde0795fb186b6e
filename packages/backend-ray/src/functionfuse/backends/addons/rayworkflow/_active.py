"""A workflow that is to run, and how it is told to those who wait for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse.backends.addons.rayworkflow.common import WorkflowStatus
from functionfuse.backends.addons.rayworkflow.exceptions import WorkflowExecutionError, WorkflowStillActiveError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functionfuse.backends.addons.rayworkflow._commits import Commits
    from functionfuse.backends.addons.rayworkflow._execution import Ending, Execution
    from functionfuse.backends.addons.rayworkflow._nodes import Node
    from functionfuse.backends.addons.rayworkflow._output import Output
    from functionfuse.backends.addons.rayworkflow._records import StoredWorkflow


class Order(NamedTuple):
    """What a driver wants to be run.

    Attributes:
        workflow_id: its id.
        run: a word that tells this order from others.
        graph: the pickle of its graph.
        functions: by sha256, the pickles of its functions.
        metadata: the user's own.
        runtime_env: for its tasks, but for those that have their own.
    """

    workflow_id: str
    run: str
    graph: bytes
    functions: Mapping[str, bytes]
    metadata: dict[str, Any]
    runtime_env: dict[str, Any]


class Active:
    """A workflow that runs, or waits to.

    Attributes:
        stored: its records.
        journal: the same.
        status: PENDING or RUNNING.
        execution: once it runs.
        nodes: by name, the first task of that name.
        ended: how it ended, in the future.
        asked: by task, those who wait for its value.
        runtime_env: of its tasks.
        retaken: whether a former process of this actor ran it.
        epoch: since which this process runs it.
        commits: stores results that workers left to the controller.
    """

    def __init__(self, stored: StoredWorkflow, runtime_env: dict[str, Any], *, retaken: bool) -> None:
        self.stored = stored
        self.runtime_env = runtime_env
        self.retaken = retaken
        self.journal = stored.journal
        self.status = WorkflowStatus.PENDING
        self.epoch = 0
        self.commits: Commits | None = None
        self.execution: Execution | None = None
        self.nodes: dict[str, Node] = {}
        self.ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self.asked: dict[str, list[asyncio.Future[Output]]] = {}


def failure(workflow_id: str, task: str, cause: BaseException) -> Exception:
    """Return the error of a workflow of which a task failed."""
    if isinstance(cause, WorkflowStillActiveError):
        return cause
    reason = f"Task {task!r}: {type(cause).__name__}: {cause}" if task else f"{type(cause).__name__}: {cause}"
    error = WorkflowExecutionError(workflow_id, reason)
    error.__cause__ = cause
    return error
