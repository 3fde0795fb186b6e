"""What tasks returned, as it is stored: in a record of its own, or with many others in one record of the log.

The log is a sequence of records that only the owner of a workflow writes, each behind the last one and only if none is
there. A new owner writes one before anything else. So a former owner, which resumes and writes its next one, finds that
record there, and stops.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from ..exceptions import WorkflowStillActiveError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .journal import Journal


class LoggedResult(NamedTuple):
    """A result in the log.

    Attributes:
        record: which one it is in.
        about: what is known of the task.
    """

    record: str
    about: Mapping[str, Any]


class TaskResults:
    """What is stored of what the tasks of a workflow returned.

    Args:
        journal: the records of the workflow.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @cached_property
    def logged(self) -> dict[str, LoggedResult]:
        """The results in the log, by the key of their task; of several the last, made because others were damaged."""
        found: dict[str, LoggedResult] = {}
        for name in self._journal.names("log"):
            meta = self._journal.meta(f"log/{name}") or {"tasks": {}}
            for key, about in meta["tasks"].items():
                found[key] = LoggedResult(f"log/{name}", about)
        return found

    def tasks(self) -> list[str]:
        """Return the keys of all tasks with a result."""
        return [*self.logged, *self._journal.names("out")]

    def has(self, key: str) -> bool:
        """Return True if a task has a result."""
        return key in self.logged or self._journal.has(f"out/{key}")

    def log_of(self, key: str) -> str:
        """Return the record of the log that the result of a task is in; "" for none."""
        return self.logged[key].record if key in self.logged else ""

    def about(self, key: str) -> Mapping[str, Any]:
        """Return what is known of a task, like ``ended`` and ``start_time``; {} without a result."""
        if key in self.logged:
            return self.logged[key].about
        return self._journal.meta(f"out/{key}") or {}

    def get(self, key: str) -> tuple[Any, ...] | None:
        """Return the result of a task as a record of its own has it; None if there is none, or none that is valid."""
        return results_in(self._journal, self.log_of(key)).get(key) or self._journal.get(f"out/{key}")


def results_in(journal: Journal, log: str) -> Mapping[str, tuple[Any, ...]]:
    """Return the results in a record of the log, by the key of their task; {} if it is not valid, or none is named.

    Args:
        journal: the records of the workflow.
        log: the name of the record; "" for none.
    """
    found = journal.get(log) if log else None
    return {} if found is None else found[1]


class ResultLog(TaskResults):
    """The results of a workflow, for its owner.

    Args:
        journal: the records of the workflow.
        epoch: since which this owner runs the workflow.
    """

    def __init__(self, journal: Journal, epoch: int) -> None:
        super().__init__(journal)
        self._epoch = epoch
        self._last = 0

    def open(self) -> None:
        """Keep former owners from writing any more.

        Raises:
            WorkflowStillActiveError: there is a later owner.
        """
        if self._epoch == 1:
            self.logged = {}
            return
        while True:
            self._last = max(map(int, self._journal.names("log")), default=0)
            self._refuse_later()
            if self._put({}, {}):
                return

    def append(self, results: Mapping[str, tuple[Any, ...]], about: Mapping[str, Mapping[str, Any]]) -> None:
        """Store results of tasks, and what is known of them, by key, in one record.

        Args:
            results: by key, each as a record of its own has it.
            about: by key, what is known of the task.

        Raises:
            WorkflowStillActiveError: there is a later owner.
        """
        if not self._put(results, about):
            self._refuse_later()  # else it is this very record, whose answer was lost
        self.logged.update({key: LoggedResult(self._record, known) for key, known in about.items()})

    @property
    def _record(self) -> str:
        return f"log/{self._last:08d}"

    def _put(self, results: Mapping[str, tuple[Any, ...]], about: Mapping[str, Mapping[str, Any]]) -> bool:
        self._last += 1
        return self._journal.put(self._record, "log", dict(results), epoch=self._epoch, tasks=dict(about))

    def _refuse_later(self) -> None:
        meta = self._journal.meta(self._record)
        if meta is not None and meta["epoch"] > self._epoch:
            raise WorkflowStillActiveError("RUN", self._journal.workflow_id)
