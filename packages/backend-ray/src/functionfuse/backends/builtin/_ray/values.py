"""What represents results in a run on Ray: references."""

from __future__ import annotations

from functools import cache, wraps
from typing import TYPE_CHECKING, Any

import ray
from ray import cloudpickle
from ray.exceptions import RayTaskError

from functionfuse.containers import Nest, rebuild
from functionfuse.errors import NodeError
from functionfuse.plan import Ref

from .actor_handle import ActorHandle, ActorHandleItem
from .signals import MissingItem, StepFailed
from .unchanged import unchanged
from .worker import fill_container, take_item

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .serialized import ReturnLayout


@cache
def remote_function(function: Any) -> Any:
    """Return the remote form of a library function, whose result arrives as it is.

    It takes a processor like any task: for tasks that take none, Ray would start a process each.
    """

    @wraps(function)
    def call(*args: Any) -> Any:
        return unchanged(function(*args))

    return ray.remote(call)


class Promise:
    """A result that some worker makes, or has made.

    Args:
        name: of the step.
        reference: an ObjectRef of the result.
        stored_as: the name under which a worker stores the result itself, if one does.

    Attributes:
        name: of the step.
        reference: an ObjectRef of the result.
        stored_as: the name under which a worker stores the result itself, if one does.
        seconds: a reference to the duration, where that is asked for.
        record: a reference to what was recorded of the call, likewise.
        request: of a collapsed step, what its task does besides calls.
    """

    def __init__(self, name: str, reference: Any, stored_as: str = "") -> None:
        self.name = name
        self.reference = reference
        self.stored_as = stored_as
        self.seconds: Any = None
        self.record: Any = None
        self.request: Any = None
        self._items: dict[str, Promise] = {}

    @classmethod
    def of(cls, references: Any, layout: ReturnLayout | None, name: str, stored_as: str) -> Promise:
        """Return the promise of what a task returns.

        Args:
            references: one ObjectRef, or several if there is a layout.
            layout: which values the task returns, if more than the result.
            name: of the step.
            stored_as: the name under which the worker stores the result itself, if it does.
        """
        if layout is None:
            return cls(name, references, stored_as)
        promise = cls(name, references[0], stored_as)
        items = references[1 : 1 + len(layout.keys)]
        promise._items = {repr(key): cls(name, item) for key, item in zip(layout.keys, items, strict=True)}
        rest = list(references[1 + len(layout.keys) :])
        promise.seconds = rest.pop(0) if layout.seconds else None
        promise.record = rest.pop() if layout.record else None
        return promise

    @property
    def others(self) -> list[Any]:
        """The ObjectRefs of what the task returns besides the result."""
        items = [item.reference for item in self._items.values()]
        return [*items, *(reference for reference in (self.seconds, self.record) if reference is not None)]

    def of_members(self) -> dict[str, Promise]:
        """Return the promises of results of a collapsed step's members, by their names."""
        names: tuple[str, ...] = self.request.layout.keys
        others = {name: Promise(name, None, self.request.stored_as(name)) for name in self.request.storage}
        return others | {name: Promise(name, self[name].reference, self.request.stored_as(name)) for name in names}

    def __getitem__(self, key: Any) -> Promise:
        """Return an item of the result, which is passed on without the rest."""
        item = self._items.get(repr(key))
        if item is None:
            reference = remote_function(take_item).remote(self.reference, Ref(self.name, (key,)))
            item = self._items[repr(key)] = Promise(self.name, reference)
        return item


def reference_to(value: Any, reader: str) -> Any:
    """Return an ObjectRef of what a frame holds as a value.

    Args:
        value: a promise, an actor handle, an item of one, or a container with such values inside.
        reader: the step that takes the value.
    """
    if isinstance(value, ActorHandle):
        return value.state_for(reader)
    if isinstance(value, ActorHandleItem):
        handle = value.handle
        return remote_function(take_item).remote(handle.state_for(reader), Ref(handle.name, value.path))
    if isinstance(value, Promise):
        return value.reference
    # The result of a dynamic step: a container with such values inside.
    refs: dict[Ref, Any] = {}

    def leaf(item: Any) -> Any:
        if not isinstance(item, Promise | ActorHandle | ActorHandleItem):
            return item
        ref = Ref(str(len(refs)))
        refs[ref] = reference_to(item, reader)
        return ref

    container = Nest(rebuild(value, leaf))
    if not refs:
        return ray.put(unchanged(value))
    return remote_function(fill_container).remote(cloudpickle.dumps((container, tuple(refs))), *refs.values())


def references_for_user(refs: Sequence[Ref], references: Sequence[Any]) -> list[Any]:
    """Return references for the user: those of missing items raise when they are used.

    Args:
        refs: what the user asked for.
        references: ObjectRefs of it.
    """
    take = remote_function(take_item)
    pairs = zip(refs, references, strict=True)
    return [take.remote(reference, Ref(ref.step)) if ref.path else reference for ref, reference in pairs]


def fetch_results(refs: Sequence[Ref], references: Sequence[Any]) -> list[Any]:
    """Return the results behind references.

    Args:
        refs: what the user asked for.
        references: ObjectRefs of it.

    Raises:
        NodeError: a result does not have an item that is asked for.
    """
    try:
        values: list[Any] = ray.get(references)
    except RayTaskError:
        values = [_fetch_item(ref, reference) for ref, reference in zip(refs, references, strict=True)]
    for ref, value in zip(refs, values, strict=True):
        if type(value) is MissingItem:
            raise _missing_item_error(ref, value.error)
    return values


def _fetch_item(ref: Ref, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, StepFailed):
            raise _missing_item_error(ref, error.cause) from None
        raise


def _missing_item_error(ref: Ref, failure: StepFailed) -> NodeError:
    cause = failure.error()
    error = NodeError(f"the result of node {ref.step!r} has no item {ref.items}: {cause!r}", name=ref.step)
    error.__cause__ = cause
    return error
