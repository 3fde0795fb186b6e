"""What stands for results and objects in a run on Ray: references, and actors."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import ray
from ray import cloudpickle
from ray.exceptions import RayActorError, RayError, RayTaskError

from functionfuse.backends.builtin._ray_worker import Expanded, Host, put_together, take_item
from functionfuse.containers import Nest, rebuild
from functionfuse.plan import Ref

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functionfuse.decorator import WorkflowClass


_MOST_DEATHS = 3  # of an object's actors, one after the other, without a call that took place


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
    """

    def __init__(self, name: str, reference: Any, kept_as: str = "") -> None:
        self.name = name
        self.reference = reference
        self.kept_as = kept_as
        self._items: dict[str, Promise] = {}

    def __getitem__(self, key: Any) -> Promise:
        """Return an item of it, which travels without the rest."""
        item = self._items.get(repr(key))
        if item is None:
            reference = remote(take_item).remote(self.reference, Ref(self.name, (key,)))
            item = self._items[repr(key)] = Promise(self.name, reference)
        return item


class Hosted:
    """An object that lives in an actor.

    When the actor dies, another one is made and goes through the calls that took place, from the constructor on.

    Attributes:
        name: of the node that made it.
        kept: names of the steps after which the actor stores its state itself.
    """

    def __init__(self, name: str, owner: WorkflowClass, options: Mapping[str, Any]) -> None:
        self.name = name
        self.kept: set[str] = set()
        self._owner = owner
        self._options = options
        self._places: dict[str, int] = {}  # of calls that change the object, by the names of their steps
        self._states: dict[str, tuple[int, Any]] = {}  # what readers take: after how many calls, and its reference
        self._sent: dict[Any, _HostCall] = {}
        self._done: list[_HostCall] = []
        self._deaths = 0
        self._start()

    def call(self, method: str, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call a method of the object in its turn, and return the reference of its result."""
        return self._submit(_HostCall("call", method, name, args, kwargs))

    def submit(self, action: str, name: str, *args: Any) -> Any:
        """Let the host do something in its turn, and return the reference of what it returns."""
        return self._submit(_HostCall(action, "", name, args, {}))

    def state_for(self, reader: str) -> Any:
        """Return a reference to the object as a step sees it, however often that is handed over."""
        place, reference = self._states.get(reader, (len(self._places), None))
        if reference is None:
            reference = self._send(_HostCall("state", "", f"state of {self.name}", (), {}), place)
            self._states[reader] = place, reference
        return reference

    def forget_state_for(self, reader: str) -> None:
        """Ask anew for what a step sees: the actor refused, or died."""
        if reader in self._states:
            self._states[reader] = self._states[reader][0], None

    def confirm(self, reference: Any) -> None:
        """Take in that a call took place."""
        call = self._sent.pop(reference, None)
        if call is not None:
            self._done.append(call)
            self._deaths = 0

    def release(self, reader: str) -> None:
        """A step has taken the object."""
        self._states.pop(reader, None)

    def revive(self) -> bool:
        """Make another actor if this one is dead; False when they keep dying."""
        if not self._is_dead():
            return True
        self._deaths += 1
        if self._deaths > _MOST_DEATHS:
            return False
        self._start()
        return all(self._took_place_again(place, call) for place, call in enumerate(self._done))

    def __getitem__(self, key: Any) -> Any:
        return _ItemOfHosted(self, (key,))

    def _start(self) -> None:
        self._actor = _host_class().options(**self._options).remote(self._owner)

    def _submit(self, call: _HostCall) -> Any:
        reference = self._send(call, self._places.setdefault(call.name, len(self._places)))
        self._sent[reference] = call
        return reference

    def _send(self, call: _HostCall, place: int) -> Any:
        action = getattr(self._actor, call.action)
        # What options(name=...).remote(...) comes to, without making a class for every call.
        return action._remote(args=(f"{place}.{call.method}", *call.args), kwargs=call.kwargs, name=call.name)

    def _took_place_again(self, place: int, call: _HostCall) -> bool:
        try:
            ray.get(self._send(call, place))
        except RayTaskError as error:
            return isinstance(error.cause, Expanded)
        except RayError:
            return False
        return True

    def _is_dead(self) -> bool:
        try:
            ray.get(self._actor.alive.remote())
        except RayActorError:
            return True
        return False


class _ItemOfHosted:
    """An item of an object, as it will be when somebody takes it."""

    def __init__(self, host: Hosted, path: tuple[Any, ...]) -> None:
        self.host = host
        self.path = path

    def __getitem__(self, key: Any) -> Any:
        return _ItemOfHosted(self.host, (*self.path, key))


class _HostCall(NamedTuple):
    action: str  # method of the host
    method: str  # of the object
    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@cache
def _host_class() -> Any:
    return ray.remote(Host)


def reference_to(value: Any, reader: str) -> Any:
    """Return an ObjectRef of what a frame holds as a value, for the step that takes it."""
    if isinstance(value, Hosted):
        return value.state_for(reader)
    if isinstance(value, _ItemOfHosted):
        return remote(take_item).remote(value.host.state_for(reader), Ref(value.host.name, value.path))
    if isinstance(value, Promise):
        return value.reference
    # The result of a dynamic step: a container with such values inside.
    refs: dict[Ref, Any] = {}

    def leaf(item: Any) -> Any:
        if not isinstance(item, Promise | Hosted | _ItemOfHosted):
            return item
        ref = Ref(str(len(refs)))
        refs[ref] = reference_to(item, reader)
        return ref

    container = Nest(rebuild(value, leaf))
    if not refs:
        return ray.put(value)
    return remote(put_together).remote(cloudpickle.dumps((container, tuple(refs))), *refs.values())
