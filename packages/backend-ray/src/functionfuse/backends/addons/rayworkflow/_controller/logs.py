"""What the controller logs, in the words of ray.workflow: Ray shows it to drivers, and keeps it in its log files."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from ray.exceptions import RayError

if TYPE_CHECKING:
    from .._dag.spec import TaskSpec

logger = logging.getLogger(__name__.rpartition(".")[0])


def show() -> None:
    """Let this process, which is one of Ray's, write what is logged."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s\t%(levelname)s %(filename)s:%(lineno)s -- %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.info("Initializing workflow manager...")


def started(workflow_id: str) -> None:
    """Log that a workflow runs."""
    logger.info("Workflow job [id=%s] started.", workflow_id)


def ended(workflow_id: str, status: str, task: str, error: BaseException | None) -> None:
    """Log how a workflow ended.

    Args:
        workflow_id: its id.
        status: "SUCCESSFUL", "FAILED" or "CANCELED".
        task: the name of the task that failed.
        error: what that raised.
    """
    if status == "SUCCESSFUL":
        logger.info("Workflow '%s' completes successfully.", workflow_id)
    elif status == "CANCELED":
        logger.warning("Workflow '%s' is cancelled.", workflow_id)
    else:
        if task:
            reason = "a system error" if isinstance(error, RayError) else "an exception raised by the task"
            logger.error("Task status [FAILED] due to %s.\t[%s@%s]", reason, workflow_id, task)
        logger.error("Workflow '%s' failed due to %s", workflow_id, error)


def running(workflow_id: str, task: str) -> None:
    """Log that a task was handed to Ray; for debugging, as there are so many.

    Args:
        workflow_id: the id of the workflow.
        task: the name of the task.
    """
    logger.debug("Task status [RUNNING]\t[%s@%s]", workflow_id, task)


def successful(workflow_id: str, task: str) -> None:
    """Log that a task has a result.

    Args:
        workflow_id: the id of the workflow.
        task: the name of the task.
    """
    logger.debug("Task status [SUCCESSFUL]\t[%s@%s]", workflow_id, task)


def retried(workflow_id: str, task: TaskSpec, attempts: int) -> None:
    """Log that a function was called again.

    Args:
        workflow_id: the id of the workflow.
        task: what it is.
        attempts: how often the function was called.
    """
    logger.info("Retry [%s@%s] (%s/%s)", workflow_id, task.name, attempts - 1, task.options.max_retries)


def caught(workflow_id: str, source: str, catcher: str) -> None:
    """Log which task caught an exception of another one.

    Args:
        workflow_id: the id of the workflow.
        source: the name of the task that failed.
        catcher: the name of the task that caught it.
    """
    logger.info(
        "Exception raised by '%s@%s' is caught by '%s@%s'",
        workflow_id, source, workflow_id, catcher,
    )  # fmt: skip
