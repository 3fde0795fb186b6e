"""Run a graph durably on a Ray cluster: it outlives its driver, its workers and the cluster."""

from __future__ import annotations

import pickle
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import ray

from functionfuse._typing import R
from functionfuse._warning import warn_user
from functionfuse.backends.addons import rayworkflow
from functionfuse.backends.addons.rayworkflow._controller import actor, driver
from functionfuse.backends.addons.rayworkflow._dag.code import codes_of
from functionfuse.backends.addons.rayworkflow._dag.graphs import GraphRun, graph_task
from functionfuse.backends.addons.rayworkflow._dag.serialization import SERIALIZER
from functionfuse.backends.addons.rayworkflow._graph.events import start_event_channel
from functionfuse.backends.addons.rayworkflow._graph.graph import GraphFailed
from functionfuse.backends.addons.rayworkflow._graph.interrupts import start_interrupts
from functionfuse.backends.addons.rayworkflow._graph.progress import EventProgress
from functionfuse.backends.addons.rayworkflow.exceptions import (
    WorkflowCancellationError,
    WorkflowExecutionError,
    WorkflowNotFoundError,
)
from functionfuse.backends.builtin import rayback
from functionfuse.backends.displays import checked_progress, display_if_wanted
from functionfuse.backends.expanding import refuse_blocked
from functionfuse.backends.external_inputs import secrets_of
from functionfuse.backends.observers import EventChannel
from functionfuse.backends.plugins import InitializerPlugin, initializer
from functionfuse.backends.run_records import close_cancelled
from functionfuse.backends.serialization import unserializable
from functionfuse.backends.spec import arranged
from functionfuse.backends.worker_state import WorkerOutdated
from functionfuse.errors import EngineError, NodeError, RunCancelled, WorkflowFailed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from functionfuse.backends.addons.rayworkflow._graph.graph import GraphOutcome
    from functionfuse.backends.addons.rayworkflow.common import WorkflowStatus
    from functionfuse.backends.observers import Event
    from functionfuse.backends.spec import RunOptions, RunSpec
    from functionfuse.plan import Plan, Step


_POLL = 0.1  # seconds
_RESUME = "what had finished is stored: resume() goes on from there"


class RayWorkflow(rayback.RayWorkflow[R]):
    """Runs a graph on a Ray cluster, durably.

    It is a workflow of `functionfuse.backends.addons.rayworkflow` whose id is the workflow's name. Every node's
    result is stored when the node is finished, in the store of `set_storage`, or without one beside the
    workflow. What was stored does not run again when the run goes on elsewhere.

    Args:
        nodes: nodes, or items of nodes, whose results `run` returns.
        workflow_name: under which a store keeps the results, and the run is found.
        ray_init_args: arguments of ``ray.init``, which is called here unless Ray is initialised already.
        scope: "graph" or "ancestors"; see `BaseWorkflow`.
    """

    records_in_memory = False
    _event_channel: Any = None  # the actor that events come from
    _progress: EventProgress | None = None  # while it is shown
    _interrupts: Any = None  # the actor that lets the run end, with on_interrupt="finish"

    def run(self, **options: Unpack[RunOptions]) -> R:  # type: ignore[override]
        """Run the graph in the cluster, and return the results of the nodes that the workflow was given.

        When this process is killed meanwhile the run goes on, and `output` returns what comes of it; Ctrl-C
        cancels it. With observers, or where its progress is shown, the run waits for them at each event.

        Args:
            options: how the run goes; see `functionfuse.backends.spec.RunOptions`.

        Raises:
            NodeError: a node failed; its ``__cause__`` is what the function raised.
            WorkflowFailed: nodes failed, with ``on_error="continue"``; it carries the report.
            EngineError: a run of this name is going on.
            RunCancelled: somebody called `cancel`.
        """
        if options.get("inline"):
            return super().run(**options)
        display = display_if_wanted(checked_progress(options.get("progress")))
        if display is None:
            return self._run(options)
        progress = self._progress = EventProgress(self.workflow_name)
        self._observers.append(progress)
        try:
            with progress.shown(display):
                return self._run(options)
        finally:
            self._progress = None
            self._observers.remove(progress)

    def _run(self, options: RunOptions) -> R:
        self.start(**options)
        try:
            return self.output()
        except KeyboardInterrupt as interrupt:
            self._end()
            interrupt.add_note(f"the run was interrupted; {_RESUME}")
            raise

    def start(self, **options: Unpack[RunOptions]) -> None:
        """Let the graph run in the cluster, and return.

        Args:
            options: those of `run`.
        """
        session = self.session(**options)
        self._runs.completed.clear()
        if self._store is not None:
            self._store.new_workflow(self.workflow_name)
        plan = session.plan()
        refuse_blocked(plan, session.spec.backend)
        if self._progress is not None:
            self._progress.planned(plan)
        serialized = self._serialized(session.spec, plan)
        self._forget_former_run()
        try:
            driver.submit(graph_task(serialized, list(plan)), (), {}, self.workflow_name)
        except RuntimeError as error:
            raise EngineError(
                f"a run of workflow {self.workflow_name!r} is going on: wait for its output(), or cancel() it"
            ) from error

    def status(self) -> WorkflowStatus:
        """Return the status of the run. WorkflowNotFoundError when there is none."""
        return rayworkflow.get_status(self.workflow_name)

    def cancel(self) -> bool:
        """Stop the run, or let what runs finish, as its `on_interrupt` says.

        What it stored stays, and `resume` goes on from there, or another run takes it.

        Returns:
            Whether it was going on.
        """
        try:
            is_going_on = self.status() in ("RUNNING", "PENDING")
        except WorkflowNotFoundError:
            return False
        if is_going_on and self._interrupts is not None:
            ray.get(self._interrupts.request.remote())
        else:
            rayworkflow.cancel(self.workflow_name)
        return is_going_on

    def _end(self) -> None:
        """End the run after Ctrl-C, and wait for that; a second Ctrl-C stops what is let finish."""
        try:
            self.cancel()
            with suppress(Exception):  # what it raises, Ray would log
                self.output()
        except KeyboardInterrupt:
            self._interrupts = None
            self.cancel()
            with suppress(Exception):
                self.output()

    def resume(self, *, allow_changed_code: bool = False) -> R:
        """Let a run go on that its cluster left, or that failed, and return its results.

        The graph is the one that was stored when the run began.

        Args:
            allow_changed_code: go on even if workers import functions whose code has changed since then.

        Raises:
            WorkflowNotResumableError: there is no such run, or code has changed.
        """
        return self._results_of(driver.resume(self.workflow_name, allow_changed_code))

    def output(self) -> R:
        """Return the results of the run, once it has ended; errors are raised as by `run`."""
        return self._results_of(self.workflow_name)

    def _results_of(self, workflow_id: str) -> R:
        located = driver.locate_output(workflow_id)
        received = self._listen(located)
        while self._interrupts is not None and not ray.wait([located], timeout=_POLL)[0]:
            pass  # while Ray waits, two signals are one
        try:
            outcome: GraphOutcome = driver.fetch(located)
        except WorkflowCancellationError as error:
            if self._store is not None and hasattr(self._store, "list_tasks"):
                with suppress(Exception):  # it stays an interrupted one
                    close_cancelled(self._store, self.workflow_name, self.runs())
            raise RunCancelled(f"the run of workflow {self.workflow_name!r} was cancelled; {_RESUME}") from error
        except WorkflowExecutionError as error:
            failure = error.__cause__
            if isinstance(failure, WorkerOutdated):
                raise failure from None
            if not isinstance(failure, GraphFailed):
                raise
            self._warn(failure.warnings)
            self._runs.completed.update(failure.completed)
            reported = _as_received(pickle.loads(failure.serialized), received)
            raise reported from reported.__cause__
        self._warn(outcome.warnings)
        results: R = arranged(outcome.results, self._given)
        return results

    def _listen(self, located: Any) -> dict[str, NodeError]:
        """Pass events on to observers until a run has ended; return the errors among them by name."""
        received: dict[str, NodeError] = {}
        if self._event_channel is None:
            return received
        events = EventChannel(self.workflow_name, self._observers)
        while True:
            event = self._event_channel.next.remote()
            ray.wait([event, located])
            if not ray.wait([event], timeout=0)[0]:
                break
            reported: Event = pickle.loads(ray.get(event))
            if reported.error is not None:
                received.setdefault(reported.error.name, reported.error)  # that of a skipped node comes again
            events.pass_on(reported)
        self._event_channel = None
        return received

    def _warn(self, warnings: Sequence[str]) -> None:
        for warning in warnings:
            warn_user(warning)

    def _serialized(self, spec: RunSpec, plan: Plan) -> bytes:
        store = b"" if spec.store is None else SERIALIZER.dumps(spec.store)
        channel, self._event_channel = start_event_channel() if self._observers else ("", None)
        interrupts, self._interrupts = start_interrupts() if spec.on_interrupt == "finish" else ("", None)
        plugins = {step.name: step.options.plugin for step in plan if step.may_run and step.options.plugin}
        prepared = {name: InitializerPlugin(initializer(plugin, name)) for name, plugin in plugins.items()}
        steps, options = list(plan), spec.options.with_plugins(prepared)
        planned = spec._replace(
            steps=steps, options=options, store=None, has_options=False, has_recipes=True, progress=False
        )
        try:
            return SERIALIZER.dumps(
                GraphRun(planned, store, channel, codes_of(steps), interrupts, secrets_of(spec.steps))
            )
        except Exception as error:
            raise _unserializable_step(steps, error) from error

    def _forget_former_run(self) -> None:
        """Make room for another run of this name; what the former one stored of nodes stays."""
        actor.controller(default=self._store)
        try:
            if rayworkflow.get_status(self.workflow_name) not in ("RUNNING", "PENDING"):
                rayworkflow.delete(self.workflow_name)
        except WorkflowNotFoundError:
            pass


def _as_received(error: BaseException, received: dict[str, NodeError]) -> BaseException:
    """Return an error as observers received it, as the same object."""
    if isinstance(error, NodeError):
        return received.get(error.name, error)
    if isinstance(error, WorkflowFailed):
        error.report.failed = {name: received.get(name, failed) for name, failed in error.report.failed.items()}
        if isinstance(error.__cause__, NodeError):
            error.__cause__ = received.get(error.__cause__.name, error.__cause__)
    return error


def _unserializable_step(steps: Sequence[Step], problem: Exception) -> Exception:
    """Return the error of the step that cannot be pickled."""
    for step in steps:
        try:
            SERIALIZER.dumps(step)
        except Exception as error:
            return unserializable(step, step.name, SERIALIZER.dumps, error, {})
    return problem
