"""How far a run is, from its record in a store."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from functionfuse.backends.progress import Failure, ProgressSnapshot, RunningCall

if TYPE_CHECKING:
    from functionfuse.runs import RunRecord


class RecordedRun:
    """A run that another process may have, as a source of progress.

    Args:
        record: of the run.

    Attributes:
        record: that was read last; whoever reads it again puts it here.
    """

    def __init__(self, record: RunRecord) -> None:
        self.record = record

    def snapshot(self) -> ProgressSnapshot:
        """Return how far the run was when its record was read."""
        return snapshot_of(self.record)


def snapshot_of(record: RunRecord) -> ProgressSnapshot:
    """Return how far a run is.

    What the record calls running had been handed to the engine, which may make it later.

    Args:
        record: of the run.
    """
    counts: Counter[str] = Counter(step.state for step in record.steps.values())
    failures = [
        Failure(step.name, step.error.partition("\n")[0]) for step in record.steps.values() if step.state == "failed"
    ]
    begun = [step for step in record.steps.values() if step.state == "running"]
    running = [RunningCall(step.name, step.started or record.started) for step in begun]
    return ProgressSnapshot(
        record.workflow,
        record.state,
        record.started,
        time.time() if record.ended is None else record.ended,
        len(record.steps),
        counts["finished"],
        counts["reused"],
        counts["failed"],
        counts["skipped"],
        running,
        0,
        failures,
    )
