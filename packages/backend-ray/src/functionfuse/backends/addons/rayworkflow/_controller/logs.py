"""What the controller logs, in the words of ray.workflow: Ray shows it to drivers, and keeps it in its log files."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from ray.exceptions import RayError

if TYPE_CHECKING:
    from .scheduler import Ending
    from .tasks import Node

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


def ended(workflow_id: str, ending: Ending) -> None:
    """Log how a workflow ended."""
    if ending.status == "SUCCESSFUL":
        logger.info("Workflow '%s' completes successfully.", workflow_id)
    elif ending.status == "CANCELED":
        logger.warning("Workflow '%s' is cancelled.", workflow_id)
    else:
        if ending.task:
            reason = "a system error" if isinstance(ending.error, RayError) else "an exception raised by the task"
            logger.error("Task status [FAILED] due to %s.\t[%s@%s]", reason, workflow_id, ending.task)
        logger.error("Workflow '%s' failed due to %s", workflow_id, ending.error)


def running(workflow_id: str, node: Node) -> None:
    """Log that a task was handed to Ray; for debugging, as there are so many."""
    logger.debug("Task status [RUNNING]\t[%s@%s]", workflow_id, node.spec.name)


def successful(workflow_id: str, node: Node) -> None:
    """Log that a task has a result."""
    logger.debug("Task status [SUCCESSFUL]\t[%s@%s]", workflow_id, node.spec.name)


def retried(workflow_id: str, node: Node, attempts: int) -> None:
    """Log that a function was called again."""
    logger.info("Retry [%s@%s] (%s/%s)", workflow_id, node.spec.name, attempts - 1, node.spec.options.max_retries)


def caught(workflow_id: str, source: Node, catcher: Node) -> None:
    """Log which task caught an exception of another one."""
    logger.info(
        "Exception raised by '%s@%s' is caught by '%s@%s'",
        workflow_id, source.spec.name, workflow_id, catcher.spec.name,
    )  # fmt: skip
