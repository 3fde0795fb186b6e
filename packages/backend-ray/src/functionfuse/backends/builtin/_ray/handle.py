"""Objects of decorated classes as the driver sees them: actors, and the calls that were made of them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from .actor import Host
from .worker import Instead

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functionfuse.decorator import WorkflowClass

_MOST_DEATHS = 3  # of an object's actors, one after the other, without a call that took place


class Hosted:
    """An object that lives in an actor.

    When the actor dies, another one takes the last state that a store has, or makes the object anew, and goes through
    the calls that took place since.

    Args:
        name: of the node that made it.
        owner: its class.
        options: of its actor.
        kept_in: the pickled store that has its states, and the workflow's name.
        resumed: the step after whose stored state the object goes on; without one a constructor's call comes first.

    Attributes:
        kept: names of the steps after which the actor stores its state itself, and whether it stores their results.
        recovered: names of the steps whose calls took place before an actor died that could not report it any more.
        identity: tells what its actors store from what others did.
    """

    def __init__(
        self,
        name: str,
        owner: WorkflowClass,
        options: Mapping[str, Any],
        kept_in: tuple[bytes, str],
        resumed: str = "",
    ) -> None:
        self.name = name
        self.kept: dict[str, bool] = {}
        self.recovered: set[str] = set()
        self.identity = uuid.uuid4().hex
        # In the dashboard, actors have the names of their classes.
        self._class = ray.remote(**options)(_named(name)) if options else ray.remote(_named(name))
        self._owner = owner
        self._kept_in = kept_in
        self._resumed = resumed
        self._places = {resumed: 0} if resumed else {}  # of calls that change the object, by the names of their steps
        self._states: dict[str, tuple[int, Any]] = {}  # what readers take: after how many calls, and its reference
        self._sent: dict[Any, _HostCall] = {}
        self._done: list[_HostCall] = []
        self._deaths = 0
        self._actor = self._class.remote(owner)
        self._adopting = self._actor.adopt.remote(1, *kept_in, resumed) if resumed else None

    def call(self, method: str, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call a method of the object in its turn, and return the reference of its result."""
        return self._submit(_HostCall("call", method, name, args, kwargs, 1))

    def submit(self, action: str, name: str, *args: Any, num_returns: int = 1) -> Any:
        """Let the host do something in its turn, and return the reference of what it returns, or several."""
        return self._submit(_HostCall(action, "", name, args, {}, num_returns))

    def state_for(self, reader: str) -> Any:
        """Return a reference to the object as a step sees it, however often that is handed over."""
        place, reference = self._states.get(reader, (len(self._places), None))
        if reference is None:
            reference = self._send(_HostCall("state", "", f"state of {self.name}", (), {}, 1), place)
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
        """Bring the object to where it was, in another actor if this one is dead; False when they keep dying.

        Raises:
            Lost: the stored state that it goes on from cannot be read.
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
        return ItemOfHosted(self, (key,))

    def _submit(self, call: _HostCall) -> Any:
        answer = self._send(call, self._places.setdefault(call.name, len(self._places)))
        self._sent[answer if call.num_returns == 1 else answer[0]] = call
        return answer

    def _send(self, call: _HostCall, place: int) -> Any:
        action = getattr(self._actor, call.action)
        args = (f"{place}.{call.method}", *call.args)
        # What options(name=...).remote(...) comes to, without making a class for every call.
        return action._remote(args=args, kwargs=call.kwargs, name=call.name, num_returns=call.num_returns)

    def _recover(self) -> None:
        """Take in the calls that are stored in full, though the actor died before it could report that they ended."""
        sent = {self._places[call.name]: reference for reference, call in self._sent.items()}
        calls = []
        for place in range(len(self._done) + bool(self._resumed), len(self._places)):
            name = self._sent[sent[place]].name if place in sent else ""
            if name not in self.kept:
                break
            calls.append((name, self.kept[name]))
        if not calls:
            return
        try:
            stored = ray.get(self._actor.stored_calls.remote(*self._kept_in, self.identity, calls))
        except RayTaskError as error:
            raise error.cause from error
        for name in stored:
            self._done.append(self._sent.pop(sent[self._places[name]]))
            self.recovered.add(name)

    def _catch_up(self) -> bool:
        calls = dict(enumerate(self._done, start=bool(self._resumed)))
        names = {place: call.name for place, call in calls.items() if call.name in self.kept}
        if self._resumed:
            names[0] = self._resumed
        first = next((place + 1 for place in sorted(names, reverse=True) if self._adopted(place, names[place])), 0)
        return all(self._took_place_again(place, call) for place, call in calls.items() if place >= first)

    def _adopted(self, place: int, name: str) -> bool:
        """Whether the actor could take the state that was stored after a call."""
        adopting, self._adopting = self._adopting, None
        try:
            ray.get(adopting or self._actor.adopt.remote(place + 1, *self._kept_in, name))
        except RayTaskError as error:
            if name == self._resumed:
                raise error.cause from error
            return False
        return True

    def _took_place_again(self, place: int, call: _HostCall) -> bool:
        try:
            ray.get(self._send(call, place))
        except RayTaskError as error:
            return isinstance(error.cause, Instead)
        except RayError:
            return False
        return True

    def _calls_done(self) -> int | None:
        """Return how many calls the actor knows of; None if it is dead."""
        try:
            done: int = ray.get(self._actor.calls_done.remote())
        except RayActorError:
            return None
        return done


class ItemOfHosted:
    """An item of an object, as it will be when somebody takes it."""

    def __init__(self, host: Hosted, path: tuple[Any, ...]) -> None:
        self.host = host
        self.path = path

    def __getitem__(self, key: Any) -> Any:
        return ItemOfHosted(self.host, (*self.path, key))


class _HostCall(NamedTuple):
    action: str  # method of the host
    method: str  # of the object
    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    num_returns: int


def _named(name: str) -> type:
    return type(name.replace("\0", " "), (Host,), {})
