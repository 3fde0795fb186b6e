"""What Ray's workers run: steps, and items of results."""

from __future__ import annotations

import pickle
import time
from typing import TYPE_CHECKING, Any

import ray
from ray import cloudpickle

from functionfuse.backends.calls import INTERRUPTS, Call, Expansion, Outcome, evaluate
from functionfuse.backends.external_inputs import changed_file
from functionfuse.backends.performing import perform
from functionfuse.backends.worker_state import WorkerOutdated
from functionfuse.errors import StorageError
from functionfuse.file_check import with_files
from functionfuse.plan import fill
from functionfuse.stores import objects_of

from . import running  # noqa: F401  reports calls on other machines
from .serialized import ReturnLayout, StorageRequest, deserialize_step, deserialize_store
from .signals import (
    ArgumentReturned,
    GraphReturned,
    RetriableStepFailed,
    StateNotStored,
    StepFailed,
    checked_arguments,
    step_failure,
)
from .unchanged import unchanged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from functionfuse.backends.carried import Carried
    from functionfuse.backends.recording import CallRecord
    from functionfuse.plan import Ref

    from .serialized import SerializedStep

LARGE = 1 << 20  # bytes of an argument that is not copied when it is returned
_INLINE = 64 << 10  # bytes of a capsule that travels with the error


def step_function(carried: Carried, layout: ReturnLayout | None, name: str) -> Callable[..., Any]:
    """Return the function that Ray runs for a decorated one whose arguments are values or references.

    Args:
        carried: the decorated function.
        layout: which values the task returns, if more than the result.
        name: of the decorated function.
    """

    def step(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        target, args, kwargs = loaded(carried, *checked_arguments(args, kwargs))
        try:
            value = evaluate(target.function, args, kwargs)
        except INTERRUPTS:
            raise
        except BaseException as error:
            raise step_failure(error, Call(target, args, kwargs), time.perf_counter() - start) from None
        return _returned(layout, value, args, kwargs, time.perf_counter() - start, None)

    step.__name__ = step.__qualname__ = name
    return step


def recorded_step_function(
    carried: Carried, layout: ReturnLayout | None, name: str, store: bytes, workflow_name: str
) -> Callable[..., Any]:
    """Return such a function whose call is recorded, or its result stored.

    Its first argument is a pickled (name, recipe, recording).

    Args:
        carried: the decorated function.
        layout: which values the task returns, if more than the result.
        name: of the decorated function.
        store: the pickled store; empty if the result is not stored.
        workflow_name: under which the store has the results.
    """

    def step(record: bytes, /, *args: Any, **kwargs: Any) -> Any:
        node, recipe, recording = pickle.loads(record)
        call = Call(*loaded(carried, *checked_arguments(args, kwargs)))._replace(recording=recording)
        storage = StorageRequest(store, workflow_name, node, recipe, result=True, state=False) if store else None
        return _complete(storage, layout, call, perform(call))

    step.__name__ = step.__qualname__ = name
    return step


def performing_function(carried: Carried, name: str) -> Callable[..., Any]:
    """Return the function that Ray runs for the steps of a decorated one with all their options.

    Args:
        carried: the decorated function.
        name: of the decorated function.
    """

    def step(serialized: bytes, *values: Any) -> Any:
        target, values = loaded(carried, values)
        step, call = deserialize_step(serialized, target, values)
        return complete_step(step, call, perform(call))

    step.__name__ = step.__qualname__ = name
    return step


def loaded(carried: Carried, *values: Any) -> tuple[Any, ...]:
    """Return what nodes call, once this process has what the driver has, and values that Ray deserialized before.

    Args:
        carried: what nodes call.
        values: the values.

    Raises:
        StepFailed: this process cannot have what the driver has.
    """
    try:
        return carried.load(*values)
    except WorkerOutdated as error:
        raise step_failure(error, None, 0.0, str(error)) from None
    except ImportError as error:
        detail = (
            "its worker cannot import what it calls: install the module where Ray's workers are, or pass "
            'runtime_env={"working_dir": ...} or {"py_modules": [...]} to ray.init'
        )
        raise step_failure(error, None, 0.0, detail) from None


def raise_failure(result: Any) -> None:
    """Do nothing; as a task of a result, it fails as the task of the result did."""


def take_item(value: Any, ref: Ref) -> Any:
    """Return an item of a result.

    Args:
        value: the result.
        ref: the step, and the path of the item.

    Raises:
        StepFailed: the result has no such item.
    """
    checked_arguments((value,), {})
    try:
        return ref.take(value)
    except Exception as error:
        detail = f"the result of node {ref.step!r} has no item {ref.items}"
        raise step_failure(error, None, 0.0, detail) from None


def fill_container(serialized: bytes, *values: Any) -> Any:
    """Return a container with values instead of its references.

    Args:
        serialized: the pickled container, and its Refs.
        values: of the Refs, in their order.
    """
    container, refs = cloudpickle.loads(serialized)
    return fill(container, dict(zip(refs, checked_arguments(values, {})[0], strict=True)).__getitem__)


def complete_step(step: SerializedStep | None, call: Call, outcome: Outcome, *, stores_state: bool = False) -> Any:
    """Store and return the result of a call.

    Args:
        step: the step; None for a call without options.
        call: that was performed.
        outcome: of the call.
        stores_state: whether the state of the stateful object is stored if the step asks for it.

    Raises:
        StepFailed: the call failed, or its result cannot be stored.
        ControlSignal: something else than the result has to be passed to the driver.
    """
    if step is None:
        return _complete(None, None, call, outcome)
    try:
        return _complete(step.storage, step.layout, call, outcome, stores_state=stores_state)
    except StepFailed as error:
        if isinstance(error.error(), step.retriable):
            raise RetriableStepFailed(*error.args) from None
        raise


def _complete(
    storage: StorageRequest | None,
    layout: ReturnLayout | None,
    call: Call,
    outcome: Outcome,
    *,
    stores_state: bool = False,
) -> Any:
    record = outcome.record
    if outcome.error is not None:
        if record is not None and record.capsule is not None and len(record.capsule) > _INLINE:
            record = record._replace(capsule=ray.put(record.capsule))  # all that depends on the step gets the error
        raise step_failure(outcome.error, call, outcome.seconds, attempts=outcome.attempts, record=record)
    value = None if call.target.kind == "constructor" else outcome.value
    reason = ""
    if storage is not None:
        try:
            # An end after the state is stored leaves no stored result whose object has to be made again.
            if storage.state and stores_state:
                reason = _store_state(storage, outcome)
            if storage.recipe is not None and changed_file((*call.args, *call.kwargs.values())):
                storage = storage._replace(recipe=None)
            if storage.result and type(value) is not Expansion:
                value = store_result(storage, value, outcome)
        except Exception as error:
            raise step_failure(error, None, outcome.seconds, "it ran, but its result cannot be stored") from None
    if reason and type(value) is not Expansion:
        raise StateNotStored(value, reason, outcome.seconds, record)
    return _returned(layout, value, call.args, call.kwargs, outcome.seconds, record)


def _store_state(storage: StorageRequest, outcome: Outcome) -> str:
    """Store the state of a stateful object; return the reason if it cannot be pickled."""
    workflow_name, store = objects_of(storage.workflow_name), deserialize_store(storage.store)
    try:
        store.save(workflow_name, storage.name, outcome.instance, recipe=storage.recipe, meta=storage.meta)
    except StorageError:
        raise
    except Exception as error:
        return str(error)
    return ""


def store_result(storage: StorageRequest, value: Any, outcome: Outcome) -> Any:
    """Store a result, and return what consumers of it take.

    Args:
        storage: where, and under which name.
        value: the result.
        outcome: of the call.
    """
    store = deserialize_store(storage.store)
    recipe, meta = with_files(storage.recipe, {"seconds": outcome.seconds, **storage.meta}, value)
    store.save(storage.workflow_name, storage.name, value, recipe=recipe, meta=meta)
    return store.read_task(storage.workflow_name, storage.name) if store.always_read else value


def _returned(
    layout: ReturnLayout | None,
    value: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    seconds: float,
    record: CallRecord | None,
) -> Any:
    """Return what a task returns for a result, or raise the control signal that replaces it."""
    if type(value) is Expansion:
        raise GraphReturned(value, seconds, record)
    if layout is not None:
        return layout.values(value, seconds, record)
    if value is not None and _is_large_and_constant(value):
        for index, argument in (*enumerate(args), *kwargs.items()):
            if argument is value:
                raise ArgumentReturned(index, seconds, record)
    return unchanged(value)


def _is_large_and_constant(value: Any) -> bool:
    """Return True for a large array in memory that Ray's workers share: nobody can have changed it."""
    if hasattr(value, "__dict__"):
        return False
    try:
        view = memoryview(value)
    except (TypeError, ValueError, BufferError):
        return False
    return view.readonly and view.nbytes >= LARGE
