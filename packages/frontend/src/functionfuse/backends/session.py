"""Sessions: a run from its description to its results."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from functionfuse._collector import collector_paused
from functionfuse._suggestions import did_you_mean
from functionfuse._warning import warn_user
from functionfuse.backends.displays import display_if_wanted, displayed
from functionfuse.backends.execution import Run
from functionfuse.backends.expanding import Expander, refuse_blocked
from functionfuse.backends.frames import StoredResultLost
from functionfuse.backends.interruption import LastRun, Runs
from functionfuse.backends.observers import EventChannel
from functionfuse.backends.planning import Planner
from functionfuse.backends.recordings import Recordings
from functionfuse.backends.run_memory import RunMemory
from functionfuse.backends.stored import name_results
from functionfuse.backends.texts import text_of
from functionfuse.backends.tracebacks import hide_own_frames
from functionfuse.errors import TaskNotFound, UnknownNodeError, UsageError
from functionfuse.plan import Plan
from functionfuse.previews import preview_of
from functionfuse.stores import described, keeps_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from functionfuse.backends.interruption import Interruption
    from functionfuse.backends.observers import Observer
    from functionfuse.backends.progress import RunProgress
    from functionfuse.backends.reasons import Reasons
    from functionfuse.backends.run_records import RunRecorder
    from functionfuse.backends.spec import RunSpec
    from functionfuse.stores import Store


_NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


class Session:
    """One run: it plans, lets an engine execute, and plans again when a stored result turns out lost.

    Args:
        spec: what to run.
        observers: called with each event.
        run_store: what the run reads and saves results with, where that is not the store of the plan.
        saved: names of steps whose results were saved for this run before it began. They are reused, also where
            recipes cannot tell.
        runs: of the workflow object.

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
        runs: Runs | None = None,
    ) -> None:
        self.spec = spec.checked()
        self.lost: dict[str, str] = {}
        """Names of stored results that turned out lost, with what is said of each."""
        self._events = EventChannel(spec.workflow_name, observers)
        self._run_store = spec.store if run_store is None else run_store
        self._saved = {*saved, *spec.saved}
        is_recorded = bool(self._events) or spec.capsules is not None or keeps_runs(spec.store)
        preview = preview_of if keeps_runs(spec.store) else None
        self._recordings = Recordings(spec, spec.store, preview=preview) if is_recorded else None
        self._runs = Runs() if runs is None else runs
        self._interruption: Interruption | None = None
        self._recorder: RunRecorder | None = None
        self._memory: RunMemory | None = None  # where there is no recorder
        self._made: set[str] = set()  # names of steps whose results were saved before it planned again
        self._progress: RunProgress | None = None  # where it is displayed
        self._reasons: Reasons | None = None

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
        if self._recorder is not None:
            self._recorder.fingerprinter_of = lambda: planner.fingerprinter
        plan = self.plan_to_run(planner)
        if self._recorder is not None and planner.lookup is not None:
            self._recorder.found_under = planner.lookup.found_under
        if self._progress is not None:
            self._progress.begin(self._made)
        if self._progress is not None and self._recorder is not None:
            from functionfuse.backends.earlier import earlier_durations

            self._progress.earlier = partial(earlier_durations, spec.store, plan, self._recorder.id)  # type: ignore[arg-type]
        return Run(
            plan,
            spec.wanted,
            expand=Expander(planner, plan.by_name, spec),
            checks=planner.reused,
            store=self._run_store,
            events=self._events,
            on_error=spec.on_error,
            recordings=self._recordings,
            interruption=self._interruption,
            recorder=self._recorder or self._memory,
            progress=self._progress,
        )

    def start(self) -> Run:
        """Plan, and return a run that an engine executes by itself; its record is begun.

        Raises:
            PlanError: the engine cannot run some steps; nothing was started.
        """
        if self.spec.store is not None:
            self.spec.store.new_workflow(self.spec.workflow_name)
        self._recorder = self._new_recorder()
        run = self.begin()
        if self._recorder is not None:
            self._recorder.begin(run.root)
        return run

    def ended(self, error: BaseException | None = None) -> None:
        """Write that a run which was started has ended; then let the store remove results that it does not keep.

        Args:
            error: why it failed, or was cancelled.
        """
        if self._recorder is None:
            if self._memory is not None:
                self._memory.end(error)
            return
        self._recorder.end(error)
        collect = getattr(self.spec.store, "collect", None)
        if error is not None or collect is None:
            return
        try:
            collect()
        except Exception as problem:
            warn_user(f"{self.spec.store!r} cannot remove the results that it does not keep: {problem}")

    def plan_to_run(self, planner: Planner | None = None) -> Plan:
        """Return a plan to be executed: the results that it reuses have got the names of its steps.

        Args:
            planner: that decides about the steps.

        Raises:
            PlanError: the engine cannot run some steps.
        """
        planner = self._planner() if planner is None else planner
        while True:
            plan = self._plan(planner)
            refuse_blocked(plan, self.spec.backend)
            lost = name_results(planner)
            if not lost:
                return plan
            for loss in lost:
                self._note_lost(loss)

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
            KeyboardInterrupt: Ctrl-C.
            RunCancelled: another thread cancelled the run.
        """
        if self.spec.store is not None:
            self.spec.store.new_workflow(self.spec.workflow_name)
        self._recorder = self._new_recorder(getattr(execute, "keywords", {}))
        if self._recorder is None:
            self._memory = RunMemory(self.spec, getattr(execute, "keywords", {}))
        self._runs.recorder = self._recorder or self._memory
        interruption = self._interruption = self._runs.begin(self.spec.on_interrupt)
        try:
            with self._displayed(), interruption:
                results = self._run(execute, collect, interruption)
        except BaseException as error:
            self.ended(error)
            hide_own_frames(error)
            raise
        finally:
            self._runs.end(interruption)
        self.ended()
        return results

    @contextmanager
    def _displayed(self) -> Iterator[None]:
        """Show the progress of the run meanwhile, where it is to be shown."""
        display = display_if_wanted(self.spec.progress)
        if display is None:
            yield
            return
        from functionfuse.backends.progress import RunProgress
        from functionfuse.backends.running_calls import RunningCalls

        progress = self._progress = RunProgress(self.spec.workflow_name)
        with RunningCalls() as progress.calls, displayed(progress, display):
            if self._recordings is None:
                self._recordings = Recordings(self.spec, self.spec.store, records=False)
            self._recordings.running = progress.calls.location
            try:
                yield
            finally:
                progress.here = None

    def _new_recorder(self, options: Mapping[str, Any] = _NO_OPTIONS) -> RunRecorder | None:
        """Return what records the run in its store; None without one.

        Args:
            options: of the backend's own `run`.
        """
        if not keeps_runs(self.spec.store):
            return None
        from functionfuse.backends.run_records import RunRecorder  # which runs with a store need

        return RunRecorder(self.spec, options)

    def _run(
        self, execute: Callable[[Run], object], collect: Callable[[Run], list[Any]], interruption: Interruption
    ) -> Any:
        completed = self._runs.completed
        completed.clear()
        while True:
            run, interrupt = self.begin(), None
            try:
                if self._recorder is not None:
                    self._recorder.begin(run.root)
                execute(run)
                if not interruption.requested and (run.lost is None or run.failed):
                    results = collect(run)
                    return self.spec.returned(results)
            except StoredResultLost as loss:
                run.lose(loss)
            except KeyboardInterrupt as error:
                interrupt = error
            except BaseException:
                completed |= run.completed
                raise
            finally:
                self._runs.last = _last_run(run)
            if interrupt is not None or interruption.requested:
                completed |= run.completed
                raise interruption.raised(interrupt, self._hint(run))
            self._plan_again_after(run)

    def result(self, name: str) -> Any:
        """Return the stored result of one step; warn if a run would not reuse it.

        Args:
            name: of the step.

        Raises:
            UnknownNodeError: there is no such step.
            UsageError: it makes a stateful object.
            TaskNotFound: it has no stored result.
            CorruptRecord: the stored bytes are damaged.
        """
        planner, workflow_name, store = self._planner(), self.spec.workflow_name, self.spec.store
        plan = self._plan(planner)
        step = plan.by_name.get(name)
        if step is None:
            close = did_you_mean(str(name), plan.by_name)
            raise UnknownNodeError(f"no node is named {name!r} in workflow {workflow_name!r}{close}")
        if step.target.kind == "constructor":
            calls = ", ".join(repr(one.name) for one in plan if one.instance == name and one is not step)
            raise UsageError(f"{name!r} is a stateful object and has no result; calls of its methods have: {calls}")
        assert store is not None
        if step.action in ("reuse", "verify"):
            for problem in name_results(planner, name):
                raise problem.cause
            return store.read_task(workflow_name, name)
        if not store.has_tasks(workflow_name, [name]):
            raise TaskNotFound(f"no result of {name!r} is stored ({step.reason}): run() makes it")
        verb = "may not be" if step.action == "check" else "is not"
        warn_user(f"the stored result of {name!r} {verb} what a run would give now: {step.reason}")
        return store.read_task(workflow_name, name)

    def _hint(self, run: Run) -> str:
        """Return how to go on after an interrupted run."""
        if self.spec.store is None:
            return "without a store, nothing of it is left: set_storage(...) lets the next run go on from there"
        return (
            f"{len(run.completed)} of {len(run.root.plan)} results are stored: run() goes on from there, and "
            "run(retry_failed=True) reuses them whatever has changed"
        )

    def _plan_again_after(self, run: Run) -> None:
        assert run.lost is not None
        self._note_lost(run.lost)
        self._saved |= run.saved
        self._made |= run.saved

    def _note_lost(self, loss: StoredResultLost) -> None:
        if loss.name in self.lost:
            raise loss.cause from None
        self.lost[loss.name] = f"the stored result is lost: {loss.cause}"
        warn_user(f"{described(loss.name)} cannot be read and will be made again: {loss.cause}")

    def _planner(self) -> Planner:
        return Planner(self.spec, lost=self.lost, saved=self._saved, explain=self._explain)

    def _explain(self, *change: Any) -> str:
        """Return what changed since a stored result was made, as `Reasons.changed` does."""
        if self._reasons is None:
            from functionfuse.backends.reasons import Reasons  # which plans need that reuse less than everything

            self._reasons = Reasons(self.spec.store, self.spec.workflow_name)
        return self._reasons.changed(*change)

    def _plan(self, planner: Planner) -> Plan:
        wanted = {ref.step for ref in self.spec.wanted}
        with collector_paused():
            return Plan(planner.decide(self.spec.steps, wanted=wanted), workflow_name=self.spec.workflow_name)


def _last_run(run: Run) -> LastRun:
    """Return what is kept of a run that ended; errors themselves would keep the user's variables."""
    report = run.report
    failed = {name: text_of(error).partition("\n")[0] for name, error in report.failed.items()}
    return LastRun(failed, dict(report.skipped), run.root.left == 0, run.store is not None)
