"""`functionfuse plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..documents import write_document
from ..exit_codes import DONE, FAILED, REFUSED
from ..streams import prints_to_stderr
from ..tables import write_table
from ..workflows import prepared, target_command

if TYPE_CHECKING:
    from functionfuse.plan import Action

_ACTIONS: tuple[Action, ...] = ("run", "check", "verify", "reuse", "blocked")


@target_command(
    name="plan",
    help="""Show what a run of the graph that TARGET names would do, step by step, and why. Nothing runs.

    TARGET, its parameters, and the options of the workflow are those of `functionfuse run`.
    """,
)
@click.option("--check", is_flag=True, help="Exit with 1 if a step would run, with 3 if one is blocked.")
def _plan(as_json: bool, check: bool, **values: Any) -> int:
    """Plan a run."""
    with prepared(values) as made, prints_to_stderr():
        plan = made.workflow.plan()
    counts = {action: len(plan.having(action)) for action in _ACTIONS}
    if as_json:
        steps = [{"name": step.name, "action": step.action, "reason": step.reason} for step in plan]
        write_document(
            "plan", {"workflow": plan.workflow_name, "backend": made.backend, "counts": counts, "steps": steps}
        )
    else:
        said = ", ".join(f"{count:,} {action}" for action, count in counts.items() if count)
        rows = [(step.action, step.name, step.reason) for step in plan]
        write_table(f"plan of {plan.workflow_name!r}: {said or 'nothing to do'}", ("action", "step", "reason"), rows)
    if not check:
        return DONE
    if counts["blocked"]:
        return REFUSED
    return FAILED if any(step.may_run for step in plan) else DONE


command = _plan
