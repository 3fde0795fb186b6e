"""Steps handed to Ray: as tasks, and as calls of actors, with references in the place of results."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import ray
from ray import cloudpickle

from functionfuse.backends.plugins import initializer
from functionfuse.backends.shipping import cannot_be_sent
from functionfuse.containers import Nest
from functionfuse.decorator import Method, WorkflowClass
from functionfuse.plan import Ref, refs_within

from .handle import Hosted
from .options import options_of_actors, options_of_tasks
from .values import Promise, reference_to
from .worker import (
    Packed,
    Returns,
    WorthRetrying,
    function_of,
    perform_packed,
    storing_function_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from functionfuse.backends.execution import Run
    from functionfuse.backends.frames import Frame, Task
    from functionfuse.decorator import Target
    from functionfuse.plan import Step

    from .results import Results
    from .worker import Keep

_SPECIAL = frozenset({"plugin", "retry", "timeout"})


class Handover:
    """Hands the steps of one run to Ray.

    Args:
        run: the run.
        results: where results are kept and read.
    """

    def __init__(self, run: Run, results: Results) -> None:
        self._run = run
        self._results = results
        self._functions: dict[Any, Any] = {}
        self._taken: WeakKeyDictionary[Frame, _Taken] = WeakKeyDictionary()

    def submit(self, task: Task) -> tuple[Promise, Hosted | None]:
        """Hand a step over; return the promise of its result, and the object that it is a call of.

        Raises:
            StoredResultLost: a stored result that it takes cannot be read.
            Exception: whatever pickling it raised; ``error_of`` says what is to blame.
        """
        keep, returns = self._results.keep(task), self._returns(task)
        host = None if task.step.target.kind == "function" else self._host(task)
        submitted = self._as_task(task, keep, returns) if host is None else self._as_call(task, host, keep, returns)
        kept_as = task.name if keep is not None and keep.result else ""
        return Promise.of(submitted, returns, task.step.name, kept_as), host

    def error_of(self, task: Task, error: Exception) -> Exception:
        """Return the error of a task that could not be handed over: what of it cannot be pickled."""
        step = task.step
        try:
            cloudpickle.dumps((step.target, step.args, step.kwargs))
        except Exception as problem:
            return cannot_be_sent(task.name, step.target, step.args, step.kwargs, {}, cloudpickle.dumps, problem)
        return error

    def _as_task(self, task: Task, keep: Keep | None, returns: Returns | None) -> Any:
        step, name = task.step, task.name
        options = options_of_tasks(step.options) if step.options else {}
        retriable = _retriable(options)
        if retriable:
            options["retry_exceptions"] = [WorthRetrying]
        count = 1 if returns is None else returns.num_returns
        if _is_plain(step) and not retriable:
            function = self._function(step.target, returns, options, stores=keep is not None)
            args, kwargs = _arguments(task, name)
            if keep is not None:
                args = (pickle.dumps((keep.name, keep.recipe)), *args)
        else:
            function = self._function(None, None, options)
            args, kwargs = self._packed(task, keep, returns, retriable), {}
        if options:
            return function.options(name=name, num_returns=count).remote(*args, **kwargs)
        # What options(name=...).remote(...) comes to, without making a class for every task.
        return function._remote(args=args, kwargs=kwargs, name=name, num_returns=count)

    def _as_call(self, task: Task, host: Hosted, keep: Keep | None, returns: Returns | None) -> Any:
        target, name = task.step.target, task.name
        if isinstance(target, Method) and keep is None and returns is None and _is_plain(task.step):
            return host.call(target.name, name, *_arguments(task, name))
        if keep is not None and keep.state:
            host.kept[name] = keep.result
            keep = keep._replace(actor=host.identity)
        action = "perform" if isinstance(target, Method) else "make"
        count = 1 if returns is None else returns.num_returns
        return host.submit(action, name, *self._packed(task, keep, returns), num_returns=count)

    def _host(self, task: Task) -> Hosted:
        """Return the actor of the object that a call is made on, or that it makes."""
        frame, step = task
        assert step.instance is not None
        resumed = ""
        if step.instance in step.resumes:
            resumed = frame.full_name(step.resumes[step.instance])
        elif isinstance(step.target, Method):
            host: Hosted = frame.take(Ref(step.instance))
            return host
        owner = step.target.owner if isinstance(step.target, Method) else step.target
        assert isinstance(owner, WorkflowClass)
        options = options_of_actors(frame.plan[step.instance].options)
        return Hosted(frame.full_name(step.instance), owner, options, self._results.kept_in, resumed)

    def _function(
        self, target: Target | None, returns: Returns | None, options: Mapping[str, Any], *, stores: bool = False
    ) -> Any:
        """Return the remote function of a decorated one, or that of packed steps: one a run, and set of options."""
        key = target, stores, repr(returns), repr(options)
        function = self._functions.get(key)
        if function is None:
            kept_in = self._results.kept_in
            if target is None:
                made = perform_packed
            else:
                made = storing_function_of(target, returns, *kept_in) if stores else function_of(target, returns)
            function = self._functions[key] = ray.remote(**options)(made) if options else ray.remote(made)
        return function

    def _packed(
        self, task: Task, keep: Keep | None, returns: Returns | None, retriable: tuple[type[BaseException], ...] = ()
    ) -> tuple[Any, ...]:
        """Return a step as bytes, and the references that its arguments hold."""
        frame, step = task
        refs = tuple({ref for value in (*step.args, *step.kwargs.values()) for ref in refs_within(value)})
        resumed = step.resumes.keys() & {ref.step for ref in refs}
        states = {name: self._run.read_state(frame, step.resumes[name]) for name in resumed}
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
            retriable,
            returns,
            keep,
        )
        return cloudpickle.dumps(packed), *(reference_to(value, task.name) for value in taken)

    def _returns(self, task: Task) -> Returns | None:
        frame, step = task
        if step.target.kind == "constructor":
            return None
        taken = self._taken.get(frame)
        if taken is None:
            taken = self._taken[frame] = _taken_from(frame)
        keys = tuple(taken.items.get(step.name, {}).values())
        # Else the worker that makes the result stores it, and knows how long it took.
        seconds = self._results.by_reference and not step.options.get("log")
        if not keys and not seconds:
            return None
        return Returns(seconds or step.name in taken.whole, keys, seconds)


class _Taken(NamedTuple):
    """Which items the steps of a frame take of results, by the step's name; and which of these are taken whole, too."""

    items: dict[str, dict[str, Any]]
    whole: set[str]


def _taken_from(frame: Frame) -> _Taken:
    items: dict[str, dict[str, Any]] = {}
    for ref in _refs(frame):
        if ref.path:
            items.setdefault(ref.step, {})[repr(ref.path[0])] = ref.path[0]
    return _Taken(items, {ref.step for ref in _refs(frame) if ref.step in items and not ref.path} if items else set())


def _refs(frame: Frame) -> Iterator[Ref]:
    yield from frame.wanted
    for step in frame.plan.steps:
        for value in (*step.args, *step.kwargs.values()) if step.needs else ():
            if type(value) is Ref:
                yield value
            elif type(value) is Nest:
                yield from refs_within(value)


def _arguments(task: Task, name: str) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    take = task.frame.take
    return task.step.arguments(lambda ref: reference_to(take(ref), name))


def _is_plain(step: Step) -> bool:
    """Whether a step is a call and no more, with references as whole arguments."""
    return (
        not step.resumes
        and not any(type(value) is Nest for value in (*step.args, *step.kwargs.values()))
        and _SPECIAL.isdisjoint(step.options)
        and "self" not in step.kwargs  # which a client of Ray takes for its own
    )


def _retriable(options: Mapping[str, Any]) -> tuple[type[BaseException], ...]:
    """Return what Ray is asked to try again: it would compare with the type of what workers raise, not with these."""
    asked = options.get("retry_exceptions") or ()
    return (Exception,) if asked is True else tuple(asked)
