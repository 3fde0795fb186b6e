"""Running a plan: results, what follows from them, and what is saved. Shared by every engine.

An engine takes tasks from a `Run`, in plan order with `Run.in_order`, or as they become ready with `Ready`. It performs
`run.prepare(task)` wherever it likes, and gives the outcome back with `run.settle(task, outcome)`. All else happens
here: arguments, the store, dynamic graphs, failures, events, and the release of results after their last consumer.
"""

from __future__ import annotations

import time
from collections import Counter, deque
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
)
from functionfuse.backends.collapsed import COLLAPSED, Member, Members, with_refs
from functionfuse.backends.external_inputs import changed_file
from functionfuse.backends.failed_inputs import instead_of
from functionfuse.backends.frames import CollapsedTask, Frame, StoredResultLost, Task
from functionfuse.backends.interruption import Interruption
from functionfuse.backends.limits import TimeLimitExceeded
from functionfuse.backends.options import NO_OPTIONS
from functionfuse.backends.performing import perform
from functionfuse.backends.plugins import initializer
from functionfuse.backends.run_log import RunLog
from functionfuse.backends.stored import StoredResults
from functionfuse.backends.texts import described, mask_message, masked
from functionfuse.backends.tracebacks import hide_own_frames, user_line
from functionfuse.errors import (
    EngineError,
    FunctionFuseError,
    NodeError,
    NodeTimeoutError,
    StorageError,
    WorkflowFailed,
)
from functionfuse.plan import TO_RUN, Ref, fill, refs_within

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from functionfuse.backends.observers import EventChannel
    from functionfuse.backends.options import OnError
    from functionfuse.backends.progress import RunProgress
    from functionfuse.backends.recording import CallRecord, Recording
    from functionfuse.backends.recordings import Recordings
    from functionfuse.backends.report import RunReport
    from functionfuse.backends.run_memory import RunMemory
    from functionfuse.backends.run_records import RunRecorder
    from functionfuse.plan import Plan, Step
    from functionfuse.stores import Store


class Run:
    """The state of one execution of a plan.

    Args:
        plan: the steps.
        wanted: the results that are asked for.
        expand: plans the graph that a dynamic step returns.
        checks: returns for a step that is to be checked, and its full name, the footer of its result if that is found.
        store: what results are read from and saved to.
        events: what observers are called through.
        on_error: whether a failure stops the run.
        recordings: what is recorded of calls; nothing without it.
        interruption: whether the run shall end before its time.
        inputs: by step of the plan: loads its result, where that comes neither from this run nor from the store.
        recorder: keeps what the record of the run needs; None if there is none.
        progress: counts what becomes of steps, for a display; None if there is none.

    Attributes:
        stopped: no further step may start, because one failed, or because a stored result is lost.
        lost: the stored result that turned out lost, if one did. Calls that run are settled as always; then the
            session plans again.
        store: what results are read from and saved to.
        log: what is reported of the run.
        saved: names of steps of the workflow itself whose results this run saved.
        interruption: whether the run shall end before its time.
        done: tasks that are settled; an engine that needs to know takes them out.
        promised: tasks that were promised, likewise.
        postponed: members of collapsed steps that have to be given again, likewise.
        opened: frames that dynamic steps opened; likewise.
    """

    def __init__(
        self,
        plan: Plan,
        wanted: Sequence[Ref],
        *,
        expand: Callable[[list[Step], Task, list[Ref]], Plan],
        checks: Callable[[Step, str], Mapping[str, Any] | None] | None = None,
        store: Store | None,
        events: EventChannel,
        on_error: OnError,
        recordings: Recordings | None = None,
        interruption: Interruption | None = None,
        inputs: Mapping[str, Callable[[], Any]] | None = None,
        recorder: RunRecorder | RunMemory | None = None,
        progress: RunProgress | None = None,
    ) -> None:
        # A run that stops at a failure does not show what finished.
        self.log = RunLog(events, recorder, progress, reports=on_error != "raise")
        self._progress = progress
        self.running_calls = None if progress is None else progress.calls
        """Which calls run, for a display; None without one."""
        self.stopped = False
        self.lost: StoredResultLost | None = None
        self.saved: set[str] = set()
        self._made: set[str] = set()  # names of steps of the workflow itself that ran, where there is a store
        self.done: list[Task] = []
        self.promised: list[Task] = []
        self.postponed: list[Task] = []
        self.opened: list[Frame] = []
        self._expand = expand
        self._checks = checks
        self.store = store
        self._stored = None if store is None else StoredResults(store, plan.workflow_name)
        self._recordings = recordings
        self._is_watched = self.log.is_observed or (recordings is not None and recordings.records)
        self.interruption = Interruption("stop") if interruption is None else interruption
        self._inputs = inputs or {}
        self._failures: list[NodeError] = []  # but for those that are tolerated
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
        interruption, is_recorded = self.interruption, self.log.is_recorded
        self.opened.clear()
        while stack and not self.stopped:
            frame, steps = stack[-1]
            for step in steps:
                if step.action not in TO_RUN:
                    continue
                if (interruption.requested or is_recorded) and self.interrupted():
                    return
                task = Task(frame, step)
                if (frame.failed and self.skip(task)) or (step.action == "check" and self.reuses(task)):
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

    def interrupted(self) -> bool:
        """Return True if the run shall end, and nothing new may start; engines ask between calls, and while they wait.

        Raises:
            Cancellation: what runs is to be stopped.
        """
        if self.log.is_recorded:
            self.log.write_if_due()
        if not self.interruption.requested:
            return False
        self.interruption.check()
        self.stopped = True
        return True

    def skip(self, task: Task) -> bool:
        """Whether a step cannot run because a parent failed; then it is settled as skipped."""
        error = task.frame.failure_of_needed(task.step)
        if error is None:
            return False
        self.log.skipped(task, error)
        self._fail(task, error)
        return True

    def reuses(self, task: Task) -> bool:
        """Whether a step that is to be checked need not run; then it is settled as reused."""
        frame, step = task
        if self._checks is None or self._stored is None or not frame.has_recipe(step):
            return False
        self._stored.finish([frame.full_name(name) for name in step.needs])
        footer = self._checks(step, task.name)
        if footer is None:
            return False
        frame.reused.add(step.name)
        self.log.reused(task, footer=footer)
        self._settled(task)
        return True

    def taker(self, task: Task) -> Callable[[Ref], Any]:
        """Return what returns the values of the Refs in the arguments of a task.

        Args:
            task: the task, none of whose parents is missing; parents that failed are replaced.
        """
        frame, step = task
        allowed = step.options.failed_inputs
        if allowed is None:
            return frame.take
        instead = instead_of(frame.failed_inputs(step), allowed)
        return partial(_take_instead, frame, instead) if instead else frame.take

    def perform_here(self, task: Task) -> None:
        """Run a task in this process, and settle it."""
        frame, step = task
        if (
            step.options is not NO_OPTIONS
            or type(task) is CollapsedTask
            or step.instance is not None
            or step.resumes
            or self._is_watched
        ):
            call = self.prepare(task)
            if call is not None:
                self.settle(task, self.perform(call), call)
            return
        # A plain function, with nobody watching: the same without the wrapping, which takes longer than it does.
        start = time.perf_counter()
        if self._progress is not None:
            self._progress.here, self._progress.here_since = task, start
        try:
            args, kwargs = step.arguments(frame.take)
        except Exception:
            self.prepare(task)  # says what is wrong
            return
        interruption = self.interruption
        interruption.performs = True
        try:
            value = evaluate(step.target.function, args, kwargs)  # type: ignore[union-attr]
        except INTERRUPTS:
            raise
        except BaseException as error:
            interruption.performs = False
            outcome = Outcome(None, None, error, time.perf_counter() - start)
            self.settle(task, outcome, Call(step.target, args, kwargs))
            return
        interruption.performs = False
        seconds = time.perf_counter() - start
        if type(value) is Expansion:
            self._expanded(task, Outcome(value, None, None, seconds))
        else:
            self._finish(task, value, None, seconds)

    def perform(self, call: Call) -> Outcome:
        """Make a call in this process, which ends when the run is cancelled."""
        self.log.write_later()
        self.interruption.performs = True
        try:
            return perform(call)
        finally:
            self.interruption.performs = False

    def prepare(self, task: Task) -> Call | None:
        """Return the call to perform; None when its arguments cannot be had.

        The task has failed then, or a stored result that it takes is lost, and the run is stopped.
        """
        if isinstance(task, CollapsedTask):
            return self._prepare_members(task)
        return self._prepare(task)

    def _prepare(self, task: Task, inside: Collection[str] = ()) -> Call | None:
        """Return a call; with `inside`, of a member, in whose arguments Refs stand for results of other members."""
        frame, step = task
        options, instance, initialize = step.options, None, None
        self.started(task)
        try:
            states: dict[str, Any] = {}
            take = self.taker(task) if frame.failed else frame.take
            if step.resumes:
                states = {name: self.read_state(frame, after) for name, after in step.resumes.items()}
                take = partial(_take_resumed, take, states)
            args, kwargs = with_refs(step, partial(_ref_or_value, inside, take)) if inside else step.arguments(take)
            if step.target.kind == "method" and step.instance not in inside:
                instance = states[step.instance] if step.instance in states else frame.values[step.instance]  # type: ignore[index]
            if options is NO_OPTIONS:
                return Call(step.target, args, kwargs, instance, recording=self.recording(task))
            if options.plugin is not None:
                initialize = initializer(options.plugin, task.name)
        except StoredResultLost as loss:
            self.lose(loss)
            return None
        except Exception as error:
            self.fail(task, error, "its arguments cannot be put together")
            return None
        given = initialize, options.retry, options.timeout, options.check_arguments, options.environment
        return Call(step.target, args, kwargs, instance, *given, self.recording(task))

    def _prepare_members(self, task: CollapsedTask) -> Call | None:
        """Return the call of a collapsed step; None if no member can be called."""
        frame, inside = task.frame, {member.step.name for member in task.members}
        members: dict[str, Member] = {}
        for member in task.members:
            step = member.step
            parents = tuple(name for name in (*step.needs, *step.after) if name in inside)
            if not members.keys() >= set(parents):
                self.postponed.append(member)
                continue
            call = self._prepare(member, inside)
            if self.lost is not None:
                return None
            if call is not None:
                members[step.name] = Member(step.name, call, parents, step.instance, _is_tolerated(member))
        within = Counter(name for member in task.members for name in member.step.needs)
        taken = [name for name in inside if self.store is not None or frame.uses.get(name, 0) > within[name]]
        keeps_states = self._stored is not None
        content = Members(list(members.values()), taken, keeps_states=keeps_states, stops=self._stop_on_error)
        return Call(COLLAPSED, (content,), {}) if members else None

    def _settle_members(self, task: CollapsedTask, outcome: Outcome, call: Call | None) -> None:
        """Take in how the members of a collapsed step ended."""
        frame = task.frame
        called_members = {member.step.name: member for member in task.members}
        if call is not None:
            called_members = {member.name: called_members[member.name] for member in call.args[0].members}
        if outcome.error is not None:  # its process died, for example
            for member in called_members.values():
                self.fail(member, outcome.error, f"in the collapsed step {task.step.name!r}", outcome.seconds)
            return
        for name, (ended, detail) in outcome.value.by_name.items():
            if ended is None:
                self.postponed.append(called_members[name])
            else:
                self.settle(Task(frame, called_members[name].step), ended, detail=detail)

    def recording(self, task: Task) -> Recording | None:
        """Return what is recorded of the call of a task; `prepare` puts it into the call."""
        return None if self._recordings is None else self._recordings.of(task)

    def started(self, task: Task) -> None:
        """Report that a task is handed to the engine; `prepare` does it too."""
        self.log.started(task)

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
        self.promised.append(task)

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
        if isinstance(task, CollapsedTask):
            self._settle_members(task, outcome, call)
        elif error is not None and self._is_tried_again(task, error):
            self.postponed.append(task)
        elif error is not None:
            attempts = task.frame.attempts.get(task.step.name, 1)
            if attempts > 1:
                outcome, detail = outcome._replace(attempts=attempts), f"{detail}, {attempts} attempts"
            detail = called(call, outcome.attempts) if call else detail
            line = outcome.line or user_line(error)
            if line is not None:
                detail = f"{detail}\n  {line}" if detail else str(line)
            record = outcome.record
            if call is not None and record is None and self._recordings is not None:
                record = self._recordings.of_lost(call, error)
            self.fail(task, error, detail, outcome.seconds, record, outcome.attempts)
        elif type(outcome.value) is Expansion:
            self._expanded(task, outcome)
        else:
            attempts = task.frame.attempts.get(task.step.name, outcome.attempts)
            self._finish(task, outcome.value, outcome.instance, outcome.seconds, outcome.record, attempts)

    def _is_tried_again(self, task: Task, error: BaseException) -> bool:
        """Return True for a step that needs more with each attempt, if it has a further one."""
        frame, name = task.frame, task.step.name
        if not task.step.options.resources or self.stopped or name not in frame.plan.by_name:
            return False
        options = frame.plan[name].options
        if not options.grows or options.retry is None or task.step.options.grows:
            return False
        attempt = frame.attempts.get(name, 1)
        if attempt > options.retry.times or not isinstance(error, options.retry.exceptions):
            return False
        frame.attempts[name] = attempt + 1
        return True

    def fail(
        self,
        task: Task,
        error: BaseException,
        detail: str = "",
        seconds: float = 0.0,
        record: CallRecord | None = None,
        attempts: int = 1,
    ) -> None:
        """Settle a task as failed.

        Args:
            task: the task.
            error: why; a NodeError of this node, or of its graph, is raised as it is.
            detail: a second line for the message of the NodeError that is made otherwise.
            seconds: how long the call took.
            record: what was recorded of it.
            attempts: how many there were.
        """
        name = task.name
        if task.step.action == "verify":
            self._verified(task, masked(f"it failed: {described(error)}"), seconds, record)
            return
        kind = NodeTimeoutError if isinstance(error, TimeLimitExceeded) else NodeError
        if isinstance(error, NodeError) and _is_of(error, task):
            failure = error  # the engine knows better
            mask_message(failure)
        else:
            message, detail = masked(f"node {name!r} failed: {described(error)}"), masked(detail)
            failure = kind(
                f"{message}\n  {detail}" if detail else message, name=name, function=task.step.target.qualname
            )
            hide_own_frames(error)
            failure.__cause__ = error
        note = "" if record is None or self._recordings is None else self._recordings.keep(name, record)
        if note:
            failure.add_note(note)
        self.log.failed(task, seconds, failure, record, attempts=attempts)
        if _is_tolerated(task):
            self.report.tolerated.append(failure.name)
        else:
            self._failures.append(failure)
            self.stopped = self.stopped or self._stop_on_error
        self._fail(task, failure)

    def count_failure(self, error: NodeError) -> None:
        """Let the run fail with an error that was recorded.

        Args:
            error: of a step in the graph of a dynamic one, where the engine runs that graph within its parent.
        """
        self._failures.append(error)

    def not_stored(self, name: str, error: Exception) -> None:
        """Record that the result of a step that was settled could not be stored.

        Args:
            name: the step's full name.
            error: why.
        """
        failure = NodeError(f"node {name!r} ran, but its result cannot be stored: {described(error)}", name=name)
        failure.__cause__ = error
        self.log.not_stored(name, failure)
        self._failures.append(failure)

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
            values = [frame.take_for_user(ref) for ref in self._wanted]
            self.log.taken(frame, self._wanted, values)
            return values
        finally:
            frame.values.clear()  # which would live until the next garbage collection

    @property
    def report(self) -> RunReport:
        """What became of every step."""
        return self.log.report

    @property
    def completed(self) -> set[str]:
        """Names of the steps of the workflow itself whose results are stored, as far as this run needs them."""
        return self.saved | self.root.reused | set(self.root.plan.having("reuse"))

    @property
    def is_recorded(self) -> bool:
        """Return True if something is recorded of calls."""
        return self._recordings is not None

    @property
    def stops_on_error(self) -> bool:
        """Whether a failure that is not tolerated stops the run."""
        return self._stop_on_error

    @property
    def failed(self) -> bool:
        """Whether a failure stopped the run."""
        return self._stop_on_error and self.has_failures

    @property
    def has_failures(self) -> bool:
        """Whether steps failed whose failures are not tolerated."""
        return bool(self._failures)

    def raise_failures(self) -> None:
        """Raise what `results` raises of the steps that failed, if any did."""
        if self.failed:
            raise self._failures[0]
        if self._failures:
            raise WorkflowFailed(f"some nodes failed\n{self.report}", self.report) from self._failures[0]

    # -- what follows from a step

    def _open(self, plan: Plan, wanted: Iterable[Ref], parent: Task | None = None, result: Any = None) -> Frame:
        frame = Frame(plan, wanted, parent, result, self._read)
        self.log.opened(frame)
        self.opened.append(frame)
        return frame

    def _expanded(self, task: Task, outcome: Outcome) -> None:
        if task.step.action == "verify":  # a graph is not made twice
            self._verified(task, "", outcome.seconds, outcome.record)
            return
        wanted = refs_within(outcome.value.result)
        try:
            plan = self._expand(outcome.value.steps, task, wanted)
        except StoredResultLost as loss:
            self.lose(loss)
            return
        except FunctionFuseError as error:
            self.fail(task, error, "the graph that it returned cannot run", outcome.seconds)
            return
        frame = self._open(plan, wanted, task, outcome.value.result)
        frame.instance, frame.record = outcome.instance, outcome.record
        if not frame.left:
            self._close(frame)

    def _finish(
        self,
        task: Task,
        value: Any,
        instance: Any,
        seconds: float,
        record: CallRecord | None = None,
        attempts: int = 1,
    ) -> None:
        footer = None
        if task.step.action == "verify":
            assert self._stored is not None
            self._verified(task, self._stored.difference(task, value), seconds, record)
            return
        if self._stored is not None:
            try:
                self._stored.footer = None
                value = self._save(task, value, instance, seconds)
            except Exception as error:
                self.fail(task, error, "it ran, but its result cannot be stored", seconds, record, attempts)
                return
            footer = self._stored.footer
        log = self.log
        if log.memory is not None and record is None and attempts == 1:
            log.memory.finished(task, seconds)
            if self._progress is not None:
                self._progress.finished_one(task, seconds)
        elif log.has_receivers:
            log.finished(task, seconds, record, attempts=attempts, footer=footer)
        self._provide(task, value, instance)
        self._settled(task)

    def _verified(self, task: Task, difference: str, seconds: float, record: CallRecord | None) -> None:
        """Settle a step that was made again to be compared; its stored result stands."""
        if difference:
            warn_user(f"node {task.name!r} is not deterministic: {difference}; its stored result stands")
        self.log.reused(task, seconds, record, difference=difference)
        self._settled(task)

    def _provide(self, task: Task, value: Any, instance: Any) -> None:
        """Hold a result, and the stateful object that it came from, for the steps that still take them."""
        frame, step = task
        if step.action == "verify":
            return  # they take the stored result
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
        failure = next((error for name, error in frame.failed.items() if not frame.plan[name].is_tolerated), None)
        if failure is not None:
            self.log.failed_within(frame, failure)
            self._fail(parent, failure)
            return
        if frame.without_recipe:
            parent.frame.without_recipe.add(parent.step.name)
        try:
            value = fill(frame.result, frame.take)
        except StoredResultLost as loss:
            self.lose(loss)
            return
        except Exception as error:
            self.fail(parent, error, "the result of its graph cannot be put together")
            return
        instance = value if parent.step.target.kind == "constructor" else frame.instance
        self._finish(parent, value, instance, time.perf_counter() - frame.started, frame.record)

    # -- the store

    def _save(self, task: Task, value: Any, instance: Any, seconds: float) -> Any:
        """Save what a step made; return what consumers of its result take."""
        assert self._stored is not None
        frame, step = task
        if frame is self.root:
            self._made.add(step.name)
        if step.options.log:
            return value
        self._check_files(task)
        if not frame.has_recipe(step):
            step = step._replace(recipe=None)
            task = Task(frame, step)
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
        if frame is self.root and step.name not in frame.without_recipe:
            self.saved.add(step.name)
        return value

    def _check_files(self, task: Task) -> None:
        """Note that the recipe of a step does not tell of its result, if a file that it takes has changed."""
        frame, step = task
        changed = changed_file((*step.args, *step.kwargs.values())) if step.recipe is not None else ""
        if changed:
            frame.without_recipe.add(step.name)
            warn_user(f"the result of {task.name!r} will not be reused, because {changed} changed while it was made")

    def _read(self, frame: Frame, name: str) -> Any:
        """Return a result that this run does not make."""
        if name in self._inputs and frame is self.root:
            return self._inputs[name]()
        step = frame.plan[name]
        is_stored = not step.may_run or step.action == "verify" or name in frame.reused
        is_missing = not is_stored and not (frame is self.root and name in self._made)
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


def _take_resumed(take: Callable[[Ref], Any], states: Mapping[str, Any], ref: Ref) -> Any:
    return ref.take(states[ref.step]) if ref.step in states else take(ref)


def _take_instead(frame: Frame, instead: Mapping[str, Any], ref: Ref) -> Any:
    return instead[ref.step] if ref.step in instead else frame.take(ref)


def _ref_or_value(inside: Collection[str], take: Callable[[Ref], Any], ref: Ref) -> Any:
    return ref if ref.step in inside else take(ref)


def _is_tolerated(task: Task) -> bool:
    """Return True if a run goes on when a task fails."""
    while not task.step.is_tolerated:
        if task.frame.parent is None:
            return False
        task = task.frame.parent
    return True
