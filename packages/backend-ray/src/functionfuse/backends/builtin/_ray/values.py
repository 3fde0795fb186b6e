"""What stands for results in a run on Ray: references."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import ray
from ray import cloudpickle
from ray.exceptions import RayTaskError

from functionfuse.containers import Nest, rebuild
from functionfuse.errors import NodeError
from functionfuse.plan import Ref

from .handle import Hosted, ItemOfHosted
from .worker import NoItem, StepFailed, put_together, take_item

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .worker import Returns


@cache
def remote(function: Any) -> Any:
    """Return the remote form of one of our own functions.

    They take a processor like any task: for tasks that take none, Ray would start a process each.
    """
    return ray.remote(function)


class Promise:
    """A result that some worker makes, or has made.

    Attributes:
        name: of the step that it is the result of.
        reference: the ObjectRef.
        kept_as: the name under which a worker stores it itself, if one does.
        seconds: a reference to how long it took, where that is asked for.
    """

    def __init__(self, name: str, reference: Any, kept_as: str = "") -> None:
        self.name = name
        self.reference = reference
        self.kept_as = kept_as
        self.seconds: Any = None
        self._items: dict[str, Promise] = {}

    @classmethod
    def of(cls, references: Any, returns: Returns | None, name: str, kept_as: str) -> Promise:
        """Return the promise of what a task returns."""
        if returns is None:
            return cls(name, references, kept_as)
        promise = cls(name, references[0], kept_as)
        items = references[1 : 1 + len(returns.keys)]
        promise._items = {repr(key): cls(name, item) for key, item in zip(returns.keys, items, strict=True)}
        promise.seconds = references[-1] if returns.seconds else None
        return promise

    def __getitem__(self, key: Any) -> Promise:
        """Return an item of it, which travels without the rest."""
        item = self._items.get(repr(key))
        if item is None:
            reference = remote(take_item).remote(self.reference, Ref(self.name, (key,)))
            item = self._items[repr(key)] = Promise(self.name, reference)
        return item


def reference_to(value: Any, reader: str) -> Any:
    """Return an ObjectRef of what a frame holds as a value, for the step that takes it."""
    if isinstance(value, Hosted):
        return value.state_for(reader)
    if isinstance(value, ItemOfHosted):
        return remote(take_item).remote(value.host.state_for(reader), Ref(value.host.name, value.path))
    if isinstance(value, Promise):
        return value.reference
    # The result of a dynamic step: a container with such values inside.
    refs: dict[Ref, Any] = {}

    def leaf(item: Any) -> Any:
        if not isinstance(item, Promise | Hosted | ItemOfHosted):
            return item
        ref = Ref(str(len(refs)))
        refs[ref] = reference_to(item, reader)
        return ref

    container = Nest(rebuild(value, leaf))
    if not refs:
        return ray.put(value)
    return remote(put_together).remote(cloudpickle.dumps((container, tuple(refs))), *refs.values())


def handed_out(refs: Sequence[Ref], references: Sequence[Any]) -> list[Any]:
    """Return references for the user: those of items that are missing raise when they are used."""
    taken = remote(take_item)
    pairs = zip(refs, references, strict=True)
    return [taken.remote(reference, Ref(ref.step)) if ref.path else reference for ref, reference in pairs]


def fetched(refs: Sequence[Ref], references: Sequence[Any]) -> list[Any]:
    """Return the results that references are to; NodeError for an item that is missing."""
    try:
        values: list[Any] = ray.get(references)
    except RayTaskError:
        values = [_fetched_item(ref, reference) for ref, reference in zip(refs, references, strict=True)]
    for ref, value in zip(refs, values, strict=True):
        if type(value) is NoItem:
            raise _no_item(ref, value.error)
    return values


def _fetched_item(ref: Ref, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, StepFailed):
            raise _no_item(ref, error.cause) from None
        raise


def _no_item(ref: Ref, failure: StepFailed) -> NodeError:
    error = NodeError(f"the result of node {ref.step!r} has no item {ref.items}: {failure.error!r}", name=ref.step)
    error.__cause__ = failure.error
    return error
