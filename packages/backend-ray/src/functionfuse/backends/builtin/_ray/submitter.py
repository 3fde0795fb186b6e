"""Submission of steps to Ray: as tasks, and as calls of actors, with references instead of results."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import ray
from ray import cloudpickle

from functionfuse.backends.calls import Call
from functionfuse.backends.carried import Carried
from functionfuse.backends.collapsed import OUTSIDE, Member, Members, with_refs
from functionfuse.backends.driver_state import DriverState
from functionfuse.backends.frames import CollapsedTask
from functionfuse.backends.options import NO_OPTIONS
from functionfuse.backends.plugins import initializer
from functionfuse.backends.serialization import unserializable
from functionfuse.containers import Nest
from functionfuse.plan import Ref, refs_within
from functionfuse.targets import ClassTarget, Method

from .actor_handle import ActorHandle
from .connection import surroundings_of_driver
from .literals import LargeLiterals
from .members import MembersRequest, perform_collapsed
from .options import options_of_actors, options_of_tasks
from .serialized import ReturnLayout, SerializedStep
from .signals import RetriableStepFailed
from .values import Promise, reference_to, remote_function
from .worker import performing_function, recorded_step_function, step_function

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from functionfuse.backends.execution import Run
    from functionfuse.backends.frames import Frame, Task
    from functionfuse.backends.options import StepOptions
    from functionfuse.decorator import Target
    from functionfuse.plan import Step

    from .reference_store import ReferenceStore
    from .serialized import StorageRequest


_LITERAL = ""  # stands for the name of a step in references to large values
# Options that are honoured before a call is made, so that nothing wraps the user's function.
_BEFORE_THE_CALL = frozenset(
    {"resources", "packages", "failed_inputs", "cache", "max_age", "version", "ignore", "log", "engine"}
)


class TaskSubmitter:
    """Submits the steps of one run to Ray.

    Args:
        run: the run.
        store: where results are stored and read.
    """

    def __init__(self, run: Run, store: ReferenceStore) -> None:
        self._run = run
        self._store = store
        self._driver = DriverState(cloudpickle.dumps, run.root.plan.steps, surroundings_of_driver())
        self._literals = LargeLiterals()
        self._functions: dict[Any, Any] = {}
        self._items: WeakKeyDictionary[Frame, _ItemUse] = WeakKeyDictionary()

    def submit(self, task: Task) -> tuple[Promise, ActorHandle | None]:
        """Submit a step.

        Returns:
            The promise of its result, and the handle of the stateful object that it is a call of.

        Raises:
            StoredResultLost: a stored result that the step takes cannot be read.
            Exception: what pickling the step raised; `error_of` names the cause.
        """
        if isinstance(task, CollapsedTask):
            return self._submit_collapsed(task), None
        storage, layout = self._store.storage_request(task), self._layout(task)
        handle = None if task.step.target.kind == "function" else self._handle(task)
        if handle is None:
            references = self._submit_task(task, storage, layout)
        else:
            references = self._submit_call(task, handle, storage, layout)
        stored_as = task.name if storage is not None and storage.result else ""
        return Promise.of(references, layout, task.step.name, stored_as), handle

    def error_of(self, task: Task, error: Exception) -> Exception:
        """Return the error of a task that could not be submitted, which names what cannot be pickled.

        Args:
            task: the task.
            error: what `submit` raised, returned if the task can be pickled.
        """
        step = task.step
        try:
            cloudpickle.dumps((step.target, step.args, step.kwargs))
        except Exception as problem:
            return unserializable(step, task.name, cloudpickle.dumps, problem, {})
        return error

    def _submit_task(self, task: Task, storage: StorageRequest | None, layout: ReturnLayout | None) -> Any:
        step, name = task.step, task.name
        options = {} if step.options is NO_OPTIONS else options_of_tasks(step.options)
        retriable = _retriable(options)
        if retriable:
            options["retry_exceptions"] = [RetriableStepFailed]
        count = 1 if layout is None else layout.num_returns
        if _is_plain(step) and not retriable:
            recording, location = self._run.recording(task), None
            args, kwargs = self._arguments(task)
            if storage is not None:
                location = self._store.location
                args = (pickle.dumps((storage.name, storage.recipe, recording)), *args)
            elif recording is not None:
                location = b"", ""
                args = (pickle.dumps((name, None, recording)), *args)
            function = self._function(step.target, layout, options, location=location)
        else:
            function = self._function(step.target, None, options, performs=True)
            args, kwargs = self._serialized(task, storage, layout, retriable), {}
        if options:
            return function.options(name=name, num_returns=count).remote(*args, **kwargs)
        # What options(name=...).remote(...) comes to, without making a class for every task.
        return function._remote(args=args, kwargs=kwargs, name=name, num_returns=count)

    def _submit_collapsed(self, task: CollapsedTask) -> Promise:
        """Submit a collapsed step; the items of its promise are the results of members that others take."""
        uses, name = task.frame.uses, task.name
        inside = [member.step.name for member in task.members]
        outside: dict[Ref, Any] = {}
        members = [self._member(member, inside, outside, name) for member in task.members]
        keys = tuple(key for key in inside if key in uses or self._store.by_reference)
        storage = {member.step.name: self._store.storage_request(member) for member in task.members}
        request = MembersRequest(
            tuple(outside),
            ReturnLayout(whole=True, keys=keys, seconds=False),
            {key: one for key, one in storage.items() if one is not None},
        )
        content = Members(members, keys, keeps_states=False, stops=self._run.stops_on_error)
        targets = dict.fromkeys(member.step.target for member in task.members)
        carried = Carried(cloudpickle.dumps(content), self._driver.of(targets))
        options = {} if task.step.options is NO_OPTIONS else options_of_tasks(task.step.options)
        references = (
            remote_function(perform_collapsed)
            .options(**options, name=name, num_returns=1 + len(keys))
            .remote(pickle.dumps(request), carried, *outside.values())
        )
        promise = Promise.of(references if keys else [references], request.layout, task.step.name, "")
        promise.request = request
        return promise

    def _member(self, task: Task, inside: Collection[str], outside: dict[Ref, Any], reader: str) -> Member:
        """Return a member of a collapsed step; Refs to other than members stand for references in `outside`."""
        step, options, take = task.step, task.step.options, self._run.taker(task)

        def stand_in(reference: Any) -> Ref:
            ref = Ref(OUTSIDE, (len(outside),))
            outside[ref] = reference
            return ref

        def value_of(ref: Ref) -> Ref:
            return ref if ref.step in inside else stand_in(reference_to(take(ref), reader))

        def without_large(value: Any) -> Any:
            reference = self._literals.reference(value)
            return value if reference is None else stand_in(reference)

        args, kwargs = with_refs(step, value_of)
        call = Call(
            step.target,
            tuple(map(without_large, args)),
            {key: without_large(value) for key, value in kwargs.items()},
            None,
            None if options.plugin is None else initializer(options.plugin, task.name),
            options.retry,
            options.timeout,
            options.check_arguments,
            options.environment,
            self._run.recording(task),
        )
        parents = tuple(name for name in (*step.needs, *step.after) if name in inside)
        return Member(step.name, call, parents, None, step.is_tolerated)

    def _submit_call(
        self, task: Task, handle: ActorHandle, storage: StorageRequest | None, layout: ReturnLayout | None
    ) -> Any:
        target, name = task.step.target, task.name
        is_plain = storage is None and layout is None and not self._run.is_recorded and _is_plain(task.step)
        if isinstance(target, Method) and is_plain:
            return handle.call(target.name, name, *self._arguments(task))
        if storage is not None and storage.state:
            handle.storing[name] = storage.result
            storage = storage._replace(handle_id=handle.handle_id)
        action, method = ("perform", target.name) if isinstance(target, Method) else ("make", "")
        count = 1 if layout is None else layout.num_returns
        return handle.submit(action, method, name, *self._serialized(task, storage, layout), num_returns=count)

    def _handle(self, task: Task) -> ActorHandle:
        """Return the handle of the stateful object that a call is made on, or that it makes."""
        frame, step = task
        assert step.instance is not None
        resumed = ""
        if step.instance in step.resumes:
            resumed = frame.full_name(step.resumes[step.instance])
        elif isinstance(step.target, Method):
            handle: ActorHandle = frame.take(Ref(step.instance))
            return handle
        owner = step.target.owner if isinstance(step.target, Method) else step.target
        assert isinstance(owner, ClassTarget)
        options = options_of_actors(frame.plan[step.instance].options)
        return ActorHandle(frame.full_name(step.instance), self._carried(owner), options, self._store.location, resumed)

    def _function(
        self,
        target: Target,
        layout: ReturnLayout | None,
        options: Mapping[str, Any],
        *,
        location: tuple[bytes, str] | None = None,
        performs: bool = False,
    ) -> Any:
        """Return the remote function of a decorated one, or of its serialized steps: one for each set of options."""
        key = target, location, performs, repr(layout), repr(options)
        function = self._functions.get(key)
        if function is None:
            carried, name = self._carried(target), target.qualname
            if performs:
                made = performing_function(carried, name)
            elif location is not None:
                made = recorded_step_function(carried, layout, name, *location)
            else:
                made = step_function(carried, layout, name)
            function = self._functions[key] = ray.remote(**options)(made) if options else ray.remote(made)
        return function

    def _arguments(self, task: Task) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        take, given = self._run.taker(task), self._literals.given
        args, kwargs = task.step.arguments(lambda ref: reference_to(take(ref), task.name))
        return tuple(map(given, args)), {key: given(value) for key, value in kwargs.items()}

    def _carried(self, target: Target) -> Carried:
        return Carried(cloudpickle.dumps(target), self._driver.of([target]))

    def _serialized(
        self,
        task: Task,
        storage: StorageRequest | None,
        layout: ReturnLayout | None,
        retriable: tuple[type[BaseException], ...] = (),
    ) -> tuple[Any, ...]:
        """Return a step as bytes, and the references that its arguments hold."""
        frame, step = task
        refs = tuple({ref for value in (*step.args, *step.kwargs.values()) for ref in refs_within(value)})
        resumed = step.resumes.keys() & {ref.step for ref in refs}
        states = {name: self._run.read_state(frame, step.resumes[name]) for name in resumed}
        take = self._run.taker(task)
        taken = [ref.take(states[ref.step]) if ref.step in states else take(ref) for ref in refs]
        literals: dict[Ref, Any] = {}

        def without_large(value: Any) -> Any:
            reference = self._literals.reference(value)
            if reference is None:
                return value
            ref = Ref(_LITERAL, (len(literals),))
            literals[ref] = reference
            return ref

        args = tuple(map(without_large, step.args))
        kwargs = {key: without_large(value) for key, value in step.kwargs.items()}
        options = step.options
        initialize = None if options.plugin is None else initializer(options.plugin, task.name)
        serialized = SerializedStep(
            args,
            kwargs,
            (*refs, *literals),
            initialize,
            options.retry,
            options.timeout,
            options.check_arguments,
            options.environment,
            retriable,
            layout,
            storage,
            self._run.recording(task),
        )
        references = [*(reference_to(value, task.name) for value in taken), *literals.values()]
        return cloudpickle.dumps(serialized), *references

    def _layout(self, task: Task) -> ReturnLayout | None:
        frame, step = task
        record = self._run.log.uses_records
        if step.target.kind == "constructor":
            return ReturnLayout(whole=True, keys=(), seconds=False, record=True) if record else None
        items = self._items.get(frame)
        if items is None:
            items = self._items[frame] = _item_use(frame)
        keys = tuple(items.keys.get(step.name, {}).values())
        # Else the worker that makes the result stores it, and knows how long it took.
        seconds = self._store.by_reference and not step.options.log
        if not keys and not seconds and not record:
            return None
        return ReturnLayout(not keys or seconds or step.name in items.whole, keys, seconds, record)


class _ItemUse(NamedTuple):
    """Which items the steps of a frame take of results, by the step's name; and which of these are taken whole, too."""

    keys: dict[str, dict[str, Any]]
    whole: set[str]


def _item_use(frame: Frame) -> _ItemUse:
    keys: dict[str, dict[str, Any]] = {}
    for ref in _refs(frame):
        if ref.path:
            keys.setdefault(ref.step, {})[repr(ref.path[0])] = ref.path[0]
    return _ItemUse(keys, {ref.step for ref in _refs(frame) if ref.step in keys and not ref.path} if keys else set())


def _refs(frame: Frame) -> Iterator[Ref]:
    yield from frame.wanted
    for step in frame.plan.steps:
        for value in (*step.args, *step.kwargs.values()) if step.needs else ():
            if type(value) is Ref:
                yield value
            elif type(value) is Nest:
                yield from refs_within(value)


def _is_plain(step: Step) -> bool:
    """Return True if a step is a call and no more, with references as whole arguments."""
    return (
        not step.resumes
        and not any(type(value) is Nest for value in (*step.args, *step.kwargs.values()))
        and (step.options is NO_OPTIONS or _wraps_nothing(step.options))
        and "self" not in step.kwargs  # which a client of Ray takes for its own
    )


def _wraps_nothing(options: StepOptions) -> bool:
    """Return True if a function can be called as it is: all that is set is for Ray, the planner or the driver."""
    return options.given().keys() <= _BEFORE_THE_CALL


def _retriable(options: Mapping[str, Any]) -> tuple[type[BaseException], ...]:
    """Return the exceptions that Ray is asked to retry; it would compare with what workers raise, not with these."""
    retried = options.get("retry_exceptions") or ()
    return (Exception,) if retried is True else tuple(retried)
