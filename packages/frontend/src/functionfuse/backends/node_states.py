"""What is known of each node of a workflow before a run: of its stored result, and from the last run."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from functionfuse._tables import Table
    from functionfuse.backends.interruption import LastRun
    from functionfuse.plan import Plan, Step

State = Literal["stored", "finished", "failed", "skipped", "blocked", "to run"]


class NodeState(NamedTuple):
    """What is known of a node.

    Attributes:
        state: "stored" (a run reuses its result), "finished" (in the last run, without a store), "failed" or "skipped"
            (in the last run), "blocked" (the backend cannot run it), or "to run".
        reason: why.
    """

    state: State
    reason: str = ""

    @property
    def text(self) -> str:
        """State and reason in one text."""
        return f"{self.state} ({self.reason})" if self.reason else self.state


def states_of_plan(plan: Plan, last: LastRun) -> dict[str, NodeState]:
    """Return the states of the nodes of a workflow by name.

    Args:
        plan: what a run would do now.
        last: what the last run of the workflow left.
    """
    return {step.name: _state_of(step, last) for step in plan}


def _state_of(step: Step, last: LastRun) -> NodeState:
    if step.action in ("reuse", "verify"):
        return NodeState("stored", step.reason.removeprefix("stored, "))
    if step.action == "blocked":
        return NodeState("blocked", step.reason)
    if step.name in last.failed:
        return NodeState("failed", last.failed[step.name])
    if step.name in last.skipped:
        return NodeState("skipped", f"needs {last.skipped[step.name]!r}")
    if last.is_complete and not last.has_store:
        return NodeState("finished", "in the last run")
    return NodeState("to run", step.reason)


def quiet_plan(plan: Callable[[], Plan]) -> Plan:
    """Return a plan without its warnings, which a run gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return plan()


def counted(states: Mapping[str, NodeState]) -> str:
    """Return how many nodes have which state: "3 stored, 1 to run"."""
    counts: dict[str, int] = {}
    for known in states.values():
        counts[known.state] = counts.get(known.state, 0) + 1
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def table_of(title: str, states: Mapping[str, NodeState]) -> Table:
    """Return a table of states.

    Args:
        title: of the table.
        states: by name of the node.
    """
    from functionfuse._tables import SHOWN, Table

    rows = [(name, known.state, known.reason) for name, known in list(states.items())[:SHOWN]]
    heading = f"{title}: {counted(states)}"
    return Table(heading, ("node", "state", "reason"), rows, frozenset(), len(states) - len(rows))
