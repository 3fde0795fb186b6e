"""Running a plan: results, what follows from them, and what is saved. Shared by every engine.

An engine takes tasks from a `Run`, in plan order with `Run.in_order`, or as they become ready with `Ready`. It performs
`run.prepare(task)` wherever it likes, and gives the outcome back with `run.settle(task, outcome)`. All else happens
here: arguments, the store, dynamic graphs, failures, events, and the release of results after their last consumer.
"""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from functionfuse._warning import warn_user
from functionfuse.backends.calls import (
    INTERRUPTS,
    Call,
    Expansion,
    Outcome,
    called,
    evaluate,
    perform,
)
from functionfuse.backends.frames import Frame, StoredResultLost, Task
from functionfuse.backends.limits import TimeLimitExceeded
from functionfuse.backends.options import NO_OPTIONS
from functionfuse.backends.plugins import initializer
from functionfuse.backends.report import RunReport
from functionfuse.backends.stored import StoredResults
from functionfuse.backends.texts import described
from functionfuse.errors import (
    EngineError,
    FunctionFuseError,
    NodeError,
    NodeTimeoutError,
    StorageError,
    WorkflowFailed,
)
from functionfuse.plan import fill, refs_within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from functionfuse.backends.observers import EventChannel, EventKind
    from functionfuse.backends.options import OnError
    from functionfuse.plan import Plan, Ref, Step
    from functionfuse.stores import Store


class Run:
    """The state of one execution of a plan.

    Args:
        plan: the steps.
        wanted: the results that are asked for.
        expand: plans the graph that a dynamic step returns.
        store: what results are read from and saved to.
        events: what observers are called through.
        on_error: whether a failure stops the run.
        inputs: by step of the plan: loads its result, where that comes neither from this run nor from the store.

    Attributes:
        stopped: no further step may start, because one failed, or because a stored result is lost.
        lost: the stored result that turned out lost, if one did. Calls that run are settled as always; then the
            session plans again.
        store: what results are read from and saved to.
        saved: names of steps of the workflow itself whose results this run saved.
        done: tasks that are settled; an engine that needs to know takes them out.
        opened: frames that dynamic steps opened; likewise.
    """

    def __init__(
        self,
        plan: Plan,
        wanted: Sequence[Ref],
        *,
        expand: Callable[[list[Step], Task, list[Ref]], Plan],
        store: Store | None,
        events: EventChannel,
        on_error: OnError,
        inputs: Mapping[str, Callable[[], Any]] | None = None,
    ) -> None:
        self.report = RunReport()
        self.stopped = False
        self.lost: StoredResultLost | None = None
        self.saved: set[str] = set()
        self._made: set[str] = set()  # names of steps of the workflow itself that ran, where there is a store
        self.done: list[Task] = []
        self.opened: list[Frame] = []
        self._expand = expand
        self.store = store
        self._stored = None if store is None else StoredResults(store, plan.workflow_name)
        self._events = events if events else None  # asked for at every step
        self._inputs = inputs or {}
        self._stop_on_error = on_error == "raise"
        self._closing: deque[Frame] = deque()
        self._wanted = wanted
        self.root = self._open(plan, wanted)

    # -- for engines

    def in_order(self) -> Iterator[Task]:
        """Yield every task to run, in plan order; a dynamic step's graph comes right behind it.

        Each task has to be settled before the next is taken.
        """
        stack = [(self.root, iter(self.root.plan.steps))]
        self.opened.clear()
        while stack and not self.stopped:
            frame, steps = stack[-1]
            for step in steps:
                if step.action != "run":
                    continue
                task = Task(frame, step)
                if frame.failed and self.skip(task):
                    continue
                yield task
                self.done.clear()
                if self.stopped:
                    return
                if self.opened:
                    opened = self.opened.pop()
                    stack.append((opened, iter(opened.plan.steps)))
                    break
            else:
                stack.pop()

    def skip(self, task: Task) -> bool:
        """Whether a step cannot run because a parent failed; then it is settled as skipped."""
        frame, step = task
        for name in (*step.needs, *step.after):
            error = frame.failed.get(name)
            if error is not None:
                self.report.skipped[task.name] = error.name
                self._fail(task, error)
                return True
        return False

    def perform_here(self, task: Task) -> None:
        """Run a task in this process, and settle it."""
        frame, step = task
        if step.options is not NO_OPTIONS or step.instance is not None or step.resumes or self._events is not None:
            call = self.prepare(task)
            if call is not None:
                self.settle(task, perform(call), call)
            return
        # A plain function, with nobody watching: the same without the wrapping, which takes longer than it does.
        start = time.perf_counter()
        try:
            args, kwargs = step.arguments(frame.take)
        except Exception:
            self.prepare(task)  # says what is wrong
            return
        try:
            value = evaluate(step.target.function, args, kwargs)  # type: ignore[union-attr]
        except INTERRUPTS:
            raise
        except BaseException as error:
            outcome = Outcome(None, None, error, time.perf_counter() - start)
            self.settle(task, outcome, Call(step.target, args, kwargs))
            return
        seconds = time.perf_counter() - start
        if type(value) is Expansion:
            self._expanded(task, Outcome(value, None, None, seconds))
        else:
            self._finish(task, value, None, seconds)

    def prepare(self, task: Task) -> Call | None:
        """Return the call to perform; None when its arguments cannot be had.

        The task has failed then, or a stored result that it takes is lost, and the run is stopped.
        """
        frame, step = task
        options, instance, initialize = step.options, None, None
        self.started(task)
        try:
            states = {name: self.read_state(frame, after) for name, after in step.resumes.items()}
            args, kwargs = step.arguments(partial(_take_resumed, frame, states) if states else frame.take)
            if step.target.kind == "method":
                instance = states[step.instance] if step.instance in states else frame.values[step.instance]  # type: ignore[index]
            if options is NO_OPTIONS:
                return Call(step.target, args, kwargs, instance)
            if options.plugin is not None:
                initialize = initializer(options.plugin, task.name)
        except StoredResultLost as loss:
            self.lose(loss)
            return None
        except Exception as error:
            self.fail(task, error, "its arguments cannot be put together")
            return None
        given = initialize, options.retry, options.timeout, options.check_arguments, options.environment
        return Call(step.target, args, kwargs, instance, *given)

    def started(self, task: Task) -> None:
        """Report that a task is handed to the engine; `prepare` does it too."""
        if self._events is not None:
            self._events.report("started", task.name)

    def lose(self, loss: StoredResultLost) -> None:
        """Record that a stored result cannot be read: no further step starts, and the session plans again."""
        self.lost = self.lost or loss
        self.stopped = True

    def promise(self, task: Task, value: Any, instance: Any = None) -> None:
        """Let the consumers of a task take a value that stands for its result, before it is settled.

        For engines that order calls among themselves: what depends on the task is ready now.

        Args:
            task: the task.
            value: what stands for its result.
            instance: what stands for the stateful object that its call is made on, or makes.
        """
        self._provide(task, value, instance)
        self.done.append(task)

    def read_state(self, frame: Frame, after: str) -> Any:
        """Return the state of a stateful object that was stored after a step.

        Args:
            frame: of the step.
            after: the name of the step.

        Raises:
            StoredResultLost: it cannot be read.
        """
        assert self._stored is not None, after
        return self._stored.read_state(frame, after)

    def settle(self, task: Task, outcome: Outcome, call: Call | None = None, detail: str = "") -> None:
        """Take in how a step ended.

        Args:
            task: the task.
            outcome: how its call ended.
            call: the call, which the message of an error describes.
            detail: a line for that message, where there is no call to describe.
        """
        error = outcome.error
        if error is not None:
            self.fail(task, error, called(call, outcome.attempts) if call else detail, outcome.seconds)
        elif type(outcome.value) is Expansion:
            self._expanded(task, outcome)
        else:
            self._finish(task, outcome.value, outcome.instance, outcome.seconds)

    def fail(self, task: Task, error: BaseException, detail: str = "", seconds: float = 0.0) -> None:
        """Settle a task as failed.

        Args:
            task: the task.
            error: why; a NodeError of this node, or of its graph, is raised as it is.
            detail: a second line for the message of the NodeError that is made otherwise.
            seconds: how long the call took.
        """
        name = task.name
        kind = NodeTimeoutError if isinstance(error, TimeLimitExceeded) else NodeError
        if isinstance(error, NodeError) and _is_of(error, task):
            failure = error  # the engine knows better
        else:
            message = f"node {name!r} failed: {described(error)}"
            failure = kind(
                f"{message}\n  {detail}" if detail else message, name=name, function=task.step.target.qualname
            )
            failure.__cause__ = error
        self.record("failed", name, seconds, failure)
        self.stopped = self.stopped or self._stop_on_error
        self._fail(task, failure)

    def not_stored(self, name: str, error: Exception) -> None:
        """Record that the result of a step that was settled could not be stored.

        Args:
            name: the step's full name.
            error: why.
        """
        failure = NodeError(f"node {name!r} ran, but its result cannot be stored: {described(error)}", name=name)
        failure.__cause__ = error
        self.record("failed", name, None, failure)

    def record(self, kind: EventKind, name: str, seconds: float | None = None, error: NodeError | None = None) -> None:
        """Record what became of a step of a dynamic graph, where the engine runs that graph within its parent.

        Args:
            kind: what happened.
            name: the step's full name.
            seconds: how long it took.
            error: why it failed, or the error of the step that it depends on.
        """
        if kind != "started":
            self.report.note(kind, name, error)
        if self._events is not None:
            self._events.report(kind, name, seconds, error)

    def state_not_saved(self, task: Task, reason: object) -> None:
        """Record that a stateful object cannot be pickled: none of its states is stored, and the user is warned.

        Args:
            task: a call on it.
            reason: why it cannot be pickled.
        """
        frame, step = task
        assert step.instance is not None
        frame.stateless.add(step.instance)
        warn_user(
            f"the state of {frame.full_name(step.instance)!r} cannot be saved ({reason}): when one of its calls has "
            "to run again, all of them do"
        )

    def results(self) -> list[Any]:
        """Return the results that were asked for, in that order.

        Raises:
            StoredResultLost: one that is stored cannot be read.
            NodeError: a step failed, with ``on_error="raise"``.
            WorkflowFailed: steps failed, with ``on_error="continue"``.
        """
        self.raise_failures()
        frame = self.root
        try:
            return [frame.take_for_user(ref) for ref in self._wanted]
        finally:
            frame.values.clear()  # which would live until the next garbage collection

    @property
    def is_observed(self) -> bool:
        """Return True if observers are called with events."""
        return self._events is not None

    @property
    def failed(self) -> bool:
        """Whether a failure stopped the run."""
        return self._stop_on_error and bool(self.report.failed)

    def raise_failures(self) -> None:
        """Raise what `results` raises of the steps that failed, if any did."""
        errors = list(self.report.failed.values())
        if errors and self._stop_on_error:
            raise errors[0]
        if errors:
            raise WorkflowFailed(f"some nodes failed\n{self.report}", self.report) from errors[0]

    # -- what follows from a step

    def _open(self, plan: Plan, wanted: Iterable[Ref], parent: Task | None = None, result: Any = None) -> Frame:
        frame = Frame(plan, wanted, parent, result, self._read)
        for step in plan.steps if frame.left < len(plan) else ():
            if step.action == "reuse":
                name = frame.full_name(step.name)
                self.report.reused.append(name)
                if self._events is not None:
                    self._events.report("reused", name)
        self.opened.append(frame)
        return frame

    def _expanded(self, task: Task, outcome: Outcome) -> None:
        wanted = refs_within(outcome.value.result)
        try:
            plan = self._expand(outcome.value.steps, task, wanted)
        except FunctionFuseError as error:
            self.fail(task, error, "the graph that it returned cannot run", outcome.seconds)
            return
        frame = self._open(plan, wanted, task, outcome.value.result)
        frame.instance = outcome.instance
        if not frame.left:
            self._close(frame)

    def _finish(self, task: Task, value: Any, instance: Any, seconds: float) -> None:
        if self._stored is not None:
            try:
                value = self._save(task, value, instance, seconds)
            except Exception as error:
                self.fail(task, error, "it ran, but its result cannot be stored", seconds)
                return
        if self._events is not None:
            self._events.report("finished", task.name, seconds)
        if not self._stop_on_error:  # else nobody sees the report of what finished
            self.report.finished.append(task.name)
        self._provide(task, value, instance)
        self._settled(task)

    def _provide(self, task: Task, value: Any, instance: Any) -> None:
        """Hold a result, and the stateful object that it came from, for the steps that still take them."""
        frame, step = task
        values, uses = frame.values, frame.uses
        if step.name in uses:
            values[step.name] = value
        if step.instance in uses:
            values[step.instance] = instance

    def _fail(self, task: Task, error: NodeError) -> None:
        task.frame.failed[task.step.name] = error
        self._settled(task)

    def _settled(self, task: Task) -> None:
        """Release what the step was the last to need, and end the frame with its last step."""
        frame, step = task
        uses, values = frame.uses, frame.values
        for name in step.needs:
            uses[name] -= 1
            if not uses[name]:
                values.pop(name, None)
        self.done.append(task)
        frame.left -= 1
        if not frame.left and frame.parent is not None:
            self._close(frame)

    def _close(self, frame: Frame) -> None:
        """Hand the result of a dynamic step's graph up; one loop serves any depth of frames."""
        self._closing.append(frame)
        if len(self._closing) > 1:
            return  # called from within the loop below
        try:
            while self._closing:
                self._hand_up(self._closing[0])
                self._closing.popleft()
        finally:
            self._closing.clear()

    def _hand_up(self, frame: Frame) -> None:
        parent = frame.parent
        assert parent is not None
        if frame.failed:
            error = next(iter(frame.failed.values()))
            self.report.skipped[parent.name] = error.name
            if self._events is not None:  # it was started
                self._events.report("failed", parent.name, time.perf_counter() - frame.started, error)
            self._fail(parent, error)
            return
        try:
            value = fill(frame.result, frame.take)
        except StoredResultLost as loss:
            self.lose(loss)
            return
        except Exception as error:
            self.fail(parent, error, "the result of its graph cannot be put together")
            return
        instance = value if parent.step.target.kind == "constructor" else frame.instance
        self._finish(parent, value, instance, time.perf_counter() - frame.started)

    # -- the store

    def _save(self, task: Task, value: Any, instance: Any, seconds: float) -> Any:
        """Save what a step made; return what consumers of its result take."""
        assert self._stored is not None
        frame, step = task
        if frame is self.root:
            self._made.add(step.name)
        if step.options.log:
            return value
        # The state first: a killed driver leaves no stored result whose object has to be made again.
        if step.instance is not None and step.recipe is not None and step.instance not in frame.stateless:
            try:
                self._stored.save_state(task, instance)
            except StorageError:
                raise
            except Exception as error:
                self.state_not_saved(task, error)
        if step.target.kind == "constructor":
            return value
        value = self._stored.save(task, value, seconds)
        if frame is self.root:
            self.saved.add(step.name)
        return value

    def _read(self, frame: Frame, name: str) -> Any:
        """Return a result that this run does not make."""
        if name in self._inputs and frame is self.root:
            return self._inputs[name]()
        is_missing = frame.plan[name].action == "run" and not (frame is self.root and name in self._made)
        if is_missing or self._stored is None:  # what is stored is of an earlier run
            raise EngineError(
                f"the engine ended without the result of node {frame.full_name(name)!r}, which had to run"
            )
        return self._stored.read(frame, name)


def _is_of(error: NodeError, task: Task) -> bool:
    """Return False for an error of another run, which the function of a task made; its node may have the same name."""
    name = task.name
    # A class that travels by value has its own name alone where it is made again.
    of_task = error.name == name and f".{task.step.target.qualname}".endswith(f".{error.function}")
    return of_task or error.name.startswith(f"{name}/")


def _take_resumed(frame: Frame, states: Mapping[str, Any], ref: Ref) -> Any:
    return ref.take(states[ref.step]) if ref.step in states else frame.take(ref)
