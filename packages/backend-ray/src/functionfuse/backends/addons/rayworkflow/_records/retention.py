"""How long what is stored of workflows that have ended is kept."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from functionfuse.errors import FunctionFuseError

from .journal import stored_ids
from .results import TaskResults
from .workflow import StoredWorkflow

if TYPE_CHECKING:
    from collections.abc import Container

    from functionfuse.stores import Catalogue

    from .journal import Journal

ALL, FINAL = "all", "final"
_LASTING = ("spec", "lease/", "end/")  # which show how a workflow ended


def keep_final(journal: Journal, output: str) -> None:
    """Remove all that is stored of a workflow but its graph, how it ended, and its output.

    Args:
        journal: of the workflow, which was successful.
        output: the key of the task whose result is the output.
    """
    results = TaskResults(journal)
    record = results.get(output)
    kept = [results.log_of(output) or f"out/{output}", *_LASTING]
    if record is not None and record[2]:
        kept.append("obj/")  # which the output refers to
    journal.remove_but(tuple(kept))


def expire(store: Catalogue, seconds: float, running: Container[str]) -> None:
    """Remove the workflows that ended some time ago, by this machine's clock.

    Args:
        store: the store.
        seconds: after how many.
        running: ids of workflows to leave alone.
    """
    for workflow_id in stored_ids(store):
        if workflow_id in running:
            continue
        try:
            stored = StoredWorkflow.find(store, workflow_id)
            ended = None if stored is None else stored.ended_at()
            if stored is not None and ended is not None and ended + seconds < time.time():
                stored.journal.remove()
        except FunctionFuseError:  # that of one workflow keeps no other
            continue


def period(seconds: float) -> float:
    """Return after how many seconds to look again for what has expired."""
    return max(1.0, min(seconds / 4, 600.0))


def is_retention(wanted: object) -> bool:
    """Return True if something is a retention: "all", "final", or a number of seconds."""
    is_number = isinstance(wanted, int | float) and not isinstance(wanted, bool)
    return wanted in (ALL, FINAL) or (is_number and wanted > 0)  # type: ignore[operator]
