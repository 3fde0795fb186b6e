"""Sessions: a run from its description to its results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functionfuse._collector import collector_paused
from functionfuse._warning import warn_user
from functionfuse.backends.execution import Run
from functionfuse.backends.frames import StoredResultLost
from functionfuse.backends.observers import EventChannel
from functionfuse.backends.planning import Planner
from functionfuse.errors import DuplicateNameError, PlanError
from functionfuse.plan import Plan
from functionfuse.stores import described

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from functionfuse.backends.frames import Task
    from functionfuse.backends.observers import Observer
    from functionfuse.backends.spec import RunSpec
    from functionfuse.plan import Ref, Step
    from functionfuse.stores import Store


class Session:
    """One run: it plans, lets an engine execute, and plans again when a stored result turns out lost.

    Args:
        spec: what to run.
        observers: called with each event.
        run_store: what the run reads and saves results with, where that is not the store of the plan.
        saved: names of steps whose results were saved for this run before it began. They are reused, also where
            recipes cannot tell.

    Raises:
        OptionError: an unknown value of `on_error` or `reuse`.
    """

    def __init__(
        self,
        spec: RunSpec,
        *,
        observers: Iterable[Observer] = (),
        run_store: Store | None = None,
        saved: Collection[str] = (),
    ) -> None:
        self.spec = spec.checked()
        self.lost: dict[str, str] = {}
        """Names of stored results that turned out lost, with what is said of each."""
        self._events = EventChannel(spec.workflow_name, observers)
        self._run_store = spec.store if run_store is None else run_store
        self._saved = set(saved)

    def plan(self) -> Plan:
        """Return what a run would do."""
        return self._plan(self._planner())

    def begin(self) -> Run:
        """Plan, and return a run to be executed.

        Raises:
            PlanError: the engine cannot run some steps; nothing was started.
        """
        spec = self.spec
        planner = self._planner()
        plan = self._plan(planner)
        refuse_blocked(plan, spec.backend)
        return Run(
            plan,
            spec.wanted,
            expand=Expander(planner, plan.by_name, spec.backend),
            store=self._run_store,
            events=self._events,
            on_error=spec.on_error,
        )

    def run(self, execute: Callable[[Run], object], collect: Callable[[Run], list[Any]] = Run.results) -> Any:
        """Run to the end, and return the results that are wanted.

        Args:
            execute: executes a run on the engine.
            collect: takes the results out of a run that was executed, in the order of `wanted`.

        Returns:
            The result, or a list of results; see `RunSpec`.

        Raises:
            NodeError: a step failed.
            WorkflowFailed: steps failed, with `on_error="continue"`.
            PlanError: the engine cannot run some steps; nothing was started.
        """
        if self.spec.store is not None:
            self.spec.store.new_workflow(self.spec.workflow_name)
        while True:
            run = self.begin()
            execute(run)
            try:
                if run.lost is None or run.failed:
                    results = collect(run)
                    return results if self.spec.returns_list else results[0]
            except StoredResultLost as loss:
                run.lose(loss)
            self._plan_again_after(run)

    def _plan_again_after(self, run: Run) -> None:
        loss = run.lost
        assert loss is not None
        if loss.name in self.lost:
            raise loss.cause from None
        self.lost[loss.name] = f"the stored result is lost: {loss.cause}"
        self._saved |= run.saved
        warn_user(f"{described(loss.name)} cannot be read and will be made again: {loss.cause}")

    def _planner(self) -> Planner:
        return Planner(self.spec, lost=self.lost, saved=self._saved)

    def _plan(self, planner: Planner) -> Plan:
        wanted = {ref.step for ref in self.spec.wanted}
        with collector_paused():
            return Plan(planner.decide(self.spec.steps, wanted=wanted), workflow_name=self.spec.workflow_name)


class Expander:
    """Plans the graphs that dynamic steps return.

    Args:
        planner: decides about their steps.
        names: of the steps of the workflow itself, which those of dynamic graphs must not take.
        backend: the name of the backend, for messages.
    """

    def __init__(self, planner: Planner, names: Iterable[str], backend: str) -> None:
        self._planner = planner
        self._taken = {name for name in names if "/" in name}
        self._backend = backend

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
