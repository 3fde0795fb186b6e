"""Running tasks on Ray: handed over before their parents are finished, in the order of the graph."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import ray
import ray.experimental
import ray.util.client
from ray import cloudpickle
from ray.exceptions import RayActorError, RayError, RayTaskError

from functionfuse.backends.builtin._ray_machines import remote_options, what_is_missing
from functionfuse.backends.builtin._ray_values import Hosted, Promise, reference_to, remote
from functionfuse.backends.builtin._ray_worker import (
    Expanded,
    Lost,
    OutOfTurn,
    Packed,
    StepFailed,
    function_of,
    perform_packed,
    seen,
)
from functionfuse.backends.calls import Outcome
from functionfuse.backends.frames import StoredResultLost
from functionfuse.backends.plugins import initializer
from functionfuse.backends.ready import Ready
from functionfuse.backends.sending import cannot_be_sent
from functionfuse.containers import Nest
from functionfuse.decorator import Method, WorkflowClass
from functionfuse.errors import CorruptRecord, NodeError, TaskNotFound, WorkerDiedError
from functionfuse.plan import Ref, refs_within

if TYPE_CHECKING:
    from functionfuse.backends.builtin._ray_results import Results
    from functionfuse.backends.execution import Run
    from functionfuse.backends.frames import Task
    from functionfuse.plan import Step

_SHORT, _LONG, _LONGEST = 0.005, 0.1, 1.0  # seconds to wait before what ended is taken in
_EACH = 1e-4  # seconds for each pending task
_OLDEST = 256
_MOST_TIMES = 20  # that an object refuses one call, as after deaths of its actor
_LARGEST_NOTHING = 64  # bytes of a serialized result that is too small to be an error
_SPECIAL = frozenset({"plugin", "retry", "timeout"})


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
        self.functions: dict[Any, Any] = {}  # targets to remote functions
        self.expanding: set[Any] = set()  # targets that return nodes
        self.possible: set[str] = set()  # options of tasks that some machine can run
        self.is_client = ray.util.client.ray.is_connected()
        self.again: Counter[str] = Counter()  # how often tasks were refused by an object
        self.seen: dict[str, Task] = {}  # tasks that returned nodes, by the mark of what they raised

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
                reason = error if isinstance(error, NodeError) else self.not_sent(task, error)
                self.run.settle(task, Outcome(None, None, reason, 0.0))
                continue
            self.pending[self.watched(work)] = work
            if self.ahead and task.step.target not in self.expanding:
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
        options = remote_options(task.step.options) if task.step.options else None
        if options and repr(options) not in self.possible:
            missing = what_is_missing(options)
            if missing:
                raise NodeError(
                    f"node {task.name!r} cannot run: {missing}", name=task.name, function=task.step.target.qualname
                )
            self.possible.add(repr(options))

    def submit(self, task: Task) -> Work:
        step, since = task.step, time.perf_counter()
        kind = step.target.kind
        host = None
        name = task.name
        if kind == "function":
            reference = self.submit_function(task, name)
        else:
            host = self.host(task)
            reference = self.submit_call(task, host, name)
        kept_as = name if self.results.by_workers and kind != "constructor" else ""
        self.number += 1
        return Work(task, Promise(step.name, reference, kept_as), host, since, self.number)

    def submit_function(self, task: Task, name: str) -> Any:
        step = task.step
        options = remote_options(step.options) if step.options else {}
        if self.is_plain(step):
            function = self.functions.get(step.target)
            if function is None:
                function = self.functions[step.target] = ray.remote(function_of(step.target))
            args, kwargs = step.arguments(lambda ref: reference_to(task.frame.take(ref), name))
            if options:
                return function.options(**options, name=name).remote(*args, **kwargs)
            return function._remote(args=args, kwargs=kwargs, name=name)
        packed, references = self.packed(task)
        return remote(perform_packed).options(**{"num_cpus": 1, **options}, name=name).remote(packed, *references)

    def submit_call(self, task: Task, host: Hosted, name: str) -> Any:
        step = task.step
        if step.target.kind == "method" and self.is_plain(step):
            args, kwargs = step.arguments(lambda ref: reference_to(task.frame.take(ref), name))
            assert isinstance(step.target, Method)
            return host.call(step.target.name, name, args, kwargs)
        packed, references = self.packed(task)
        reference = host.submit("make" if step.target.kind == "constructor" else "perform", name, packed, *references)
        if self.results.store is not None:
            host.kept.add(name)
        return reference

    def host(self, task: Task) -> Hosted:
        """Return the actor of the object that a call is made on, or that it makes."""
        frame, step = task
        assert step.instance is not None
        if step.target.kind == "method":
            if step.instance in step.resumes:
                value = self.run.read_state(frame, step.resumes[step.instance])
            else:
                value = frame.take(Ref(step.instance))
            if isinstance(value, Hosted):
                return value
        options = remote_options(step.options)
        owner = step.target.owner if isinstance(step.target, Method) else step.target
        assert isinstance(owner, WorkflowClass)
        host = Hosted(frame.full_name(step.instance), owner, options)
        if step.target.kind == "method":
            host.submit("adopt", f"state of {host.name}", reference_to(value, task.name))
        return host

    def is_plain(self, step: Step) -> bool:
        """Whether a step is a call and no more, with references as whole arguments."""
        return (
            self.results.store is None
            and not step.resumes
            and not any(type(value) is Nest for value in (*step.args, *step.kwargs.values()))
            and _SPECIAL.isdisjoint(step.options)
            and "self" not in step.kwargs  # which a client of Ray takes for its own
        )

    def packed(self, task: Task) -> tuple[bytes, list[Any]]:
        """Return a step as bytes, and the references that its arguments hold."""
        frame, step = task
        states = {name: self.run.read_state(frame, after) for name, after in step.resumes.items()}
        refs = tuple({ref for value in (*step.args, *step.kwargs.values()) for ref in refs_within(value)})
        taken = [ref.take(states[ref.step]) if ref.step in states else frame.take(ref) for ref in refs]
        options = step.options
        initialize = initializer(options["plugin"], task.name) if "plugin" in options else None
        packed = Packed(
            step.target,
            step.args,
            step.kwargs,
            refs,
            initialize,
            options.get("retry"),
            options.get("timeout"),
            self.results.keep(task),
        )
        return cloudpickle.dumps(packed), [reference_to(value, task.name) for value in taken]

    def not_sent(self, task: Task, error: Exception) -> Exception:
        """Return the error of a task that could not be handed to Ray."""
        step = task.step
        try:
            cloudpickle.dumps((step.target, step.args, step.kwargs))
        except Exception as problem:
            return cannot_be_sent(task.name, step.target, step.args, step.kwargs, {}, cloudpickle.dumps, problem)
        return error

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
            if isinstance(error.error, TaskNotFound | CorruptRecord):
                raise StoredResultLost(error.name, error.error)
            raise error.error
        elif self.depends_on_failure(task):
            self.run.skip(task)
        elif self.did_not_take_place(task, error):
            self.ready.withdraw(task)
            self.ready.put_back(task)
        elif isinstance(error, Expanded):
            self.expanding.add(task.step.target)
            self.seen[error.mark] = task
            self.took_place(work)
            self.ready.withdraw(task)
            self.run.settle(task, Outcome(error.expansion, work.host, None, error.seconds))
        else:
            self.fail(task, error, seconds)

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
        if isinstance(error, RayActorError) and not all(host.revive() for host in self.hosts(task)):
            return False
        name = task.name
        for host in self.hosts(task):
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
    return error.mark if isinstance(error, Expanded) else ""
