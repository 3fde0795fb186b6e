"""The environment of the tasks of a workflow."""

from __future__ import annotations

import pickle
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from functionfuse.backends.worker_state import WorkerState


class TaskEnvironment(NamedTuple):
    """What tasks have of the driver that submitted or resumed their workflow.

    Attributes:
        runtime_env: of Ray; tasks may have one of their own.
        driver: the pickled state of the driver, which workers take over; empty for none.
    """

    runtime_env: dict[str, Any]
    driver: bytes = b""

    @property
    def options(self) -> dict[str, Any]:
        """Return options of Ray's tasks that have no `runtime_env` of their own."""
        return {"runtime_env": self.runtime_env} if self.runtime_env else {}


@lru_cache(maxsize=32)
def state_of_driver(driver: bytes) -> WorkerState:
    """Return the state of a driver, which most tasks of a worker share."""
    state: WorkerState = pickle.loads(driver)
    return state
