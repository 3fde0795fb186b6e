"""Follow a run of another process, by its record."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .exit_codes import TIME_OUT, Failure
from .stores import run_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from functionfuse.runs import RunRecord
    from functionfuse.stores import Catalogue

_POLL = 0.5  # seconds; a record is written at most once a second


def snapshots(store: Catalogue, id: str, timeout: float | None) -> Iterator[RunRecord]:
    """Yield the record of a run as it is from time to time, until the run has ended.

    Args:
        store: that has it.
        id: of the run, or "latest", which is the newest one now.
        timeout: seconds after which this ends with a failure; None for never.

    Raises:
        Failure: the run has not ended in time.
    """
    end = None if timeout is None else time.monotonic() + timeout
    record = run_of(store, id)
    yield record
    while record.state == "running":
        if end is not None and time.monotonic() >= end:
            raise Failure(TIME_OUT, f"run {record.id!r} has not ended after {timeout:g} seconds", "Timeout")
        time.sleep(_POLL if end is None else max(0.0, min(_POLL, end - time.monotonic())))
        record = run_of(store, record.id)
        yield record
