"""Collapsed steps on Ray: one task makes the calls of many steps, and returns the results that others take."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse.backends.calls import Expansion, MemberOutcomes, Outcome
from functionfuse.backends.serialization import deserialized_outcome

from .signals import MissingItem, serializer
from .unchanged import unchanged
from .worker import loaded, store_result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functionfuse.backends.carried import Carried
    from functionfuse.plan import Ref

    from .serialized import ReturnLayout, StorageRequest


class MembersRequest(NamedTuple):
    """What the task of a collapsed step does besides calls.

    Attributes:
        refs: that stand for the task's further arguments, in their order.
        layout: which results it returns.
        storage: by member: what is stored of it.
    """

    refs: tuple[Ref, ...]
    layout: ReturnLayout
    storage: Mapping[str, StorageRequest]

    def stored_as(self, name: str) -> str:
        """Return the name under which a worker stores the result of a member; empty if it does not."""
        request = self.storage.get(name)
        return request.name if request is not None and request.result else ""


class _Outside(dict[Any, Any]):
    """Values by Refs; an item that a result does not have raises what taking it raised."""

    def __getitem__(self, ref: Any) -> Any:
        value = super().__getitem__(ref)
        if type(value) is MissingItem:
            raise value.error.error()
        return value


def perform_collapsed(serialized: bytes, carried: Carried, *values: Any) -> Any:
    """Make the calls of a collapsed step; the function that Ray runs.

    Args:
        serialized: the pickled request.
        carried: the members.
        values: of the Refs in the request.

    Returns:
        How the calls ended, without results; then the results that others take, as the layout says.
    """
    members, *outside = loaded(carried, *values)
    request: MembersRequest = pickle.loads(serialized)
    members.outside = _Outside(zip(request.refs, outside, strict=True))
    members.complete = _Storing(request.storage) if request.storage else None
    outcomes = members.perform()
    ended = unchanged(outcomes.mapped(_without_result))
    keys = request.layout.keys
    return (ended, *[request.layout.item(outcomes, key) for key in keys]) if keys else ended


class _Storing:
    """Stores results of members where they were made.

    Args:
        requests: by member.
    """

    def __init__(self, requests: Mapping[str, StorageRequest]) -> None:
        self._requests = requests

    def __call__(self, name: str, outcome: Outcome) -> Outcome:
        request = self._requests.get(name)
        if request is None or not request.result or outcome.error is not None or type(outcome.value) is Expansion:
            return outcome
        try:
            return outcome._replace(value=store_result(request, outcome.value, outcome))
        except Exception as error:
            error.add_note("it ran, but its result cannot be stored")
            return outcome._replace(value=None, error=error)


def _without_result(outcome: Outcome) -> Outcome | bytes:
    """Return an outcome as it is but for its result, or as bytes where it holds what the user made."""
    if outcome.error is None and type(outcome.value) is not Expansion:
        return outcome._replace(value=None, instance=None)
    return serializer.outcome(outcome._replace(instance=None))


def with_values(ended: MemberOutcomes, values: Mapping[str, Any]) -> MemberOutcomes:
    """Return how the calls of a collapsed step ended, with what stands for their results.

    Args:
        ended: what the task returned.
        values: by member.
    """
    found = {}
    for name, member in ended.by_name.items():
        outcome: Any = member.outcome
        if type(outcome) is bytes:
            member = member._replace(outcome=deserialized_outcome(outcome))
        elif outcome is not None:
            member = member._replace(outcome=outcome._replace(value=values.get(name)))
        found[name] = member
    return MemberOutcomes(found)
