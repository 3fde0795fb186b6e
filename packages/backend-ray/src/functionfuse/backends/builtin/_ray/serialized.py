"""Steps as data for Ray's workers: the call, what becomes of its result, and which values its task returns."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ray import cloudpickle

from functionfuse.backends.calls import Call
from functionfuse.plan import fill

from .signals import MissingItem, checked_arguments, step_failure
from .unchanged import unchanged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from functionfuse.backends.options import Retry
    from functionfuse.backends.recording import CallRecord, Recording
    from functionfuse.backends.secrets import Secret
    from functionfuse.decorator import Target
    from functionfuse.plan import Ref
    from functionfuse.stores import Store


class StorageRequest(NamedTuple):
    """What a worker stores of the step that it ran.

    Attributes:
        store: the store, pickled.
        workflow_name: under which the store has the results.
        name: of the step.
        recipe: that the result is stored with.
        result: whether the result is stored.
        state: whether the state of the stateful object is stored.
        handle_id: identifies the actor handle, in this run, of the object that the call is made on.
    """

    store: bytes
    workflow_name: str
    name: str
    recipe: Mapping[str, str] | None
    result: bool
    state: bool
    handle_id: str = ""

    @property
    def meta(self) -> dict[str, Any]:
        """Return what distinguishes the records of this run from those of other runs."""
        return {"handle_id": self.handle_id} if self.handle_id else {}


class ReturnLayout(NamedTuple):
    """Which values a task returns when it returns more than the result.

    Attributes:
        whole: whether the result itself is needed, beside items of it.
        keys: of the items that other steps take.
        seconds: whether the duration is returned too.
        record: whether what was recorded of the call is returned too.
    """

    whole: bool
    keys: tuple[Any, ...]
    seconds: bool
    record: bool = False

    @property
    def num_returns(self) -> int:
        """Return how many values the task returns."""
        return 1 + len(self.keys) + self.seconds + self.record

    def values(self, result: Any, seconds: float, record: CallRecord | None) -> tuple[Any, ...]:
        """Return the values; an item that does not exist is replaced by a `MissingItem`.

        Args:
            result: what the step returned.
            seconds: how long the step took.
            record: what was recorded of its call.
        """
        items = [self.item(result, key) for key in self.keys]
        measured = (*([seconds] if self.seconds else ()), *([record] if self.record else ()))
        return (unchanged(result) if self.whole else None, *items, *measured)

    def item(self, result: Any, key: Any) -> Any:
        """Return an item of a result, or a `MissingItem`.

        Args:
            result: what the step returned.
            key: of the item.
        """
        try:
            return unchanged(result[key])
        except Exception as error:
            return MissingItem(step_failure(error, None, 0.0, f"a result that it takes has no item [{key!r}]"))


class SerializedStep(NamedTuple):
    """A step with its options, but for what it calls.

    It is pickled, and the values of ``refs`` are further arguments of the Ray task.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    refs: tuple[Ref, ...]
    initialize: Callable[[], object] | None
    retry: Retry | None
    timeout: float | None
    check_arguments: bool
    environment: Mapping[str, str | Secret]
    retriable: tuple[type[BaseException], ...]
    layout: ReturnLayout | None
    storage: StorageRequest | None
    recording: Recording | None

    def call(self, target: Target, values: tuple[Any, ...], instance: Any = None) -> Call:
        """Return the call, with the values in the arguments.

        Args:
            target: what it calls.
            values: of ``refs``, in their order.
            instance: the stateful object, for a method.

        Raises:
            StepFailed: a value is an item that a result does not have.
        """
        by_ref = dict(zip(self.refs, checked_arguments(values, {})[0], strict=True))
        args = tuple(fill(value, by_ref.__getitem__) for value in self.args)
        kwargs = {key: fill(value, by_ref.__getitem__) for key, value in self.kwargs.items()}
        options = self.initialize, self.retry, self.timeout, self.check_arguments, self.environment, self.recording
        return Call(target, args, kwargs, instance, *options)


def deserialize_step(
    serialized: bytes, target: Target, values: tuple[Any, ...], instance: Any = None
) -> tuple[SerializedStep, Call]:
    """Return a step, and its call.

    Args:
        serialized: the pickled step.
        target: what it calls.
        values: of the step's ``refs``.
        instance: the stateful object, for a method.

    Raises:
        StepFailed: a value is an item that a result does not have.
    """
    step: SerializedStep = cloudpickle.loads(serialized)
    return step, step.call(target, values, instance)


@cache
def deserialize_store(store: bytes) -> Store:
    """Return the store of a run; a worker makes one object for each store."""
    deserialized: Store = cloudpickle.loads(store)
    return deserialized
