"""Execution of tasks on Ray: submitted before their parents are finished, in the order of the graph."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import ray
import ray.util.client
from ray.exceptions import RayActorError

from functionfuse._warning import warn_user
from functionfuse.backends.calls import Outcome
from functionfuse.backends.frames import CollapsedTask, StoredResultLost
from functionfuse.backends.options import NO_OPTIONS
from functionfuse.backends.ready import Ready
from functionfuse.backends.session import Session
from functionfuse.errors import NodeError
from functionfuse.plan import fill

from .actor_handle import ActorHandle
from .cancellation import cancel_tasks
from .machines import has_autoscaler, missing_on_machines, removed_placement_group
from .members import with_values
from .options import options_of_actors, options_of_tasks
from .outcomes import errors_of, outcome_of, storage_error
from .reference_store import ReferenceStore
from .running import reported_by_machines
from .signals import CallOutOfOrder, ControlSignal, GraphReturned, StateNotStored, StoredResultUnreadable
from .submitter import TaskSubmitter
from .unchanged import unchanged
from .values import Promise, fetch_results, reference_to, references_for_user, remote_function
from .worker import raise_failure

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from functionfuse.backends.execution import Run
    from functionfuse.backends.frames import Task
    from functionfuse.backends.interruption import Runs
    from functionfuse.backends.observers import Observer
    from functionfuse.backends.recording import CallRecord
    from functionfuse.backends.spec import RunSpec

_SHORT, _LONG, _LONGEST = 0.005, 0.1, 1.0  # seconds to wait before what ended is settled
_ASKED = 10.0  # seconds to wait until Ray was asked to cancel tasks
_CANCELLED = 0.5  # seconds to wait for tasks that were cancelled
_EACH = 1e-4  # seconds for each pending task
_OLDEST = 256
MOST_PENDING = 4_000  # tasks that Ray has at a time
_MOST_REFUSALS = 20  # of one call by its actor, as after deaths of the actor


class PendingTask(NamedTuple):
    """A task that was submitted to Ray.

    Attributes:
        task: the task.
        promise: of its result.
        handle: of the stateful object that it is a call of.
        since: when it was submitted.
        number: of tasks that were submitted before it.
    """

    task: Task
    promise: Promise
    handle: ActorHandle | None
    since: float
    number: int


def run_on_ray(
    spec: RunSpec,
    *,
    observers: Sequence[Observer] = (),
    saved: Collection[str] = (),
    runs: Runs | None = None,
    return_results: bool = True,
    most_pending: int = MOST_PENDING,
) -> Any:
    """Run a graph on the cluster that this process is connected to.

    Args:
        spec: what to run.
        observers: called with each event.
        saved: as for `Session`.
        runs: as for `Session`.
        return_results: whether results are returned, rather than references to them.
        most_pending: how many tasks Ray has at a time.

    Returns:
        The result of the node that the run was asked for; a list of results of several.
    """

    def collect(run: Run) -> list[Any]:
        run.raise_failures()
        try:
            references = [reference_to(run.root.take_for_user(ref), "") for ref in spec.wanted]
        finally:
            run.root.values.clear()
        if not return_results:
            return references_for_user(spec.wanted, references)
        values = fetch_results(spec.wanted, references)
        run.log.taken(run.root, spec.wanted, values)
        return values

    store = None if spec.store is None else ReferenceStore(spec.store, spec.workflow_name)
    session = Session(spec, observers=observers, run_store=store, saved=saved, runs=runs)
    return session.run(partial(execute_on_ray, most_pending=most_pending), collect)


def execute_on_ray(run: Run, most_pending: int = MOST_PENDING) -> None:
    """Execute a run on the cluster that this process is connected to.

    Args:
        run: the run; its store is a `ReferenceStore`, or None.
        most_pending: how many tasks Ray has at a time.
    """
    store = run.store if isinstance(run.store, ReferenceStore) else ReferenceStore(None, run.root.plan.workflow_name)
    ahead = not run.log.is_observed
    if run.interruption.on_interrupt == "finish":  # of the tasks that Ray has, it is not known which run
        most_pending, ahead = min(most_pending, max(1, int(ray.cluster_resources().get("CPU", 1)))), False
    with reported_by_machines(run.running_calls):
        RayRun(run, store, most_pending=most_pending, ahead=ahead).execute()


class RayRun:
    """The loop of one run.

    Tasks are submitted to Ray as soon as their parents are, with the parents' references as arguments: Ray orders
    them, and no worker waits. A task that returns nodes, or fails, raises; Ray raises that in all that depend on
    it, which so does not run, and is submitted again once the nodes ran.

    Args:
        run: the run.
        store: where results are stored and read.
        most_pending: tasks that Ray has at a time.
        ahead: whether tasks are submitted before their parents are finished.
    """

    def __init__(self, run: Run, store: ReferenceStore, *, most_pending: int, ahead: bool) -> None:
        self._run = run
        self._store = store
        self._most_pending = most_pending
        self._ahead = ahead
        self._ready = Ready(run)
        self._pending: dict[Any, PendingTask] = {}
        self._submitted = 0
        self._submitter = TaskSubmitter(run, store)
        self._unpredictable: set[Any] = set()  # targets that returned nodes, or their arguments
        self._schedulable: set[str] = set()  # options of tasks that some machine can run
        self._is_client = ray.util.client.ray.is_connected()
        self._refusals: Counter[str] = Counter()  # of tasks, by actors
        self._signalled: dict[str, Task] = {}  # tasks that raised a control signal, by its mark

    def execute(self) -> None:
        """Run everything.

        When a stored result turns out lost, nothing more is submitted, and what was submitted ends. After a failure
        that stops the run, what was submitted is cancelled.
        """
        try:
            while True:
                self._run.interrupted()
                self._submit_ready()
                if self._run.failed:
                    self._cancel()
                if not self._pending:
                    break
                self._settle_ended()
            for name, error in self._store.failures():
                self._run.not_stored(name, error)
        except BaseException:
            self._cancel()
            self._store.failures()  # what has finished is stored
            raise

    def _cancel(self) -> None:
        """Cancel the tasks that wait, and interrupt those that run; end the processes of those that go on."""
        tasks = {pending.promise.reference: pending for pending in self._pending.values()}
        self._pending.clear()
        if not tasks:
            return
        cancel_tasks(list(tasks)).wait(_ASKED)
        ended, running = ray.wait(list(tasks), num_returns=len(tasks), timeout=_CANCELLED, fetch_local=False)
        for handle in {tasks[reference].handle for reference in running}:
            if handle is not None:
                handle.end()
        calls = [reference for reference in running if tasks[reference].handle is None]
        if calls:  # such as one that sleeps
            cancel_tasks(calls, force=True).wait(_ASKED)
        if running and not self._is_client:
            ended += ray.wait(running, num_returns=len(running), timeout=_CANCELLED, fetch_local=False)[0]
        if not self._is_client:
            errors_of(ended, is_client=False)  # else Ray logs them as errors that nobody handles

    # -- submission

    def _submit_ready(self) -> None:
        while len(self._pending) < self._most_pending and not self._run.stopped:
            task = self._ready.pop()
            if task is None:
                return
            for member in task.members:
                self._run.started(member)
            try:
                self._check_machines(task)
                pending = self._submit(task)
            except StoredResultLost as loss:
                self._run.lose(loss)
                return
            except Exception as error:
                reason = error if isinstance(error, NodeError) else self._submitter.error_of(task, error)
                self._run.settle(task, Outcome(None, None, reason, 0.0))
                continue
            self._pending[self._completion_of(pending)] = pending
            if self._ahead and self._is_predictable(task):
                self._run.promise(task, *_provided(pending))

    def _is_predictable(self, task: Task) -> bool:
        """Return True if a task will have its result with this call, as far as is known."""
        if isinstance(task, CollapsedTask) or task.step.target in self._unpredictable:
            return False
        return not task.step.options.resources or not task.frame.plan[task.step.name].options.grows

    def _completion_of(self, pending: PendingTask) -> Any:
        """Return the reference that shows how a task ended."""
        reference = pending.promise.reference
        # A client sees no more than readiness, and would have to fetch the result.
        return remote_function(raise_failure).remote(reference) if self._is_client else reference

    def _check_machines(self, task: Task) -> None:
        """Raise NodeError when no machine can run a task; each set of options is looked up once."""
        step = task.step
        if step.options is NO_OPTIONS or step.target.kind == "method":
            return
        options = (options_of_actors if step.target.kind == "constructor" else options_of_tasks)(step.options)
        if repr(options) in self._schedulable:
            return
        removed = removed_placement_group(options)
        missing = removed or missing_on_machines(options)
        if removed or (missing and not has_autoscaler()):
            raise NodeError(f"node {task.name!r} cannot run: {missing}", name=task.name, function=step.target.qualname)
        if missing:
            warn_user(f"node {task.name!r} waits for the cluster to grow: {missing}")
        self._schedulable.add(repr(options))

    def _submit(self, task: Task) -> PendingTask:
        since = time.perf_counter()
        promise, handle = self._submitter.submit(task)
        self._submitted += 1
        return PendingTask(task, promise, handle, since, self._submitted)

    # -- what ended

    def _settle_ended(self) -> None:
        """Wait for tasks to end, and settle them in the order of the graph.

        Asking takes time for every task that is asked about: it is done for the oldest ones, and for all of them when
        those take long.
        """
        patience = min(_LONG, max(_SHORT, _EACH * len(self._pending)))
        # While Ray waits, two signals are one: a second Ctrl-C has to find this process out of that.
        longest = _LONG if self._run.interruption.on_interrupt == "finish" else _LONGEST
        waited = 0.0
        oldest = list(itertools.islice(self._pending, _OLDEST))
        while True:
            ended, _ = ray.wait(oldest, num_returns=len(oldest), timeout=patience, fetch_local=False)
            if not ended and len(oldest) < len(self._pending):
                every = list(self._pending)
                ended, _ = ray.wait(every, num_returns=len(every), timeout=0, fetch_local=False)
            if ended:
                break
            self._run.interrupted()
            waited += patience
            if waited > _LONGEST:
                waited = 0.0
                self._check_machines_again()
            patience = min(longest, 2 * patience)
        errors = errors_of(ended, is_client=self._is_client)
        records = self._records_of(reference for reference in ended if reference not in errors)
        for reference in sorted(ended, key=lambda reference: self._pending[reference].number):
            pending, error = self._pending.pop(reference), errors.get(reference)
            if error is not None and self._has_pending_parent(pending.task):
                self._pending[reference] = pending  # the error may be the parent's: that one comes first
            else:
                self._settle(pending, error, records.get(reference))

    def _records_of(self, ended: Iterable[Any]) -> dict[Any, CallRecord]:
        """Return what was recorded of the calls of tasks that ended well, with one request for all."""
        kept = {reference: self._pending[reference].promise.record for reference in ended}
        kept = {reference: record for reference, record in kept.items() if record is not None}
        return dict(zip(kept, ray.get(list(kept.values())), strict=True)) if kept else {}

    def _check_machines_again(self) -> None:
        """Raise NodeError when a task waits for a machine that went away."""
        self._schedulable.clear()
        for pending in self._pending.values():
            self._check_machines(pending.task)

    def _settle(self, pending: PendingTask, error: Exception | None, record: CallRecord | None = None) -> None:
        task = pending.task
        seconds = time.perf_counter() - pending.since
        if error is not None and pending.promise.others:
            errors_of(pending.promise.others, is_client=self._is_client)  # else Ray logs them, too
        if error is None and isinstance(task, CollapsedTask):
            _confirm(pending)
            outcomes = with_values(ray.get(pending.promise.reference), pending.promise.of_members())
            self._run.settle(task, Outcome(outcomes, None, None, seconds))
        elif error is None:
            _confirm(pending)
            value, handle = _provided(pending)
            seconds = seconds if record is None else record.usage.seconds
            self._run.settle(task, Outcome(value, handle, None, seconds, record=record))
        elif isinstance(error, StoredResultUnreadable):
            self._lose(error)
        elif not isinstance(task, CollapsedTask) and self._run.skip(task):
            return
        elif self._must_run_again(task, error):
            self._ready.withdraw(task)
            if pending.handle is not None and task.name in pending.handle.recovered:
                self._settle_recovered(pending, seconds)
            else:
                self._ready.put_back(task)
        elif isinstance(error, ControlSignal):
            self._settle_signal(pending, error)
        else:
            outcome, detail = outcome_of(task, error, seconds)
            self._run.settle(task, outcome, detail=detail)

    def _lose(self, unreadable: StoredResultUnreadable) -> None:
        """Record a stored result that is missing or damaged; raise another error of the store."""
        error = storage_error(unreadable)
        if not isinstance(error, StoredResultLost):
            raise error from unreadable
        self._run.lose(error)

    def _settle_recovered(self, pending: PendingTask, seconds: float) -> None:
        """Settle a call that is stored in full, but whose actor died before it returned."""
        task = pending.task
        _confirm(pending)
        is_constructor = task.step.target.kind == "constructor"
        value = pending.handle if is_constructor else self._store.read_stored(task.step.name, task.name)
        self._run.settle(task, Outcome(value, pending.handle, None, seconds))

    def _settle_signal(self, pending: PendingTask, signal: ControlSignal) -> None:
        """Settle a task that raised a control signal; what depends on it is submitted again."""
        task = pending.task
        self._signalled[signal.mark] = task
        _confirm(pending)
        self._ready.withdraw(task)
        value: Any
        if isinstance(signal, StateNotStored):
            self._run.state_not_saved(task, signal.args[1])
            is_constructor = task.step.target.kind == "constructor"
            value = pending.handle if is_constructor else _promise_instead(pending, ray.put(unchanged(signal.args[0])))
        else:
            self._unpredictable.add(task.step.target)
            is_graph = isinstance(signal, GraphReturned)
            value = signal.args[0] if is_graph else _promise_instead(pending, _argument(task, signal.args[0]))
        seconds, record = signal.args[-2:]
        self._run.settle(task, Outcome(value, pending.handle, None, seconds, record=record))

    def _must_run_again(self, task: Task, error: Exception) -> bool:
        """Return True if a task did not run because what it takes was not available yet, or is not any more."""
        mark = error.mark if isinstance(error, ControlSignal) else ""
        if self._ready.missing_parents(task) or self._signalled.get(mark, task) is not task:
            return True
        if not isinstance(error, CallOutOfOrder | RayActorError):
            return False
        name, handles = task.name, _handles(task)
        try:
            if not all(handle.revive() for handle in handles):
                return False
        except StoredResultUnreadable as unreadable:
            self._lose(unreadable)
            return True
        for handle in handles:
            handle.forget_state_for(name)
        self._refusals[name] += 1
        return self._refusals[name] <= _MOST_REFUSALS

    def _has_pending_parent(self, task: Task) -> bool:
        parents = {(id(task.frame), name) for name in (*task.step.needs, *task.step.after)}
        return any((id(other.task.frame), other.task.step.name) in parents for other in self._pending.values())


def _provided(pending: PendingTask) -> tuple[Any, ActorHandle | None]:
    """Return what consumers take as the result of a task, and the handle of the object that its call was made on."""
    is_constructor = pending.task.step.target.kind == "constructor"
    return (pending.handle if is_constructor else pending.promise), pending.handle


def _promise_instead(pending: PendingTask, reference: Any) -> Promise:
    """Return the promise of a task's result, which has another reference than expected."""
    return Promise(pending.promise.name, reference, pending.promise.stored_as)


def _argument(task: Task, index: int | str) -> Any:
    """Return a reference to an argument of a task."""
    frame, step = task
    argument = step.args[index] if isinstance(index, int) else step.kwargs[index]
    return reference_to(fill(argument, frame.take), task.name)


def _confirm(pending: PendingTask) -> None:
    """Confirm a call to its stateful object, and release the objects that a step took."""
    if pending.handle is not None:
        pending.handle.confirm(pending.promise.reference)
    for handle in _handles(pending.task):
        handle.release_state_for(pending.task.name)


def _handles(task: Task) -> list[ActorHandle]:
    """Return the handles of the stateful objects that a task takes, or is a call of."""
    frame, step = task
    names = dict.fromkeys((*step.needs, *filter(None, [step.instance])))
    values = [frame.values.get(name) for name in names]
    return [value for value in values if isinstance(value, ActorHandle)]
