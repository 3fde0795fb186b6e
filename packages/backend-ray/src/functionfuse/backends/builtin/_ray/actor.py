"""The actor of one object of a decorated class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functionfuse.backends.calls import Call, Expansion, perform
from functionfuse.stores import objects_of, state_of

from .stateful import let_travel
from .worker import OutOfTurn, answer, checked, read_result, stored_calls, unpacked

if TYPE_CHECKING:
    from functionfuse.backends.calls import Outcome
    from functionfuse.decorator import WorkflowClass

    from .worker import Packed


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
        self.is_kept = True

    def make(self, place: str, packed: bytes, *values: Any) -> None:
        """Call the constructor."""
        self._method_at(place)
        step, call = unpacked(packed, values)
        self._take_in(step, call, perform(call))

    def adopt(self, done: int, store: bytes, workflow_name: str, name: str) -> None:
        """Take over the object as it was stored after a step, which this many calls left so.

        It is read here: what comes through Ray's object store cannot be changed.
        """
        self.object = read_result(store, objects_of(workflow_name), name, state_of(name))
        self.done = done
        let_travel(type(self.object))

    def perform(self, place: str, packed: bytes, *values: Any) -> Any:
        """Call a method with all that its options ask for."""
        self._method_at(place)
        step, call = unpacked(packed, values, self.object)
        return self._take_in(step, call, perform(call))

    def call(self, place: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method whose arguments are values or references."""
        method = self.owner.methods[self._method_at(place)]
        call = Call(method, *checked(args, kwargs), self.object)
        return self._take_in(None, call, perform(call))

    def state(self, place: str) -> Any:
        """Return the object as it is between two calls."""
        self._method_at(place)
        return self.object

    def calls_done(self) -> int:
        """Return how many calls took place."""
        return self.done

    def stored_calls(self, store: bytes, workflow_name: str, actor: str, calls: list[tuple[str, bool]]) -> list[str]:
        """Return which of the first calls are stored in full."""
        return stored_calls(store, workflow_name, actor, calls)

    def _method_at(self, place: str) -> str:
        number, _, method = place.partition(".")
        if int(number) != self.done:
            raise OutOfTurn
        return method

    def _take_in(self, step: Packed | None, call: Call, outcome: Outcome) -> Any:
        if outcome.error is None:
            if type(outcome.value) is not Expansion:
                self.object = outcome.instance
                let_travel(type(self.object))
            self.done += 1
        return answer(step, call, outcome, self)
