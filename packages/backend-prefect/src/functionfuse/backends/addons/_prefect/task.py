"""What Prefect runs for a node."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from contextvars import copy_context
from functools import update_wrapper
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

from prefect.context import TaskRunContext
from prefect.results import should_persist_result

from functionfuse.backends.calls import Outcome, perform
from functionfuse.backends.shipping import unpicklable_result

from .parameters import function_of, parameters_of, signature_of
from .serialization import Answer, Parcel, dumps, failure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from inspect import Signature

    from functionfuse.backends.calls import Call


class GivenUp(BaseException):
    """The run ended before a call of it."""


class NodeFunction:
    """Makes one node's call, with its plugin, retries and time limit; to Prefect it is the user's function.

    Args:
        call: the call.
        signature: that Prefect sees.
        parcel: see below.
        holds: whether the arguments are those of ``call``, whatever Prefect passes.

    Attributes:
        parcel: what travels in its place; None where nodes share the memory of the driver.
        outcome: how the last attempt ended; not known to the driver's copy when it ran in another process.
    """

    # Prefect copies the attributes in __dict__ to its task.
    __slots__ = ("__code__", "__dict__", "__signature__", "_call", "_ends", "_held", "outcome", "parcel")

    def __init__(self, call: Call, signature: Signature, parcel: Parcel | None, *, holds: bool = False) -> None:
        function = function_of(call.target)
        update_wrapper(self, function, updated=())
        code = getattr(function, "__code__", None) or getattr(getattr(function, "__init__", None), "__code__", None)
        self.__code__ = code or NodeFunction.__call__.__code__  # part of Prefect's cache keys
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.__qualname__ = call.target.qualname
        self.__signature__ = signature
        self.parcel = parcel
        self.outcome: Outcome | None = None
        self._ends: SimpleQueue[Outcome | None] = SimpleQueue()
        self._call = call._replace(args=(), kwargs={}, instance=None)
        self._held = call if holds else None

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        context = TaskRunContext.get()
        assert context is not None
        if self._held is not None:
            with _shown(context, parameters_of(self._held, self.__signature__)):
                return self._answer_here(self._of_attempt(self._held, context))
        instance, rest = (args[0], args[1:]) if self._call.target.kind == "method" else (None, args)
        call = self._of_attempt(self._call._replace(args=rest, kwargs=kwargs, instance=instance), context)
        if self.parcel is None:
            return self._answer_here(call)
        outcome = perform(call)
        if outcome.error is None and _is_looked_at():
            return _checked(_result(outcome, self._call.target.kind))
        if outcome.error is None:
            return Answer.sealed(outcome)
        raise failure(outcome)

    def forget(self) -> None:
        """Let go of the arguments: the task has ended."""
        self._held = None

    def _of_attempt(self, call: Call, context: TaskRunContext) -> Call:
        """Return a call on an object of its own where there may be another attempt: one that fails may change it."""
        retried = call.target.kind == "method" and context.task.retries
        return call._replace(instance=copy.deepcopy(call.instance)) if retried else call

    def give_up(self) -> None:
        """Let go of a call that runs in a thread of this process; Python cannot stop it."""
        self._ends.put(None)

    def _answer_here(self, call: Call) -> Any:
        thread = Thread(target=copy_context().run, args=(self._perform, call), daemon=True, name=self.__qualname__)
        thread.start()
        outcome = self._ends.get()
        if outcome is None:
            raise GivenUp(f"{self.__qualname__} was given up, and goes on in the background until it ends")
        thread.join()
        if outcome.error is None:
            self.outcome = outcome._replace(value=None, instance=None)
            return _result(outcome, self._call.target.kind) if _is_looked_at() else Answer(outcome)
        self.outcome = outcome
        if isinstance(outcome.error, Exception):
            raise outcome.error
        raise failure(outcome)  # Prefect would take it for the end of the process

    def _perform(self, call: Call) -> None:
        self._ends.put(perform(call))

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked, (self.parcel,)


@contextmanager
def _shown(context: TaskRunContext, parameters: dict[str, Any]) -> Iterator[None]:
    """Let ``prefect.runtime`` tell a call's arguments, as long as it lasts."""
    fields = vars(context)  # it is frozen
    before, fields["parameters"] = context.parameters, parameters
    try:
        yield
    finally:
        fields["parameters"] = before


def _unpacked(parcel: Parcel) -> NodeFunction:
    return NodeFunction(parcel.call, signature_of(parcel.call.target), parcel)


def _is_looked_at() -> bool:
    """Whether somebody beside the driver sees the result: Prefect's cache and storage, or hooks."""
    context = TaskRunContext.get()
    assert context is not None
    task = context.task
    return should_persist_result() or bool(task.on_completion_hooks or task.on_commit_hooks or task.on_rollback_hooks)


def _result(outcome: Outcome, kind: str) -> Any:
    return (outcome.value, outcome.instance) if kind == "method" else outcome.value


def _checked(value: Any) -> Any:
    """Return a result that another process can be sent."""
    try:
        dumps(value)
    except Exception as error:
        raise unpicklable_result(value, error) from error
    return value
