"""How often the function of a task was called: Ray counts the crashes, and the store what Ray does not see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ray

if TYPE_CHECKING:
    from .calls import TaskCall


class AttemptCount:
    """The attempts at a task, over all processes that Ray starts for it.

    Args:
        call: the task.

    Attributes:
        number: how many attempts there were.
    """

    def __init__(self, call: TaskCall) -> None:
        self._call = call
        crashes = _crashes()
        recorded = call.location.journal.get(self._record) if crashes and call.retry_exceptions else None
        self._failed: int = 0 if recorded is None else recorded[1]
        self.number = crashes + self._failed

    @property
    def had_failures(self) -> bool:
        """Return True if an attempt ended with an exception."""
        return self._failed > 0

    @property
    def are_spent(self) -> bool:
        """Return True if there may be no further attempt."""
        return 0 < self._call.attempts <= self.number

    def record_failure(self) -> None:
        """Store that an attempt ended with an exception, for the process that follows if the next one crashes."""
        self._failed += 1
        self._call.location.journal.replace(self._record, "tried", self._failed)

    @property
    def _record(self) -> str:
        return f"tried/{self._call.key}/{ray.get_runtime_context().get_task_id()}"


def _crashes() -> int:
    """Return how often Ray started this task before."""
    crashes: int = ray._private.worker.global_worker.core_worker.get_current_task_attempt_number()
    return crashes
