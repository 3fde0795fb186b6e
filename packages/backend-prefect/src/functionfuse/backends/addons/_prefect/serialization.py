"""Serialized calls and outcomes, for task runners whose workers are other processes."""

from __future__ import annotations

import pickle
from functools import cached_property
from typing import TYPE_CHECKING, Any

import cloudpickle
import prefect.utilities.annotations as prefect_annotations

from functionfuse.backends.serialization import Serializer, deserialized_outcome
from functionfuse.backends.texts import shown, text_of

from .parameters import parameters_of

if TYPE_CHECKING:
    from functionfuse.backends.calls import Call, Outcome
    from functionfuse.backends.worker_state import WorkerState


_opaque: Any = prefect_annotations.opaque


serializer = Serializer(cloudpickle.Pickler)


class SerializedCall:
    """A call as bytes, pickled as a whole so that what its arguments share stays shared.

    Args:
        content: the pickled call.
        state: what a worker takes over from the driver before it deserializes the call.
    """

    def __init__(self, content: bytes, state: WorkerState) -> None:
        self._content = content
        self._state = state

    @cached_property
    def loaded(self) -> Call | Exception:
        """The call, deserialized when it is first asked for; what was raised if it cannot be.

        Dask deserializes tasks where it reads messages: what is raised there ends its connection.
        """
        try:
            self._state.take_over(())
            call: Call = pickle.loads(self._content)
        except Exception as error:
            error.add_note("while a worker deserialized the function and its arguments")
            return error
        return call

    def __reduce__(self) -> tuple[Any, ...]:
        return SerializedCall, (self._content, self._state)


class SerializedParameter:
    """One parameter of a serialized call, into which Prefect cannot look before the worker has it.

    Args:
        call: the serialized call; its parameters share it.
        key: the parameter's name.
    """

    def __init__(self, call: SerializedCall, key: str) -> None:
        self._origin = call, key

    def __reduce__(self) -> tuple[Any, ...]:
        return _deserialized, self._origin


class _DeserializedParameter(_opaque):  # type: ignore[misc]  # mypy cannot read its type variable
    """A parameter's value where its task runs; serialized anew as it came, since Dask's scheduler forwards it."""

    origin: tuple[SerializedCall, str]

    def __reduce__(self) -> tuple[Any, ...]:
        return _deserialized, self.origin


def _deserialized(call: SerializedCall, key: str) -> _DeserializedParameter:
    loaded = call.loaded
    parameter = _DeserializedParameter(None if isinstance(loaded, Exception) else parameters_of(loaded)[key])
    parameter.origin = call, key
    return parameter


class TaskOutcome:
    """The outcome of a call as a task returns it, into which Prefect does not look as it would into a list.

    Args:
        outcome: the outcome, within one process.
        content: the serialized outcome, from another process.
    """

    def __init__(self, outcome: Outcome | None, content: bytes = b"") -> None:
        self._outcome = outcome
        self._content = content

    @classmethod
    def serialized(cls, outcome: Outcome) -> TaskOutcome:
        """Serialize an outcome; a result that cannot be pickled is an error of its own."""
        return cls(None, serializer.outcome(outcome))

    def take(self) -> Outcome:
        """Return the outcome and release it: a second call finds nothing."""
        outcome, self._outcome = self._outcome, None
        return outcome or deserialized_outcome(self._content)


class TaskFailure(Exception):  # noqa: N818  it stands for what a function raised
    """Carries the outcome of a failed call to the driver; Prefect shows type and text of what the function raised."""

    text = ""
    representation = ""

    def __init__(self, task_outcome: TaskOutcome) -> None:
        self.task_outcome = task_outcome

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.representation

    def __reduce__(self) -> tuple[Any, ...]:
        return TaskFailure, (self.task_outcome,)


def task_failure(error: BaseException, task_outcome: TaskOutcome) -> Exception:
    """Return an exception of the same type as a failed call's error, which carries the outcome to the driver.

    Args:
        error: what the call raised.
        task_outcome: the outcome of the call.
    """
    kind = type(error)
    body: dict[str, Any] = {"text": text_of(error), "representation": shown(error)}
    body |= {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    bases = (TaskFailure, kind) if isinstance(error, Exception) else (TaskFailure,)
    try:
        stand_in: type[Exception] = type(kind.__name__, bases, body)
        made = stand_in.__new__(stand_in)
    except TypeError:  # a type that cannot be derived from
        made = TaskFailure.__new__(type(kind.__name__, (TaskFailure,), body))
    made.__dict__.update(error.__dict__, task_outcome=task_outcome)
    made.args = error.args
    return made.with_traceback(error.__traceback__)
