"""Running tasks on Ray: handed over before their parents are finished, in the order of the graph."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import ray
import ray.experimental
import ray.util.client
from ray.exceptions import RayActorError, RayError, RayTaskError

from functionfuse._warning import warn_user
from functionfuse.backends.calls import Outcome
from functionfuse.backends.frames import StoredResultLost
from functionfuse.backends.ready import Ready
from functionfuse.errors import CorruptRecord, NodeError, TaskNotFound, WorkerDiedError
from functionfuse.plan import fill

from .handle import Hosted
from .machines import may_grow, what_is_missing
from .options import options_of_actors, options_of_tasks
from .submitter import Handover
from .values import Promise, reference_to, remote
from .worker import Expanded, Instead, Lost, NotKept, OutOfTurn, StepFailed, seen

if TYPE_CHECKING:
    from functionfuse.backends.execution import Run
    from functionfuse.backends.frames import Task

    from .results import Results

_SHORT, _LONG, _LONGEST = 0.005, 0.1, 1.0  # seconds to wait before what ended is taken in
_EACH = 1e-4  # seconds for each pending task
_OLDEST = 256
_MOST_TIMES = 20  # that an object refuses one call, as after deaths of its actor
_LARGEST_NOTHING = 64  # bytes of a serialized result that is too small to be an error


class Work(NamedTuple):
    """A task that Ray has."""

    task: Task
    value: Promise
    host: Hosted | None
    since: float
    number: int


class RayRun:
    """The loop of one run.

    Tasks are handed to Ray as soon as their parents are, with the parents' references as arguments: Ray orders
    them, and no worker waits. A task that returns nodes, or fails, raises; Ray passes that on to what depends on
    it, which so does not run, and is handed over again once the nodes did.

    Args:
        run: the run.
        results: where results are kept and read.
        most_pending: tasks that Ray has at a time.
        ahead: whether tasks are handed over before their parents are finished.
    """

    def __init__(self, run: Run, results: Results, *, most_pending: int, ahead: bool) -> None:
        self.run = run
        self.results = results
        self.most_pending = most_pending
        self.ahead = ahead
        self.ready = Ready(run)
        self.pending: dict[Any, Work] = {}
        self.number = 0  # of tasks handed over
        self.handover = Handover(run, results)
        self.surprising: set[Any] = set()  # targets that returned nodes, or what they were given
        self.possible: set[str] = set()  # options of tasks that some machine can run
        self.is_client = ray.util.client.ray.is_connected()
        self.again: Counter[str] = Counter()  # how often tasks were refused by an object
        self.seen: dict[str, Task] = {}  # tasks that raised something in the place of a result, by its mark

    def execute(self) -> None:
        """Run everything. StoredResultLost when a result that the plan reuses cannot be read."""
        try:
            while True:
                self.submit_ready()
                if self.run.stopped:
                    self.cancel()
                if not self.pending:
                    break
                self.take_in()
            for name, error in self.results.failures():
                self.run.not_stored(name, error)
        except BaseException:
            self.cancel()
            self.results.failures()  # what has finished is stored
            raise

    def cancel(self) -> None:
        """Let nothing start any more, and interrupt what runs."""
        for work in self.pending.values():
            ray.cancel(work.value.reference)
        self.pending.clear()

    # -- out

    def submit_ready(self) -> None:
        while len(self.pending) < self.most_pending and not self.run.stopped:
            task = self.ready.pop()
            if task is None:
                return
            self.run.started(task)
            try:
                self.check_machines(task)
                work = self.submit(task)
            except StoredResultLost:
                raise
            except Exception as error:
                reason = error if isinstance(error, NodeError) else self.handover.error_of(task, error)
                self.run.settle(task, Outcome(None, None, reason, 0.0))
                continue
            self.pending[self.watched(work)] = work
            if self.ahead and task.step.target not in self.surprising:
                self.run.promise(task, *self.provided(work))

    def watched(self, work: Work) -> Any:
        """Return the reference that tells how a task ended."""
        reference = work.value.reference
        # A client sees no more than readiness, and would have to fetch the result.
        return remote(seen).remote(reference) if self.is_client else reference

    def provided(self, work: Work) -> tuple[Any, Any]:
        """Return what consumers take as the result of a task, and the object that its call was made on."""
        is_made = work.task.step.target.kind == "constructor"
        return (work.host if is_made else work.value), work.host

    def check_machines(self, task: Task) -> None:
        """Raise NodeError when no machine can run a task; each set of options is looked up once."""
        step = task.step
        if not step.options or step.target.kind == "method":
            return
        options = (options_of_actors if step.target.kind == "constructor" else options_of_tasks)(step.options)
        if repr(options) in self.possible:
            return
        missing = what_is_missing(options)
        if missing and not may_grow():
            raise NodeError(f"node {task.name!r} cannot run: {missing}", name=task.name, function=step.target.qualname)
        if missing:
            warn_user(f"node {task.name!r} waits for the cluster to grow: {missing}")
        self.possible.add(repr(options))

    def submit(self, task: Task) -> Work:
        since = time.perf_counter()
        value, host = self.handover.submit(task)
        self.number += 1
        return Work(task, value, host, since, self.number)

    # -- in

    def take_in(self) -> None:
        """Wait for tasks to end, and settle them in the order of the graph.

        Asking takes time for every task that is asked about: it is done for the oldest ones, and for all of them when
        those take long.
        """
        patience = min(_LONG, max(_SHORT, _EACH * len(self.pending)))
        asked = list(itertools.islice(self.pending, _OLDEST))
        while True:
            ended, _ = ray.wait(asked, num_returns=len(asked), timeout=patience, fetch_local=False)
            if not ended and len(asked) < len(self.pending):
                ended, _ = ray.wait(list(self.pending), num_returns=len(self.pending), timeout=0, fetch_local=False)
            if ended:
                break
            if patience == _LONGEST:
                self.give_up_on_the_impossible()
            patience = min(_LONGEST, 2 * patience)
        errors = self.errors_of(ended)
        for reference in sorted(ended, key=lambda reference: self.pending[reference].number):
            work, error = self.pending.pop(reference), errors.get(reference)
            if error is not None and self.has_pending_parent(work.task):
                self.pending[reference] = work  # the error may be the parent's: that one comes first
            else:
                self.take_one(work, error)

    def give_up_on_the_impossible(self) -> None:
        """Fail what waits for a machine that is not there any more."""
        self.possible.clear()
        for work in self.pending.values():
            self.check_machines(work.task)

    def errors_of(self, references: list[Any]) -> dict[Any, Exception]:
        """Return what the tasks of references raised; results that are large are not fetched for it."""
        places = {} if self.is_client else ray.experimental.get_local_object_locations(references)
        errors = {}
        for reference in references:
            place = places.get(reference) or {}
            if place.get("node_ids") or 0 < (place.get("object_size") or 0) < _LARGEST_NOTHING:
                continue
            try:
                ray.get(reference)
            except RayTaskError as error:
                errors[reference] = error.cause if isinstance(error.cause, Exception) else error
            except RayError as error:
                errors[reference] = error
            except Exception:  # noqa: S112  a result that only workers can unpickle
                continue
        return errors

    def take_one(self, work: Work, error: Exception | None) -> None:
        task = work.task
        seconds = time.perf_counter() - work.since
        if error is None:
            self.took_place(work)
            value, host = self.provided(work)
            self.run.settle(task, Outcome(value, host, None, seconds))
        elif isinstance(error, Lost):
            raise _lost(error)
        elif self.depends_on_failure(task):
            self.run.skip(task)
        elif self.did_not_take_place(task, error):
            if work.host is not None and task.name in work.host.recovered:
                self.settle_recovered(work, seconds)
                return
            self.ready.withdraw(task)
            self.ready.put_back(task)
        elif isinstance(error, Instead):
            self.take_instead(work, error)
        else:
            self.fail(task, error, seconds)

    def settle_recovered(self, work: Work, seconds: float) -> None:
        """Settle a call whose result is stored, but whose actor died before it could return it."""
        task = work.task
        self.took_place(work)
        self.ready.withdraw(task)
        made = task.step.target.kind == "constructor"
        value = work.host if made else self.results.stored(task.step.name, task.name)
        self.run.settle(task, Outcome(value, work.host, None, seconds))

    def take_instead(self, work: Work, error: Instead) -> None:
        """Take in what came in the place of a result; what depends on it is handed over again."""
        task = work.task
        self.seen[error.mark] = task
        self.took_place(work)
        self.ready.withdraw(task)
        if isinstance(error, NotKept):
            self.run.state_not_kept(task, error.args[1])
            made = task.step.target.kind == "constructor"
            value = work.host if made else self.promise(work, ray.put(error.args[0]))
        else:
            self.surprising.add(task.step.target)
            is_graph = isinstance(error, Expanded)
            value = error.args[0] if is_graph else self.promise(work, self.argument(task, error.args[0]))
        self.run.settle(task, Outcome(value, work.host, None, seconds=error.args[-1]))

    def promise(self, work: Work, reference: Any) -> Promise:
        """Return the promise of a task's result, which is elsewhere than expected."""
        return Promise(work.value.name, reference, work.value.kept_as)

    def argument(self, task: Task, place: int | str) -> Any:
        """Return a reference to an argument of a task."""
        frame, step = task
        argument = step.args[place] if isinstance(place, int) else step.kwargs[place]
        return reference_to(fill(argument, frame.take), task.name)

    def took_place(self, work: Work) -> None:
        """Let objects know that a call of them, or a step that took them, is through."""
        if work.host is not None:
            work.host.confirm(work.value.reference)
        for host in self.hosts(work.task):
            host.release(work.task.name)

    def did_not_take_place(self, task: Task, error: Exception) -> bool:
        """Whether a task has to be handed over again: what it takes was not there yet, or is there no more."""
        if self.ready.lacking(task) or self.seen.get(_mark(error), task) is not task:
            return True
        if not isinstance(error, OutOfTurn | RayActorError):
            return False
        name, hosts = task.name, self.hosts(task)
        try:
            if not all(host.revive() for host in hosts):
                return False
        except Lost as lost:
            raise _lost(lost) from lost
        for host in hosts:
            host.forget_state_for(name)
        self.again[name] += 1
        return self.again[name] <= _MOST_TIMES

    def has_pending_parent(self, task: Task) -> bool:
        parents = {(id(task.frame), name) for name in (*task.step.needs, *task.step.after)}
        return any((id(work.task.frame), work.task.step.name) in parents for work in self.pending.values())

    def depends_on_failure(self, task: Task) -> bool:
        return not task.frame.failed.keys().isdisjoint((*task.step.needs, *task.step.after))

    def hosts(self, task: Task) -> list[Hosted]:
        """Return the objects that a task takes, or is a call of."""
        frame, step = task
        names = dict.fromkeys((*step.needs, *filter(None, [step.instance])))
        values = [frame.values.get(name) for name in names]
        return [value for value in values if isinstance(value, Hosted)]

    def fail(self, task: Task, error: Exception, seconds: float) -> None:
        said, cause = "", error
        if isinstance(error, StepFailed):
            said, seconds = error.said, error.seconds
            cause = error.error  # type: ignore[assignment]
            cause.add_note(f"in the worker:\n{error.text}")
        elif isinstance(error, RayError):
            function = task.step.target.qualname
            cause = WorkerDiedError(f"node {task.name!r} failed: {error}", name=task.name, function=function)
            cause.__cause__ = error
        else:
            # Raised by Ray around the call: the type of the result is not known here.
            cause = TypeError(f"the result cannot be pickled, or what it was given cannot be unpickled: {error}")
            cause.__cause__ = error
        self.run.settle(task, Outcome(None, None, cause, seconds), said=said)


def _mark(error: Exception) -> str:
    return error.mark if isinstance(error, Instead) else ""


def _lost(lost: Lost) -> Exception:
    if isinstance(lost.error, TaskNotFound | CorruptRecord):
        return StoredResultLost(lost.name, lost.error)
    return lost.error
