"""The function of a node's task, as Prefect runs it."""

from __future__ import annotations

import copy
import os
from contextlib import contextmanager
from contextvars import copy_context
from functools import update_wrapper
from inspect import Parameter, Signature
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

from prefect.context import TaskRunContext
from prefect.results import should_persist_result

from functionfuse.backends.calls import Outcome
from functionfuse.backends.performing import perform
from functionfuse.backends.serialization import unserializable_result
from functionfuse.backends.texts import has_text
from functionfuse.backends.workers import watch_driver

from .parameters import function_of, parameters_of, signature_of
from .serialization import SerializedCall, TaskOutcome, serializer, task_failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from functionfuse.backends.calls import Call


class CallAbandoned(BaseException):
    """Raised in the place of a call that was still running when the run ended."""


class NodeFunction:
    """Makes one node's call, with its plugin, retries and time limit; to Prefect it is the user's function.

    Args:
        call: the call.
        signature: that Prefect sees.
        serialized: the serialized call, where workers are other processes.
        holds: True if the arguments are those of `call`, whatever Prefect passes.

    Attributes:
        serialized: what is sent to a worker instead of this; None where nodes share the memory of the driver.
        outcome: of the last attempt; None in the driver's copy when the call was made in another process.
    """

    # Prefect copies the attributes in __dict__ to its task.
    __slots__ = ("__code__", "__dict__", "__signature__", "_call", "_ends", "_held", "outcome", "serialized")

    def __init__(
        self, call: Call, signature: Signature, serialized: SerializedCall | None, *, holds: bool = False
    ) -> None:
        function = function_of(call.target)
        update_wrapper(self, function, updated=())
        code = getattr(function, "__code__", None) or getattr(getattr(function, "__init__", None), "__code__", None)
        self.__code__ = code or NodeFunction.__call__.__code__  # part of Prefect's cache keys
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.__qualname__ = call.target.qualname
        self.__signature__ = signature
        self.serialized = serialized
        self.outcome: Outcome | None = None
        self._ends: SimpleQueue[Outcome | None] = SimpleQueue()
        self._call = call._replace(args=(), kwargs={}, instance=None)
        self._held = call if holds else None

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        context = TaskRunContext.get()
        assert context is not None
        if self._held is not None:
            with _shown(context, parameters_of(self._held, self.__signature__)):
                return self._run_in_thread(self._of_attempt(self._held, context))
        instance, rest = (args[0], args[1:]) if self._call.target.kind == "method" else (None, args)
        call = self._of_attempt(self._call._replace(args=rest, kwargs=kwargs, instance=instance), context)
        if self.serialized is None:
            return self._run_in_thread(call)
        outcome = _outcome_of(call)
        if outcome.error is None and _has_other_readers():
            return _picklable(_result(outcome, self._call.target.kind))
        if outcome.error is None:
            return TaskOutcome.serialized(outcome)
        raise task_failure(outcome.error, TaskOutcome.serialized(outcome))

    def release(self) -> None:
        """Release the arguments, once the task has ended."""
        self._held = None

    def _of_attempt(self, call: Call, context: TaskRunContext) -> Call:
        """Return a call on a copy of its stateful object if there may be another attempt, which starts from the same.

        A failed attempt may change the object halfway.
        """
        retried = call.target.kind == "method" and context.task.retries
        return call._replace(instance=copy.deepcopy(call.instance)) if retried else call

    def abandon(self) -> None:
        """End the task of a call that runs in a thread of this process; Python cannot stop the call itself."""
        self._ends.put(None)

    def _run_in_thread(self, call: Call) -> Any:
        thread = Thread(target=copy_context().run, args=(self._perform, call), daemon=True, name=self.__qualname__)
        thread.start()
        outcome = self._ends.get()
        if outcome is None:
            raise CallAbandoned(f"{self.__qualname__} was abandoned, and goes on in the background until it ends")
        thread.join()
        if outcome.error is None:
            self.outcome = outcome._replace(value=None, instance=None)
            return _result(outcome, self._call.target.kind) if _has_other_readers() else TaskOutcome(outcome)
        self.outcome = outcome
        if isinstance(outcome.error, Exception) and has_text(outcome.error):
            raise outcome.error
        raise task_failure(outcome.error, TaskOutcome(outcome))  # Prefect would take it for the end of the process

    def _perform(self, call: Call) -> None:
        self._ends.put(_outcome_of(call))

    def __reduce__(self) -> tuple[Any, ...]:
        parameters = [(parameter.name, parameter.kind) for parameter in self.__signature__.parameters.values()]
        return _deserialized_function, (self.serialized, parameters, os.getpid())


class UnloadableFunction:
    """Stands for the function of a call that a worker cannot deserialize; raises why.

    Args:
        error: what was raised.
        parameters: names and kinds of the function's parameters.
    """

    def __init__(self, error: Exception, parameters: Sequence[tuple[str, Any]]) -> None:
        self._error = error
        self.__name__ = self.__qualname__ = "function that cannot be deserialized"
        self.__signature__ = Signature([Parameter(name, kind) for name, kind in parameters])

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        outcome = Outcome(None, None, self._error, 0.0)
        raise task_failure(self._error, TaskOutcome.serialized(outcome))


def _outcome_of(call: Call) -> Outcome:
    """Return how a call ended, also where it raised what ends a run: the driver raises that again."""
    try:
        return perform(call)
    except BaseException as error:
        return Outcome(None, None, error, 0.0)


@contextmanager
def _shown(context: TaskRunContext, parameters: dict[str, Any]) -> Iterator[None]:
    """Make `prefect.runtime` show a call's arguments while it runs."""
    fields = vars(context)  # it is frozen
    before, fields["parameters"] = context.parameters, parameters
    try:
        yield
    finally:
        fields["parameters"] = before


def _deserialized_function(
    serialized: SerializedCall, parameters: Sequence[tuple[str, Any]], driver_pid: int
) -> NodeFunction | UnloadableFunction:
    watch_driver(driver_pid)
    loaded = serialized.loaded
    if isinstance(loaded, Exception):
        return UnloadableFunction(loaded, parameters)
    return NodeFunction(loaded, signature_of(loaded.target), serialized)


def _has_other_readers() -> bool:
    """Return True if others than the driver read the result: Prefect's cache and storage, or hooks."""
    context = TaskRunContext.get()
    assert context is not None
    task = context.task
    return should_persist_result() or bool(task.on_completion_hooks or task.on_commit_hooks or task.on_rollback_hooks)


def _result(outcome: Outcome, kind: str) -> Any:
    return (outcome.value, outcome.instance) if kind == "method" else outcome.value


def _picklable(value: Any) -> Any:
    """Return a result, or raise TypeError if it cannot be pickled."""
    try:
        serializer.dumps(value)
    except Exception as error:
        raise unserializable_result(value, error) from error
    return value
