"""The verbs of a store that tells of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functionfuse.errors import OptionError
from functionfuse.run_diff import diff_of
from functionfuse.runs import RunRecord, RunSummary, list_runs, read_run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functionfuse.run_diff import RunDiff
    from functionfuse.runs import RunList


class RunReader:
    """The verbs of a store that tells of runs. A store inherits them; they use the verbs of a `Catalogue`."""

    def runs(self: Any, workflow: str | None = None, labels: Mapping[str, str] | None = None) -> RunList:
        """Return the runs that there are records of, newest first; notebooks show a table.

        Args:
            workflow: of which workflow; None for all.
            labels: that the runs must have, among others.
        """
        return list_runs(self, workflow, labels)

    def run(self: Any, id: str = "latest", workflow: str | None = None) -> RunRecord:
        """Return the whole record of a run.

        Args:
            id: of the run; "latest" for the newest one.
            workflow: which workflow it is of; None if that is not known.

        Raises:
            TaskNotFound: there is no such run.
            CorruptRecord: the record is damaged.
        """
        return read_run(self, id, workflow)

    def diff(self: Any, a: str | RunSummary, b: str | RunSummary = "latest") -> RunDiff:
        """Return how the steps of two runs differ, headed by those where a difference begins.

        Args:
            a: a run, or its id.
            b: another one.

        Raises:
            TaskNotFound: there is no such run.
            CorruptRecord: a record is damaged.
        """
        return diff_of(*(run if isinstance(run, RunRecord) else _read(self, run) for run in (a, b)))


def _read(store: Any, run: object) -> RunRecord:
    if isinstance(run, RunSummary):
        return store.run(run.id, run.workflow)  # type: ignore[no-any-return]
    if not isinstance(run, str):
        raise OptionError(f"a run is given by its id, or as runs() and run() return it, got {run!r}")
    return store.run(run)  # type: ignore[no-any-return]
