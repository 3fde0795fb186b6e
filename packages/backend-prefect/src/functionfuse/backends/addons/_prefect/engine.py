"""Prefect as an engine: calls become task runs, and task runs that have ended become outcomes."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from functools import partial
from math import inf
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from prefect.states import Cancelled, Completed, Crashed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from functionfuse.backends.calls import MemberOutcomes, Outcome
from functionfuse.backends.collapsed import targets_of
from functionfuse.backends.driver_state import DriverState
from functionfuse.errors import EngineError, NodeError, RunCancelled

from .artifact import parents_of
from .options import TaskFactory, is_cached, reads_parameters
from .outcomes import SubmittedCall, read_outcome, worker_error
from .parameters import parameters_of, placeholders, signature_of
from .placement import placed
from .serialization import SerializedCall, SerializedParameter, serializer
from .task import NodeFunction
from .task_runs import TaskRuns
from .workers import end_workers, guard_workers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager
    from inspect import Signature

    from prefect.client.schemas.objects import State
    from prefect.context import FlowRunContext
    from prefect.futures import PrefectFuture

    from functionfuse.backends.calls import Call
    from functionfuse.backends.frames import Frame, Task
    from functionfuse.decorator import Target
    from functionfuse.plan import Step

    from .artifact import NodeTable
    from .cache import CacheLookups
    from .server import ServerCalls

POLL_SECONDS = 2.0  # between two questions to the server whether the flow run is cancelled
MOST_PENDING = 500  # task runs at a time, where the task runner does not say how many it can take


class PrefectEngine:
    """Runs calls as task runs of a flow run, in the flow's own thread. Futures are the handles of calls.

    Args:
        context: of the flow run.
        table: records how each node ended.
        steps: of the run.
        lookups: of the nodes that Prefect caches.
        calls: to the server.

    Attributes:
        window: how many calls are worth submitting at a time.
    """

    def __init__(
        self,
        context: FlowRunContext,
        table: NodeTable,
        steps: Sequence[Step],
        lookups: CacheLookups,
        calls: ServerCalls,
    ) -> None:
        assert context.flow_run is not None
        self._flow_run = context.flow_run
        self._client: Any = context.client  # that of a flow that is not asynchronous
        self._table = table
        self._lookups = lookups
        self._calls = calls
        self._task_runner = context.task_runner
        is_in_process = isinstance(self._task_runner, ThreadPoolTaskRunner)
        self._driver = None if is_in_process else DriverState(serializer.dumps, steps)
        guard_workers(self._task_runner)
        self.window: int = min(MOST_PENDING, 2 * getattr(self._task_runner, "_max_workers", MOST_PENDING))
        self._factory = TaskFactory(persist=context.persist_result)
        self._signatures: dict[Target, Signature] = {}
        self._task_runs = TaskRuns(self._show)
        self._submitted: dict[PrefectFuture[Any], SubmittedCall] = {}
        self._shown: set[PrefectFuture[Any]] = set()  # the task runs of reused steps that have not ended
        self._has_ended = False  # a call
        self._functions: set[NodeFunction] = set()  # that may run; known before their futures are
        self._ended: SimpleQueue[PrefectFuture[Any]] = SimpleQueue()
        self._polled = time.monotonic()

    def submit(self, task: Task, call: Call) -> PrefectFuture[Any]:
        """Submit a call as a task run with the graph's edges.

        Args:
            task: the step of the call.
            call: the call.

        Raises:
            NodeError: the call cannot be serialized for a worker.
        """
        name, target = task.name, call.target
        signature = self._signatures.get(target) or self._signatures.setdefault(target, signature_of(target))
        try:
            serialized = None if self._driver is None else self._serialized(self._driver, call, name)
        except NodeError:
            self._table.record(name, "Failed", "run", 0.0)
            raise
        options = task.step.options.engine.get("task_args", {})
        if task.step.options.tags:
            options = {**options, "tags": {*options.get("tags", ()), *task.step.options.tags}}
        values = parameters_of(call, signature)
        holds = serialized is None and not reads_parameters(options)
        parameters: dict[str, Any]
        if holds:
            parameters = placeholders(values, signature)
        elif serialized is None:
            parameters = {key: quote(value) for key, value in values.items()}
        else:
            parameters = {key: SerializedParameter(serialized, key) for key in values}
        function = NodeFunction(call, signature, serialized, holds=holds)
        lookup = self._lookups.of(task) if is_cached(options) else None
        prefect_task = self._factory.make(name, target, function, options, lookup)
        edges = self._task_runs.edges(task, signature, list(parameters))
        placement = self._placement(task)
        self._functions.add(function)  # it may begin, and Ctrl-C may come, before its future is here
        with placement:
            future: PrefectFuture[Any] = self._task_runner.submit(prefect_task, parameters, dependencies=edges)
        self._submitted[future] = SubmittedCall(name, call, function, time.perf_counter(), task)
        self._follow(future, task)
        return future

    def _placement(self, task: Task) -> AbstractContextManager[Any]:
        try:
            return placed(self._task_runner, task.step.options.resources)
        except EngineError as error:
            name = task.name
            self._table.record(name, "Failed", "run", 0.0)
            raise NodeError(f"node {name!r} cannot run: {error}", name=name) from error

    @staticmethod
    def _serialized(driver: DriverState, call: Call, name: str) -> SerializedCall:
        return SerializedCall(serializer.call(call, name), driver.of(targets_of(call)))

    def wait(self, seconds: float = inf) -> PrefectFuture[Any] | None:
        """Wait until a submitted call has ended, and return its future; None when none has for so long.

        Raises:
            RunCancelled: somebody cancelled the flow run.
        """
        end = time.monotonic() + seconds
        while True:
            future = self._next_ended(end)
            if future is None or future not in self._shown:
                return future
            self._shown.remove(future)
            self.show_reused()

    def outcome(self, future: PrefectFuture[Any]) -> Outcome:
        """Return how the call of a future from `wait` ended; each is asked for once.

        Raises:
            KeyboardInterrupt: the call raised it.
        """
        submitted = self._submitted.pop(future)
        self._functions.discard(submitted.function)
        submitted.function.release()
        seconds = time.perf_counter() - submitted.started
        try:
            outcome = read_outcome(future, submitted, seconds)
        except Exception as error:
            self._set_state(future, Crashed(message=f"the worker did not report a result: {error!r}"))
            outcome = Outcome(None, None, worker_error(submitted, error, is_first=not self._has_ended), seconds)
        self._has_ended = True
        if isinstance(outcome.error, KeyboardInterrupt):
            raise outcome.error
        self._record(submitted, outcome)
        return outcome

    def _record(self, submitted: SubmittedCall, outcome: Outcome) -> None:
        """Record how a call ended, and for a collapsed step how those of its members did."""
        if isinstance(outcome.value, MemberOutcomes):
            for name, (ended, _) in outcome.value.by_name.items():
                if ended is not None:
                    full_name = submitted.task.frame.full_name(name)
                    self._table.record(full_name, "Failed" if ended.error else "Completed", "run", ended.seconds)
        else:
            for member in submitted.task.members:
                state = "Failed" if outcome.error else "Completed"
                self._table.record(member.name, state, "run", outcome.seconds)

    def stop(self, *, at_once: bool) -> None:
        """Abandon what runs, and leave no task run behind that seems to run.

        Args:
            at_once: without it, all that was submitted is awaited: a task run cannot be withdrawn before it begins.
        """
        if not at_once:
            return
        for function in self._functions:
            function.abandon()
        futures = [*self._submitted, *self._shown]
        end_workers(self._task_runner, futures)
        problem = sys.exception()
        if problem is not None and not isinstance(problem, Exception):
            self._calls.bound(problem)
        if self._driver is not None:
            with suppress(TimeoutError):
                self._calls.make(partial(self._show_cancelled, futures))

    def _show_cancelled(self, futures: list[PrefectFuture[Any]]) -> None:
        for future in futures:
            self._set_state(future, Cancelled(message="the flow run ended before it"))

    # -- reused steps: their task runs do nothing, and show "Cached"

    def show_reused(self, frames: Iterable[Frame] = ()) -> None:
        """Show the reused steps whose parents have task runs, as many as the window takes.

        Args:
            frames: frames that were opened; their reused steps are shown too.
        """
        self._task_runs.add_frames(frames)
        while len(self._shown) < self.window and self._task_runs.show_next():
            pass

    def finish(self) -> None:
        """Show the reused steps that are left, and wait until their task runs have ended.

        Raises:
            RunCancelled: somebody cancelled the flow run.
        """
        while True:
            while len(self._shown) < self.window and self._task_runs.show_next(rest=True):
                pass
            if not self._shown:
                return
            ended = self._next_ended()
            assert ended is not None
            self._shown.remove(ended)

    def _show(self, task: Task) -> None:
        parents = self._task_runs.inputs(task.frame, parents_of(task.step))
        shown = self._factory.make(task.name, _cached, _cached, {})
        future = self._task_runner.submit(shown, {"reason": task.step.reason}, dependencies={"reason": parents})
        self._table.record(task.name, "Cached", "reused")
        self._shown.add(future)
        self._follow(future, task)

    # -- task runs

    def _follow(self, future: PrefectFuture[Any], task: Task) -> None:
        for member in task.members:
            self._task_runs.add(member, future.task_run_id)
        future.add_done_callback(self._ended.put)

    def _next_ended(self, end: float = inf) -> PrefectFuture[Any] | None:
        """Wait for a task run to end, until some time, and ask now and then whether the flow run is cancelled."""
        while True:
            now = time.monotonic()
            left = self._polled + POLL_SECONDS - now
            if left <= 0:
                self._refuse_cancelled()
                continue
            with suppress(Empty):
                return self._ended.get(timeout=max(0.0, min(left, end - now)))
            if time.monotonic() >= end:
                return None

    def _refuse_cancelled(self) -> None:
        """Raise RunCancelled if somebody cancelled the flow run."""
        state: State | None = None
        with suppress(Exception):  # the server may be unavailable now; it will be asked again
            state = self._client.read_flow_run(self._flow_run.id).state
        self._polled = time.monotonic()
        if state is not None and (state.is_cancelling() or state.is_cancelled()):
            running = sorted(submitted.name for submitted in self._submitted.values())
            raise RunCancelled(
                f"the flow run {self._flow_run.name!r} was cancelled in Prefect while "
                f"{', '.join(map(repr, running[:5])) or 'nothing'}{' ...' * (len(running) > 5)} ran; "
                "what had finished before is stored"
            )

    def _set_state(self, future: PrefectFuture[Any], state: State) -> None:
        with suppress(Exception):  # Prefect may not know the task run yet
            self._client.set_task_run_state(future.task_run_id, state, force=True)


def _cached(reason: str) -> Any:
    return Completed(name="Cached", message=reason)
