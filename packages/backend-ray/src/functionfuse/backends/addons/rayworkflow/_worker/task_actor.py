"""Tasks that outlive the controller: each runs in a detached actor, which another controller finds by its name."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import ray

from .task import execute

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._records.references import RecordLocation

NAMESPACE = "functionfuse"  # of actors that are found by their names
_FIRST_CALL = 60.0  # seconds to wait for the first call; Ray restarts an actor that was killed when its task had ended
_FURTHER_CALL = 10.0  # seconds to wait for a further call
_ACTOR_OPTIONS = ("num_cpus", "num_gpus", "memory", "resources", "runtime_env", "scheduling_strategy", "label_selector")


class TaskActor:
    """The actor. It runs one task, and ends some time after that unless it is killed.

    Args:
        seconds: how long it waits for the call.
    """

    def __init__(self, seconds: float = _FIRST_CALL) -> None:
        self._end = _end_after(seconds)

    def execute(self, *arguments: Any) -> tuple[Any, bytes]:
        """Run the task; called again by another controller, return what was stored meanwhile."""
        self._end.cancel()
        try:
            return execute(*arguments)
        finally:
            self._end = _end_after(_FURTHER_CALL)


def task_actor(location: RecordLocation, key: str, options: Mapping[str, Any]) -> Any:
    """Return the actor that runs a task; the one that runs it already, if there is one.

    Args:
        location: of the workflow.
        key: of the task.
        options: of the task, as Ray knows them.
    """
    retries = options["max_retries"]
    arguments = {name: value for name, value in options.items() if name in _ACTOR_OPTIONS}
    kind = ray.remote(**{"num_cpus": 1, **arguments})(TaskActor)
    actor: Any = kind.options(
        name=f"functionfuse-task/{location.workflow_id}/{location.run}/{key}",
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=retries,
        max_task_retries=retries,
    ).remote()
    return actor


def _end_after(seconds: float) -> threading.Timer:
    """Let the actor that this is in end after a time."""
    timer = threading.Timer(seconds, _end, [ray.get_runtime_context().current_actor])
    timer.daemon = True
    timer.start()
    return timer


def _end(actor: Any) -> None:
    with suppress(Exception):  # it was ended just now
        ray.kill(actor)
