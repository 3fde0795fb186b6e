"""How long steps took in an earlier run, as its record in the store tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from functionfuse.errors import StorageError
from functionfuse.runs import read_run
from functionfuse.stores import runs_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functionfuse.plan import Plan
    from functionfuse.stores import Catalogue

_MOST_STEPS = 20_000  # of a record that is read for this
_MOST_RUNS = 5  # that are looked at, the newest first


def earlier_durations(store: Catalogue, plan: Plan, own_id: str) -> Mapping[str, float]:
    """Return how many seconds the steps of a plan that may run took before, by full name, as far as that is known.

    Args:
        store: that has records of runs.
        plan: of the run that goes on.
        own_id: of that run.
    """
    found: dict[str, float] = {}
    workflow = plan.workflow_name
    ids = [id for id in sorted(store.list_tasks(runs_of(workflow)), reverse=True) if id != own_id]
    for id in ids[:_MOST_RUNS]:
        try:
            summary = store.info(runs_of(workflow), id)["meta"]["run"]
            if summary["counts"]["steps"] > _MOST_STEPS:
                return {}
            steps = read_run(store, id, workflow).steps
        except (StorageError, LookupError):
            continue
        for name, step in steps.items():
            planned = plan.by_name.get(name) or plan.by_name.get(name.partition("/")[0])
            if step.state == "finished" and step.seconds is not None and planned is not None and planned.may_run:
                found.setdefault(name, step.seconds)
        if steps.keys() <= found.keys():
            break
    return found
