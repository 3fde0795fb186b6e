"""Plans of the graphs that dynamic steps return, where such a step runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from functionfuse.backends.stored import name_results
from functionfuse.errors import DuplicateNameError, PlanError
from functionfuse.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from functionfuse.backends.frames import Task
    from functionfuse.backends.planning import Planner
    from functionfuse.backends.spec import RunSpec
    from functionfuse.plan import Ref, Step


class Expander:
    """Plans the graphs that dynamic steps return.

    Args:
        planner: decides about their steps.
        names: of the steps of the workflow itself, which those of dynamic graphs must not take.
        spec: the run.
    """

    def __init__(self, planner: Planner, names: Iterable[str], spec: RunSpec) -> None:
        self._planner = planner
        self._taken = {name for name in names if "/" in name}
        self._backend = spec.backend

    def __call__(self, steps: list[Step], parent: Task, wanted: Iterable[Ref]) -> Plan:
        # a deep recursion would spend its time on names that nobody reads
        prefix = f"{parent.name}/" if self._planner.needs_names or self._taken else ""
        for step in steps if self._taken else ():
            if prefix + step.name in self._taken:
                raise DuplicateNameError(
                    f"{parent.name!r} made a node {step.name!r}; its full name {prefix + step.name!r} is another node's"
                )
        plan = Plan(self._planner.decide(steps, prefix, {ref.step for ref in wanted} if prefix else ()))
        refuse_blocked(plan, self._backend)
        for loss in name_results(self._planner):
            raise loss from loss.cause
        return plan


def refuse_blocked(plan: Plan, backend: str) -> None:
    """Raise PlanError if a plan holds steps that the engine cannot run.

    Args:
        plan: the plan.
        backend: the name of the backend.
    """
    blocked = [step for step in plan if step.action == "blocked"]
    if blocked:
        listed = "\n".join(f"  {step.name!r}: {step.reason}" for step in blocked[:10])
        raise PlanError(f"{backend} cannot run {len(blocked)} of {len(plan)} steps; nothing was started\n{listed}")
