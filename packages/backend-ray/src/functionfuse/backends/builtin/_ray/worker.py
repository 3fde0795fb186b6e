"""What Ray's workers do: steps, items of results, reads; what they raise in the place of a result."""

from __future__ import annotations

import pickle
import time
import uuid
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ray import cloudpickle

from functionfuse.backends.calls import Call, Expansion, Outcome, RemoteError, called, evaluate, perform, traceback_text
from functionfuse.errors import CorruptRecord, StorageError, TaskNotFound
from functionfuse.plan import fill
from functionfuse.stores import objects_of, state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from functionfuse.backends.options import Retry
    from functionfuse.decorator import Target
    from functionfuse.plan import Ref
    from functionfuse.stores import Store

    from .actor import Host

LARGE = 1 << 20  # bytes of an argument that is not copied when it is returned


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


class WorthRetrying(StepFailed):
    """Raised where Ray is asked to try a failed step again."""


class Instead(Exception):  # noqa: N818
    """Raised in the place of a result, so that nothing that depends on it runs before the driver took it in.

    Attributes:
        mark: tells it from others; what depends on the step raises the same.
    """

    def __init__(self, *said: Any, mark: str = "") -> None:
        self.mark = mark or uuid.uuid4().hex
        super().__init__(*said)

    def __reduce__(self) -> Any:
        return _again, (type(self), self.args, self.mark)


class Expanded(Instead):
    """A step returned nodes: ``args`` are the Expansion, and how many seconds the step took."""


class PassedOn(Instead):
    """A step returned a large argument as it was: ``args`` are its place among the arguments, and the seconds."""


class NotKept(Instead):
    """The state of an object cannot be pickled: ``args`` are the call's result, the reason, and the seconds."""


class OutOfTurn(Exception):  # noqa: N818
    """Raised in the place of an object's call that came after one which did not take place."""


class Lost(Exception):  # noqa: N818
    """Raised where a stored result could not be read."""

    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(name, error)
        self.name = name
        self.error = error


class NoItem(NamedTuple):
    """Stands for an item that a result does not have."""

    error: StepFailed


class Keep(NamedTuple):
    """How the result of a step is stored by the worker that made it; the store comes pickled.

    Attributes:
        actor: identifies the run's object that a call is made on, whichever actor it lives in.
    """

    store: bytes
    workflow_name: str
    name: str
    recipe: Mapping[str, str] | None
    result: bool
    state: bool
    actor: str = ""

    @property
    def meta(self) -> dict[str, Any]:
        """Return what tells records of this run's actor from those of others."""
        return {"actor": self.actor} if self.actor else {}


class Returns(NamedTuple):
    """What a task returns when it is more than the result.

    Attributes:
        whole: whether the result itself is needed, beside items of it.
        keys: of the items that others take.
        seconds: whether they want to know how long it took.
    """

    whole: bool
    keys: tuple[Any, ...]
    seconds: bool

    @property
    def num_returns(self) -> int:
        """Return how many values these are."""
        return 1 + len(self.keys) + self.seconds

    def values(self, result: Any, seconds: float) -> tuple[Any, ...]:
        """Return them; an item that is not there spoils its own place only."""
        items = [self._item(result, key) for key in self.keys]
        return (result if self.whole else None, *items, *([seconds] if self.seconds else ()))

    def _item(self, result: Any, key: Any) -> Any:
        try:
            return result[key]
        except Exception as error:
            return NoItem(failed(error, None, 0.0, f"a result that it takes has no item [{key!r}]"))


class Packed(NamedTuple):
    """A step as data for a worker; values of ``refs`` travel beside it, as arguments of the Ray task."""

    target: Target
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    refs: tuple[Ref, ...]
    initialize: Callable[[], object] | None
    retry: Retry | None
    timeout: float | None
    retriable: tuple[type[BaseException], ...]
    returns: Returns | None
    keep: Keep | None

    def call(self, values: tuple[Any, ...], instance: Any = None) -> Call:
        """Put the values in their places."""
        by_ref = dict(zip(self.refs, checked(values, {})[0], strict=True))
        args = tuple(fill(value, by_ref.__getitem__) for value in self.args)
        kwargs = {key: fill(value, by_ref.__getitem__) for key, value in self.kwargs.items()}
        return Call(self.target, args, kwargs, instance, self.initialize, self.retry, self.timeout)


def function_of(target: Target, returns: Returns | None) -> Callable[..., Any]:
    """Return the function that Ray runs for a decorated one whose arguments are values or references."""

    def step(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        checked(args, kwargs)
        try:
            value = evaluate(target.function, args, kwargs)  # type: ignore[union-attr]
        except (Exception, SystemExit) as error:
            raise failed(error, Call(target, args, kwargs), time.perf_counter() - start) from None
        return returned(returns, value, args, kwargs, time.perf_counter() - start)

    step.__name__ = step.__qualname__ = target.qualname
    return step


def storing_function_of(
    target: Target, returns: Returns | None, store: bytes, workflow_name: str
) -> Callable[..., Any]:
    """Return such a function that stores its result, too; its first argument is a pickled (name, recipe)."""

    def step(kept: bytes, /, *args: Any, **kwargs: Any) -> Any:
        name, recipe = pickle.loads(kept)
        call = Call(target, *checked(args, kwargs))
        keep = Keep(store, workflow_name, name, recipe, result=True, state=False)
        return _finished(keep, returns, call, perform(call))

    step.__name__ = step.__qualname__ = target.qualname
    return step


def perform_packed(packed: bytes, *values: Any) -> Any:
    """Run a step with all that its options ask for."""
    step, call = unpacked(packed, values)
    return answer(step, call, perform(call))


def seen(result: Any) -> None:
    """Fail as the task of a result did, or else do nothing."""


def take_item(value: Any, ref: Ref) -> Any:
    """Return an item of a result."""
    checked((value,), {})
    try:
        return ref.take(value)
    except Exception as error:
        raise failed(error, None, 0.0, f"the result of node {ref.step!r} has no item {ref.items}") from None


def put_together(packed: bytes, *values: Any) -> Any:
    """Return a container with the values in their places."""
    container, refs = cloudpickle.loads(packed)
    return fill(container, dict(zip(refs, checked(values, {})[0], strict=True)).__getitem__)


def read_result(store: bytes, workflow_name: str, name: str, known_as: str) -> Any:
    """Read a stored result."""
    try:
        return unpacked_store(store).read_task(workflow_name, name)
    except Exception as error:
        raise Lost(known_as, error) from None


def stored_calls(store: bytes, workflow_name: str, actor: str, calls: list[tuple[str, bool]]) -> list[str]:
    """Return the names of the first calls of an object that are stored in full: the state, and the result if any.

    Args:
        store: the pickled store.
        workflow_name: under which it has the results.
        actor: what :attr:`Keep.actor` says of the object.
        calls: names of calls, in order, and whether their results are stored.
    """
    stored: list[str] = []
    for name, has_result in calls:
        workflows = (objects_of(workflow_name), workflow_name) if has_result else (objects_of(workflow_name),)
        try:
            infos = [unpacked_store(store).info(workflow, name) for workflow in workflows]
        except (TaskNotFound, CorruptRecord):
            break
        except Exception as error:
            raise Lost(state_of(name), error) from None
        if any((info.get("meta") or {}).get("actor") != actor for info in infos):
            break
        stored.append(name)
    return stored


def save_result(store: bytes, workflow_name: str, name: str, recipe: Any, value: Any) -> None:
    """Store a result that no single worker made."""
    unpacked_store(store).save(workflow_name, name, value, recipe=recipe)


@cache
def unpacked_store(store: bytes) -> Store:
    """Return the store of a run, one a worker."""
    unpacked: Store = cloudpickle.loads(store)
    return unpacked


def unpacked(packed: bytes, values: tuple[Any, ...], instance: Any = None) -> tuple[Packed, Call]:
    """Return a step, and its call."""
    step: Packed = cloudpickle.loads(packed)
    return step, step.call(values, instance)


def checked(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return the arguments; StepFailed if an item is missing among them."""
    if NoItem in map(type, args) or NoItem in map(type, kwargs.values()):
        raise next(value.error for value in (*args, *kwargs.values()) if type(value) is NoItem)
    return args, kwargs


def answer(step: Packed | None, call: Call, outcome: Outcome, host: Host | None = None) -> Any:
    """Store and return what a call returned, or raise what became of it."""
    if step is None:
        return _finished(None, None, call, outcome, host)
    try:
        return _finished(step.keep, step.returns, call, outcome, host)
    except StepFailed as error:
        if isinstance(error.error, step.retriable):
            raise WorthRetrying(*error.args) from None
        raise


def _finished(
    keep: Keep | None, returns: Returns | None, call: Call, outcome: Outcome, host: Host | None = None
) -> Any:
    if outcome.error is not None:
        raise failed(outcome.error, call, outcome.seconds, attempts=outcome.attempts)
    value = None if call.target.kind == "constructor" else outcome.value
    why_not = ""
    if keep is not None:
        try:
            # An end after the state is stored leaves no stored result whose object has to be made again.
            if keep.state and host is not None and host.is_kept:
                why_not = _keep_state(keep, outcome)
            if keep.result and type(value) is not Expansion:
                value = _keep_result(keep, value, outcome)
        except Exception as error:
            raise failed(error, None, outcome.seconds, "it ran, but its result cannot be stored") from None
    if why_not and host is not None and type(value) is not Expansion:
        host.is_kept = False  # once is enough
        raise NotKept(value, why_not, outcome.seconds)
    return returned(returns, value, call.args, call.kwargs, outcome.seconds)


def _keep_state(keep: Keep, outcome: Outcome) -> str:
    """Store an object's state; if it cannot be pickled, return why."""
    try:
        unpacked_store(keep.store).save(
            objects_of(keep.workflow_name), keep.name, outcome.instance, recipe=keep.recipe, meta=keep.meta
        )
    except StorageError:
        raise
    except Exception as error:
        return str(error)
    return ""


def _keep_result(keep: Keep, value: Any, outcome: Outcome) -> Any:
    store = unpacked_store(keep.store)
    meta = {"seconds": outcome.seconds, **keep.meta}
    store.save(keep.workflow_name, keep.name, value, recipe=keep.recipe, meta=meta)
    return store.read_task(keep.workflow_name, keep.name) if store.always_read else value


def returned(
    returns: Returns | None, value: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], seconds: float
) -> Any:
    """Return what a task returns for a result, or raise what stands for it."""
    if type(value) is Expansion:
        raise Expanded(value, seconds)
    if returns is not None:
        return returns.values(value, seconds)
    if value is not None and _is_large_and_constant(value):
        for place, argument in (*enumerate(args), *kwargs.items()):
            if argument is value:
                raise PassedOn(place, seconds)
    return value


def _is_large_and_constant(value: Any) -> bool:
    """Whether nobody can have changed it, and copying it would take long: an array that Ray's workers share."""
    if hasattr(value, "__dict__"):
        return False
    try:
        view = memoryview(value)
    except (TypeError, ValueError, BufferError):
        return False
    return view.readonly and view.nbytes >= LARGE


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


def _again(kind: type[Instead], said: tuple[Any, ...], mark: str) -> Instead:
    return kind(*said, mark=mark)
