"""What Ray's workers do: steps, items of results, objects, reads."""

from __future__ import annotations

import pickle
import time
import uuid
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ray import cloudpickle

from functionfuse.backends.builtin._ray_objects import let_travel
from functionfuse.backends.calls import Call, Expansion, Outcome, RemoteError, called, evaluate, perform, traceback_text
from functionfuse.plan import fill
from functionfuse.stores import objects_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from functionfuse.backends.calls import Retry
    from functionfuse.decorator import Target, WorkflowClass
    from functionfuse.plan import Ref
    from functionfuse.stores import Store


class StepFailed(Exception):  # noqa: N818
    """Raised where a step of a run failed: Ray passes it on to all that depend on it.

    Attributes:
        error: what the user's function raised.
        said: how the step was called, or what else went wrong.
        text: the traceback.
        seconds: how long it took, all attempts.
    """

    def __init__(self, error: BaseException, said: str, text: str, seconds: float) -> None:
        super().__init__(error, said, text, seconds)
        self.error = error
        self.said = said
        self.text = text
        self.seconds = seconds


class Expanded(Exception):  # noqa: N818
    """Raised where a step returned nodes, so that nothing that depends on it runs before they did.

    Attributes:
        mark: tells it from others; what depends on the step raises the same.
    """

    def __init__(self, expansion: Expansion, seconds: float, mark: str = "") -> None:
        self.mark = mark or uuid.uuid4().hex
        super().__init__(expansion, seconds, self.mark)
        self.expansion = expansion
        self.seconds = seconds


class OutOfTurn(Exception):  # noqa: N818
    """Raised in the place of an object's call that came after one which did not take place."""


class Lost(Exception):  # noqa: N818
    """Raised where a stored result could not be read."""

    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(name, error)
        self.name = name
        self.error = error


class Keep(NamedTuple):
    """How the result of a step is stored by the worker that made it; the store comes pickled."""

    store: bytes
    workflow_name: str
    name: str
    recipe: Mapping[str, str] | None
    result: bool
    state: bool


class Packed(NamedTuple):
    """A step as data for a worker; values of ``refs`` travel beside it, as arguments of the Ray task."""

    target: Target
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    refs: tuple[Ref, ...]
    initialize: Callable[[], object] | None
    retry: Retry | None
    timeout: float | None
    keep: Keep | None

    def call(self, values: tuple[Any, ...], instance: Any = None) -> Call:
        """Put the values in their places."""
        by_ref = dict(zip(self.refs, values, strict=True))
        args = tuple(fill(value, by_ref.__getitem__) for value in self.args)
        kwargs = {key: fill(value, by_ref.__getitem__) for key, value in self.kwargs.items()}
        return Call(self.target, args, kwargs, instance, self.initialize, self.retry, self.timeout)


def function_of(target: Target) -> Callable[..., Any]:
    """Return the function that Ray runs for a decorated one whose arguments are values or references."""

    def step(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            value = evaluate(target.function, args, kwargs)  # type: ignore[union-attr]
        except (Exception, SystemExit) as error:
            raise failed(error, Call(target, args, kwargs), time.perf_counter() - start) from None
        if type(value) is Expansion:
            raise Expanded(value, time.perf_counter() - start)
        return value

    step.__name__ = step.__qualname__ = target.qualname
    return step


def storing_function_of(target: Target, store: bytes, workflow_name: str) -> Callable[..., Any]:
    """Return such a function that stores its result, too; its first argument is a pickled (name, recipe)."""

    def step(kept: bytes, /, *args: Any, **kwargs: Any) -> Any:
        name, recipe = pickle.loads(kept)
        call = Call(target, args, kwargs)
        keep = Keep(store, workflow_name, name, recipe, result=True, state=False)
        return _answer(keep, call, perform(call))

    step.__name__ = step.__qualname__ = target.qualname
    return step


def perform_packed(packed: bytes, *values: Any) -> Any:
    """Run a step with all that its options ask for."""
    step, call = _unpacked(packed, values)
    return _answer(step.keep, call, perform(call))


def seen(result: Any) -> None:
    """Fail as the task of a result did, or else do nothing."""


def take_item(value: Any, ref: Ref) -> Any:
    """Return an item of a result."""
    start = time.perf_counter()
    try:
        return ref.take(value)
    except Exception as error:
        said = f"the result of node {ref.step!r} has no item {ref.items}"
        raise failed(error, None, time.perf_counter() - start, said) from None


def put_together(packed: bytes, *values: Any) -> Any:
    """Return a container with the values in their places."""
    container, refs = cloudpickle.loads(packed)
    return fill(container, dict(zip(refs, values, strict=True)).__getitem__)


def read_result(store: bytes, workflow_name: str, name: str, known_as: str) -> Any:
    """Read a stored result."""
    try:
        return unpacked_store(store).read_task(workflow_name, name)
    except Exception as error:
        raise Lost(known_as, error) from None


@cache
def unpacked_store(store: bytes) -> Store:
    """Return the store of a run, one a worker."""
    unpacked: Store = cloudpickle.loads(store)
    return unpacked


class Host:
    """The actor of one object.

    Calls take place in the order of the program, or not at all: each comes with its place, ``"number.method"``, and
    is refused unless as many calls took place before. So nothing overtakes a call whose arguments failed, or are
    still to be made.
    """

    def __init__(self, owner: WorkflowClass) -> None:
        self.owner = owner
        self.object: Any = None
        self.done = 0

    def make(self, place: str, packed: bytes, *values: Any) -> None:
        """Call the constructor."""
        self._method_at(place)
        step, call = _unpacked(packed, values)
        self._take_in(step.keep, call, perform(call))
        let_travel(type(self.object))

    def adopt(self, place: str, state: Any) -> None:
        """Take over the state of an object."""
        self._method_at(place)
        self.object = state
        self.done += 1
        let_travel(type(state))

    def perform(self, place: str, packed: bytes, *values: Any) -> Any:
        """Call a method with all that its options ask for."""
        self._method_at(place)
        step, call = _unpacked(packed, values, self.object)
        return self._take_in(step.keep, call, perform(call))

    def call(self, place: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method whose arguments are values or references."""
        call = Call(self.owner.methods[self._method_at(place)], args, kwargs, self.object)
        return self._take_in(None, call, perform(call))

    def state(self, place: str) -> Any:
        """Return the object as it is between two calls."""
        self._method_at(place)
        return self.object

    def alive(self) -> None:
        """Answer."""

    def _method_at(self, place: str) -> str:
        number, _, method = place.partition(".")
        if int(number) != self.done:
            raise OutOfTurn
        return method

    def _take_in(self, keep: Keep | None, call: Call, outcome: Outcome) -> Any:
        if outcome.error is None:
            self.object = outcome.instance if type(outcome.value) is not Expansion else self.object
            self.done += 1
        return _answer(keep, call, outcome)


def _unpacked(packed: bytes, values: tuple[Any, ...], instance: Any = None) -> tuple[Packed, Call]:
    step: Packed = cloudpickle.loads(packed)
    return step, step.call(values, instance)


def _answer(keep: Keep | None, call: Call, outcome: Outcome) -> Any:
    """Store and return what a call returned, or raise what became of it."""
    if outcome.error is not None:
        raise failed(outcome.error, call, outcome.seconds, attempts=outcome.attempts)
    expands = type(outcome.value) is Expansion
    value = None if call.target.kind == "constructor" else outcome.value
    if keep is not None:
        try:
            value = _kept(keep._replace(result=keep.result and not expands), value, outcome)
        except Exception as error:
            raise failed(error, None, outcome.seconds, "it ran, but its result cannot be stored") from None
    if expands:
        raise Expanded(outcome.value, outcome.seconds)
    return value


def _kept(keep: Keep, value: Any, outcome: Outcome) -> Any:
    """Store the state first: an end in between leaves no stored result whose object has to be made again."""
    store, workflow_name = unpacked_store(keep.store), keep.workflow_name
    if keep.state:
        store.save(objects_of(workflow_name), keep.name, outcome.instance, recipe=keep.recipe)
    if keep.result:
        store.save(workflow_name, keep.name, value, recipe=keep.recipe, meta={"seconds": outcome.seconds})
        if store.always_read:
            value = store.read_task(workflow_name, keep.name)
    return value


def failed(error: BaseException, call: Call | None, seconds: float, said: str = "", *, attempts: int = 1) -> StepFailed:
    """Return what to raise in the place of an error, so that it can travel."""
    text = traceback_text(error)
    if call is not None:
        said = called(call, attempts)
    try:
        cloudpickle.loads(cloudpickle.dumps(error))
    except Exception:
        error = RemoteError(f"{type(error).__qualname__}: {error}")
    return StepFailed(error, said, text, seconds)


def save_result(store: bytes, workflow_name: str, name: str, recipe: Any, value: Any) -> None:
    """Store a result that no single worker made."""
    unpacked_store(store).save(workflow_name, name, value, recipe=recipe)
