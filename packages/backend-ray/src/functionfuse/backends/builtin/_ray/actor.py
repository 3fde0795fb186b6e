"""The actor of one stateful object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functionfuse.backends.calls import Call, Expansion
from functionfuse.backends.performing import perform
from functionfuse.stores import objects_of, state_of

from .serialized import deserialize_step
from .signals import CallOutOfOrder, StateNotStored, checked_arguments
from .stateful_classes import register_class
from .stored_results import read_result, stored_calls
from .worker import complete_step, loaded

if TYPE_CHECKING:
    from functionfuse.backends.calls import Outcome
    from functionfuse.backends.carried import Carried

    from .serialized import SerializedStep


class StatefulObjectActor:
    """The actor of one stateful object.

    Calls run in the order of the program, or not at all: each comes with its position, ``"number.method"``, and is
    refused unless as many calls ran before. So nothing overtakes a call whose arguments failed, or are not
    made yet.

    Args:
        owner: what the nodes of the decorated class call.
    """

    def __init__(self, owner: Carried) -> None:
        self._owner = owner
        self._object: Any = None
        self._done = 0
        self._stores_state = True

    def make(self, position: str, serialized: bytes, *values: Any) -> Any:
        """Call the constructor, and return nothing, or what was recorded.

        Args:
            position: of the call.
            serialized: the pickled step.
            values: of the references in its arguments.
        """
        self._method_at(position)
        owner, values = loaded(self._owner, values)
        step, call = deserialize_step(serialized, owner, values)
        return self._complete(step, call, perform(call))

    def adopt(self, done: int, store: bytes, workflow_name: str, name: str) -> None:
        """Take the object from the state that is stored after a step.

        It is read here: what comes through Ray's object store cannot be changed.

        Args:
            done: how many calls led to that state.
            store: the pickled store.
            workflow_name: under which the store has the results.
            name: of the step.

        Raises:
            StoredResultUnreadable: the store raised an error.
        """
        loaded(self._owner)
        self._object = read_result(store, objects_of(workflow_name), name, state_of(name))
        self._done = done
        register_class(type(self._object))

    def perform(self, position: str, serialized: bytes, *values: Any) -> Any:
        """Call a method with all the options of its step.

        Args:
            position: of the call.
            serialized: the pickled step.
            values: of the references in its arguments.
        """
        method = self._method_at(position)
        owner, values = loaded(self._owner, values)
        step, call = deserialize_step(serialized, owner.methods[method], values, self._object)
        return self._complete(step, call, perform(call))

    def call(self, position: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method whose arguments are values or references.

        Args:
            position: of the call.
            args: positional arguments of the method.
            kwargs: keyword arguments of the method.
        """
        method = self._method_at(position)
        owner, args, kwargs = loaded(self._owner, *checked_arguments(args, kwargs))
        call = Call(owner.methods[method], args, kwargs, self._object)
        return self._complete(None, call, perform(call))

    def state(self, position: str) -> Any:
        """Return the object as it is between two calls."""
        self._method_at(position)
        return self._object

    def calls_done(self) -> int:
        """Return how many calls ran."""
        return self._done

    def stored_calls(
        self, store: bytes, workflow_name: str, handle_id: str, calls: list[tuple[str, bool]]
    ) -> list[str]:
        """Return the names of the first calls that are stored in full.

        Args:
            store: the pickled store.
            workflow_name: under which the store has the results.
            handle_id: of the actor handle.
            calls: names of calls, in order, and whether their results are stored.

        Raises:
            StoredResultUnreadable: the store raised an error.
        """
        return stored_calls(store, workflow_name, handle_id, calls)

    def _method_at(self, position: str) -> str:
        number, _, method = position.partition(".")
        if int(number) != self._done:
            raise CallOutOfOrder
        return method

    def _complete(self, step: SerializedStep | None, call: Call, outcome: Outcome) -> Any:
        if outcome.error is None:
            if type(outcome.value) is not Expansion:
                self._object = outcome.instance
                register_class(type(self._object))
            self._done += 1
        try:
            return complete_step(step, call, outcome, stores_state=self._stores_state)
        except StateNotStored:
            self._stores_state = False  # the user is warned once
            raise
