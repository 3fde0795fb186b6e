"""Stateful objects as the driver sees them: actors, and the calls that were submitted to them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from .actor import StatefulObjectActor
from .signals import ControlSignal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functionfuse.backends.carried import Carried

_MOST_DEATHS = 3  # of an object's actors, one after the other, without a call that ran


class ActorHandle:
    """A stateful object that lives in an actor.

    When the actor dies, another one takes the last state that a store has, or makes the object anew, and repeats the
    calls that ran since.

    Args:
        name: of the node that made the object.
        owner: what the nodes of the decorated class call.
        options: of the actor.
        location: the pickled store that has the object's states, and the workflow's name.
        resumed: the step after whose stored state the object goes on; without one a constructor's call comes first.

    Attributes:
        name: of the node that made the object.
        handle_id: distinguishes what the actors of this handle store from what those of other runs stored.
        storing: names of the steps after which the actor stores the state, and whether it stores their results.
        recovered: names of the steps whose calls are stored in full, though their actor died before it returned.
    """

    def __init__(
        self,
        name: str,
        owner: Carried,
        options: Mapping[str, Any],
        location: tuple[bytes, str],
        resumed: str = "",
    ) -> None:
        self.name = name
        self.handle_id = uuid.uuid4().hex
        self.storing: dict[str, bool] = {}
        self.recovered: set[str] = set()
        # In the dashboard, actors have the names of their classes.
        self._class = ray.remote(**options)(_named(name)) if options else ray.remote(_named(name))
        self._owner = owner
        self._location = location
        self._resumed = resumed
        self._positions = {resumed: 0} if resumed else {}  # of calls that change the object, by the names of steps
        self._states: dict[str, tuple[int, Any]] = {}  # what readers take: after how many calls, and its reference
        self._submitted: dict[Any, _ActorCall] = {}
        self._done: list[_ActorCall] = []
        self._deaths = 0
        self._actor = self._class.remote(owner)
        self._adopting = self._actor.adopt.remote(1, *location, resumed) if resumed else None

    def call(self, method: str, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Submit a call of a method whose arguments are values or references; return the reference of its result.

        Args:
            method: of the object.
            name: of the step.
            args: positional arguments of the method.
            kwargs: keyword arguments of the method.
        """
        return self._submit(_ActorCall("call", method, name, args, kwargs, 1))

    def submit(self, action: str, method: str, name: str, *args: Any, num_returns: int = 1) -> Any:
        """Submit a call of a method of the actor; return the reference of what it returns, or several.

        Args:
            action: the method of `StatefulObjectActor`.
            method: of the object; "" for the constructor.
            name: of the step.
            args: arguments of the method, but for the position.
            num_returns: how many values it returns.
        """
        return self._submit(_ActorCall(action, method, name, args, {}, num_returns))

    def state_for(self, reader: str) -> Any:
        """Return a reference to the object as the step ``reader`` sees it, however often that step is submitted."""
        position, reference = self._states.get(reader, (len(self._positions), None))
        if reference is None:
            reference = self._send(_ActorCall("state", "", f"state of {self.name}", (), {}, 1), position)
            self._states[reader] = position, reference
        return reference

    def forget_state_for(self, reader: str) -> None:
        """Ask anew for the object as a step sees it: the actor refused, or died."""
        if reader in self._states:
            self._states[reader] = self._states[reader][0], None

    def release_state_for(self, reader: str) -> None:
        """Release the object as a step saw it, when the step has run."""
        self._states.pop(reader, None)

    def confirm(self, reference: Any) -> None:
        """Note that the call with this reference ran."""
        call = self._submitted.pop(reference, None)
        if call is not None:
            self._done.append(call)
            self._deaths = 0

    def end(self) -> None:
        """Kill the actor, whatever it runs."""
        ray.kill(self._actor)

    def revive(self) -> bool:
        """Bring the object to its last known state, in another actor if this one died.

        Returns:
            False when the actors keep dying.

        Raises:
            StoredResultUnreadable: the stored state that the object goes on from cannot be read.
        """
        done = self._calls_done()
        if done is None:
            self._deaths += 1
            if self._deaths > _MOST_DEATHS:
                return False
            self._actor, self._adopting = self._class.remote(self._owner), None
            done = 0
        try:
            if not done:
                self._recover()
            return done >= len(self._done) + bool(self._resumed) or self._catch_up()
        except RayActorError:
            return False

    def __getitem__(self, key: Any) -> Any:
        return ActorHandleItem(self, (key,))

    def _submit(self, call: _ActorCall) -> Any:
        returned = self._send(call, self._positions.setdefault(call.name, len(self._positions)))
        self._submitted[returned if call.num_returns == 1 else returned[0]] = call
        return returned

    def _send(self, call: _ActorCall, position: int) -> Any:
        action = getattr(self._actor, call.action)
        args = (f"{position}.{call.method}", *call.args)
        # What options(name=...).remote(...) comes to, without making a class for every call.
        return action._remote(args=args, kwargs=call.kwargs, name=call.name, num_returns=call.num_returns)

    def _recover(self) -> None:
        """Note the calls that are stored in full, though the actor died before it returned."""
        submitted = {self._positions[call.name]: reference for reference, call in self._submitted.items()}
        calls = []
        for position in range(len(self._done) + bool(self._resumed), len(self._positions)):
            name = self._submitted[submitted[position]].name if position in submitted else ""
            if name not in self.storing:
                break
            calls.append((name, self.storing[name]))
        if not calls:
            return
        try:
            stored = ray.get(self._actor.stored_calls.remote(*self._location, self.handle_id, calls))
        except RayTaskError as error:
            raise error.cause from error
        for name in stored:
            self._done.append(self._submitted.pop(submitted[self._positions[name]]))
            self.recovered.add(name)

    def _catch_up(self) -> bool:
        calls = dict(enumerate(self._done, start=bool(self._resumed)))
        names = {position: call.name for position, call in calls.items() if call.name in self.storing}
        if self._resumed:
            names[0] = self._resumed
        latest_first = sorted(names, reverse=True)
        first = next((position + 1 for position in latest_first if self._adopt(position, names[position])), 0)
        return all(self._repeat(position, call) for position, call in calls.items() if position >= first)

    def _adopt(self, position: int, name: str) -> bool:
        """Let the actor take the state that is stored after a call; return whether it could."""
        adopting, self._adopting = self._adopting, None
        try:
            ray.get(adopting or self._actor.adopt.remote(position + 1, *self._location, name))
        except RayTaskError as error:
            if name == self._resumed:
                raise error.cause from error
            return False
        return True

    def _repeat(self, position: int, call: _ActorCall) -> bool:
        try:
            ray.get(self._send(call, position))
        except RayTaskError as error:
            return isinstance(error.cause, ControlSignal)
        except RayError:
            return False
        return True

    def _calls_done(self) -> int | None:
        """Return how many calls the actor knows of; None if it died."""
        try:
            done: int = ray.get(self._actor.calls_done.remote())
        except RayActorError:
            return None
        return done


class ActorHandleItem:
    """An item of a stateful object, as it will be when a step takes it.

    Args:
        handle: of the object.
        path: keys that lead to the item.
    """

    def __init__(self, handle: ActorHandle, path: tuple[Any, ...]) -> None:
        self.handle = handle
        self.path = path

    def __getitem__(self, key: Any) -> Any:
        return ActorHandleItem(self.handle, (*self.path, key))


class _ActorCall(NamedTuple):
    action: str  # method of the actor
    method: str  # of the object
    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    num_returns: int


def _named(name: str) -> type:
    return type(name.replace("\0", " "), (StatefulObjectActor,), {})
