"""Running tasks in a flow run: submitted when their parents are done, with the graph's edges."""

from __future__ import annotations

import time
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from prefect.client.schemas.objects import RunInput, State, TaskRunResult
from prefect.results import ResultRecord  # type: ignore[attr-defined]  # it is not among its exports
from prefect.states import Cancelled, Completed, Crashed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from functionfuse.backends.calls import Outcome
from functionfuse.backends.frames import StoredResultLost, Task
from functionfuse.backends.ready import Ready
from functionfuse.errors import NodeError, RunCancelled, WorkerDiedError
from functionfuse.plan import refs_within

from .artifact import parents_of
from .options import TaskFactory, reads_parameters
from .parameters import parameters_of, placeholders, signature_of
from .serialization import SerializedCall, SerializedParameter, TaskFailure, TaskOutcome
from .task import NodeFunction
from .workers import end_workers

if TYPE_CHECKING:
    from inspect import Signature
    from uuid import UUID

    from prefect.context import FlowRunContext
    from prefect.futures import PrefectFuture

    from functionfuse.backends.calls import Call
    from functionfuse.backends.execution import Run
    from functionfuse.backends.frames import Frame
    from functionfuse.decorator import Target
    from functionfuse.plan import Step

    from .artifact import NodeTable

POLL_SECONDS = 2.0  # between two looks at whether the flow run is to be cancelled
MOST_PENDING = 500  # task runs at a time, where the task runner does not tell how many it can take
_LOST = ("distributed.", "ray.")  # modules of the errors with which clusters tell that a worker is gone


class Work(NamedTuple):
    """A node that the task runner has."""

    task: Task
    call: Call
    function: NodeFunction
    since: float


class PrefectRun:
    """The loop of one run, in the flow's own thread.

    Args:
        run: the run.
        context: of the flow run.
        table: notes what becomes of each node.
    """

    def __init__(self, run: Run, context: FlowRunContext, table: NodeTable) -> None:
        self.run = run
        assert context.flow_run is not None
        self.flow_run = context.flow_run
        self.client: Any = context.client  # that of a flow that is not asynchronous
        self.table = table
        self.runner = context.task_runner
        self.in_process = isinstance(self.runner, ThreadPoolTaskRunner)
        self.window = min(MOST_PENDING, 2 * getattr(self.runner, "_max_workers", MOST_PENDING))
        self.ready = Ready(run)
        self.tasks = TaskFactory(persist=context.persist_result)
        self.signatures: dict[Target, Signature] = {}
        self.task_runs: dict[tuple[Frame, str], UUID] = {}  # of the nodes that have one
        self.seen: set[Frame] = set()
        self.reused: dict[tuple[Frame, str], Step] = {}  # that have none yet
        self.pending: dict[PrefectFuture[Any], Work | None] = {}
        self.functions: set[NodeFunction] = set()  # that may run; known before their futures are
        self.answers: SimpleQueue[PrefectFuture[Any]] = SimpleQueue()
        self.looked = time.monotonic()
        self.lost: StoredResultLost | None = None

    def execute(self) -> None:
        """Run everything.

        Raises:
            StoredResultLost: a result that the plan reuses cannot be read.
            RunCancelled: somebody cancelled the flow run.
        """
        try:
            while True:
                self.submit_ready()
                if not self.pending:
                    break
                self.take_in(self.next_answer())
        except BaseException:
            self.stop()
            raise
        if self.lost is not None:
            raise self.lost

    # -- out

    def submit_ready(self) -> None:
        while len(self.pending) < self.window:
            if self.show_reused():
                continue
            try:
                task = None if self.run.stopped else self.ready.pop()
                call = None if task is None else self.run.prepare(task)
            except StoredResultLost as loss:
                self.give_up(loss)
                continue
            if task is not None and call is not None:
                self.submit(task, call)
            elif task is None and not self.show_reused(rest=not any(self.pending.values())):
                return

    def give_up(self, loss: StoredResultLost) -> None:
        """Let what is running end, and be stored, before all is planned again."""
        self.lost = self.lost or loss
        self.run.stopped = True

    def submit(self, task: Task, call: Call) -> None:
        name, target = task.name, call.target
        signature = self.signatures.get(target) or self.signatures.setdefault(target, signature_of(target))
        try:
            serialized = None if self.in_process else SerializedCall.of(call, name)
        except NodeError as error:
            self.settle(task, Outcome(None, None, error, 0.0), call)
            return
        options = task.step.options.get("task_args", {})
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
        prefect_task = self.tasks.make(name, target, function, options)
        edges = self.edges(task, signature, list(parameters))
        self.functions.add(function)  # it may begin, and Ctrl-C may come, before its future is here
        future = self.runner.submit(prefect_task, parameters, dependencies=edges)
        self.submitted(future, task, Work(task, call, function, time.perf_counter()))

    def submitted(self, future: PrefectFuture[Any], task: Task, work: Work | None) -> None:
        self.task_runs[task.frame, task.step.name] = future.task_run_id
        self.pending[future] = work
        future.add_done_callback(self.answers.put)

    def show_reused(self, *, rest: bool = False) -> bool:
        """Give a reused step its task run, when its parents have theirs; False when there is none to show now."""
        for frame in self.run.opened:
            if frame not in self.seen:
                self.seen.add(frame)
                self.reused.update(((frame, step.name), step) for step in frame.plan if step.action == "reuse")
        for (frame, name), step in self.reused.items():
            if rest or all((frame, parent) in self.task_runs for parent in parents_of(step)):
                self.show(frame, name)
                return True
        return False

    def show(self, frame: Frame, name: str) -> None:
        """Make the task run of a reused step, which does nothing."""
        task = Task(frame, self.reused.pop((frame, name)))
        names = parents_of(task.step)
        parents: set[RunInput] = {TaskRunResult(id=run) for parent in names if (run := self.task_run(frame, parent))}
        shown = self.tasks.make(task.name, _cached, _cached, {})
        future = self.runner.submit(shown, {"reason": task.step.reason}, dependencies={"reason": parents})
        self.table.record(task.name, "Cached", "reused")
        self.submitted(future, task, None)

    # -- edges

    def edges(self, task: Task, signature: Signature, parameters: list[str]) -> dict[str, set[RunInput]]:
        """The task runs that a node's parameters come from. Prefect draws them as the graph's edges."""
        frame, step = task
        parents: dict[str, list[str]] = {}
        args = (None, *step.args) if step.target.kind == "method" else step.args
        for key, value in signature.bind(*args, **step.kwargs).arguments.items() if step.needs else ():
            values = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,)
            parents[key] = [ref.step for each in values for ref in refs_within(each)]
        if step.after:
            parents.setdefault(parameters[0], []).extend(step.after)
        edges: dict[str, set[RunInput]] = {}
        for key, names in parents.items():
            runs: set[RunInput] = {TaskRunResult(id=run) for name in names if (run := self.task_run(frame, name))}
            if runs:
                edges[key] = runs
        if frame.parent is not None and not edges and parameters:  # made by the node that returned it
            edges[parameters[0]] = {TaskRunResult(id=self.task_runs[frame.parent.frame, frame.parent.step.name])}
        return edges

    def task_run(self, frame: Frame, name: str) -> UUID | None:
        """The task run of a step; a reused one is shown at the latest now."""
        if (frame, name) in self.reused:
            self.show(frame, name)
        return self.task_runs.get((frame, name))

    # -- in

    def next_answer(self) -> PrefectFuture[Any]:
        """Wait for a task to end, and look now and then whether the run is to go on."""
        while True:
            left = self.looked + POLL_SECONDS - time.monotonic()
            if left <= 0:
                self.look()
                continue
            with suppress(Empty):
                return self.answers.get(timeout=left)

    def look(self) -> None:
        """Raise RunCancelled when somebody cancelled the flow run."""
        state: State | None = None
        with suppress(Exception):  # not to be asked now; it will be asked again
            state = self.client.read_flow_run(self.flow_run.id).state
        self.looked = time.monotonic()
        if state is not None and (state.is_cancelling() or state.is_cancelled()):
            running = sorted(work.task.name for work in self.pending.values() if work)
            raise RunCancelled(
                f"the flow run {self.flow_run.name!r} was cancelled in Prefect while "
                f"{', '.join(map(repr, running[:5])) or 'nothing'}{' ...' * (len(running) > 5)} ran; "
                "what had finished before is stored"
            )

    def take_in(self, future: PrefectFuture[Any]) -> None:
        work = self.pending.pop(future)
        if work is not None:
            self.functions.discard(work.function)
            work.function.release()
            self.settle(work.task, self.outcome(work, future), work.call)

    def settle(self, task: Task, outcome: Outcome, call: Call) -> None:
        self.table.record(task.name, "Failed" if outcome.error else "Completed", "run", outcome.seconds)
        try:
            self.run.settle(task, outcome, call)
        except StoredResultLost as loss:
            self.give_up(loss)

    def outcome(self, work: Work, future: PrefectFuture[Any]) -> Outcome:
        """Return how a node's call ended."""
        seconds = time.perf_counter() - work.since
        try:
            future.wait()
            state = future.state
            # Prefect's own way to a result leads through another thread, and takes longer than a short task.
            record = state.data
            value = record.result if isinstance(record, ResultRecord) else future.result(raise_on_failure=False)
        except Exception as error:
            return Outcome(None, None, self.died(work, future, error), seconds)
        if isinstance(value, TaskOutcome):
            return value.take()
        if isinstance(value, TaskFailure):
            return value.task_outcome.take()
        known = work.function.outcome or Outcome(None, None, None, seconds)
        if not state.is_completed():
            return known if known.error is value else Outcome(None, None, _error(value, state), seconds)
        kind = work.call.target.kind
        value, instance = value if kind == "method" else (value, value if kind == "constructor" else None)
        return known._replace(value=value, instance=instance)

    def died(self, work: Work, future: PrefectFuture[Any], error: Exception) -> Exception:
        """Return the error of a node whose worker did not answer."""
        self.set_state(future, Crashed(message=f"the worker did not answer: {error!r}"))
        if not isinstance(error, BrokenExecutor) and not f"{type(error).__module__}.".startswith(_LOST):
            return error
        name = work.task.name
        failure = WorkerDiedError(
            f"node {name!r} failed: its worker died, or another of the same pool ({type(error).__name__}: {error}); "
            "out of memory and crashes in native code are the usual causes",
            name=name,
            function=work.call.target.qualname,
        )
        failure.__cause__ = error
        return failure

    # -- the end

    def stop(self) -> None:
        """Give up what runs, and leave no task run behind that seems to run."""
        for function in self.functions:
            function.abandon()
        if not self.in_process:
            for future in self.pending:
                self.set_state(future, Cancelled(message="the flow run ended before it"))
        end_workers(self.runner, self.pending)

    def set_state(self, future: PrefectFuture[Any], state: State) -> None:
        with suppress(Exception):  # Prefect may not have heard of it yet
            self.client.set_task_run_state(future.task_run_id, state, force=True)


def _cached(reason: str) -> Any:
    return Completed(name="Cached", message=reason)


def _error(value: Any, state: State) -> BaseException:
    return value if isinstance(value, BaseException) else RuntimeError(f"{state.name}: {state.message}")
