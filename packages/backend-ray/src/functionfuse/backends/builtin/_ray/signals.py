"""What workers raise instead of returning a result: failures of steps, and control signals to the driver."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from ray import cloudpickle

from functionfuse.backends.calls import Call, called
from functionfuse.backends.serialization import Serializer, deserialized_error
from functionfuse.backends.texts import described
from functionfuse.backends.tracebacks import user_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functionfuse.backends.recording import CallRecord
    from functionfuse.backends.tracebacks import CodeLine


serializer = Serializer(cloudpickle.Pickler)


class StepFailed(Exception):  # noqa: N818
    """Raised where a step of a run failed: Ray raises it in all tasks that depend on the step.

    Attributes:
        serialized: what the user's function raised, as bytes.
        message: its type and text.
        detail: how the step was called, or what else went wrong.
        seconds: how long the step took, all attempts.
        record: what was recorded of its call.
        line: of the user's code that failed.
    """

    def __init__(
        self,
        serialized: bytes,
        message: str,
        detail: str,
        seconds: float,
        record: CallRecord | None = None,
        line: CodeLine | None = None,
    ) -> None:
        super().__init__(serialized, message, detail, seconds, record, line)
        self.serialized = serialized
        self.message = message
        self.detail = detail
        self.seconds = seconds
        self.record = record
        self.line = line

    def __str__(self) -> str:
        return f"{self.message}\n  {self.detail}" + ("" if self.line is None else f"\n  {self.line}")

    def error(self) -> BaseException:
        """Return what the user's function raised."""
        return deserialized_error(self.serialized)


class RetriableStepFailed(StepFailed):
    """Raised where Ray is asked to run a failed step again."""


class ControlSignal(Exception):  # noqa: N818
    """Raised instead of returning a result, so that nothing that depends on it runs before the driver received it.

    Attributes:
        mark: identifies the signal; tasks that depend on the step raise it with the same mark.
    """

    def __init__(self, *content: Any, mark: str = "") -> None:
        self.mark = mark or uuid.uuid4().hex
        super().__init__(*content)

    def __reduce__(self) -> Any:
        return _rebuilt, (type(self), self.args, self.mark)


class GraphReturned(ControlSignal):
    """A step returned nodes: ``args`` are the Expansion, how many seconds the step took, and what was recorded."""


class ArgumentReturned(ControlSignal):
    """A step returned a large argument unchanged: ``args`` are its index or keyword, the seconds, and the record."""


class StateNotStored(ControlSignal):
    """The state of an object cannot be pickled: ``args`` are the call's result, the reason, seconds and record."""


class CallOutOfOrder(Exception):  # noqa: N818
    """Raised instead of a call of a stateful object when a call before it did not run."""


class StoredResultUnreadable(Exception):  # noqa: N818
    """Raised where a stored result could not be read.

    Attributes:
        name: of the step, or what ``state_of`` calls the state after it.
        error: what the store raised.
    """

    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(name, error)
        self.name = name
        self.error = error


class MissingItem(NamedTuple):
    """Stands for an item that a result does not have."""

    error: StepFailed


def checked_arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return the arguments as they are.

    Args:
        args: positional arguments.
        kwargs: keyword arguments.

    Raises:
        StepFailed: an argument is an item that a result does not have.
    """
    if MissingItem in map(type, args) or MissingItem in map(type, kwargs.values()):
        raise next(value.error for value in (*args, *kwargs.values()) if type(value) is MissingItem)
    return args, kwargs


def step_failure(
    error: BaseException,
    call: Call | None,
    seconds: float,
    detail: str = "",
    *,
    attempts: int = 1,
    record: CallRecord | None = None,
) -> StepFailed:
    """Return what a worker raises for an error, so that it can be pickled.

    Args:
        error: what was raised.
        call: the call that raised it, described in the message.
        seconds: how long the step took.
        detail: what the message says, without a call.
        attempts: how many there were.
        record: what was recorded of the call.
    """
    line = None
    if call is not None:
        detail, line = called(call, attempts), user_line(error)
    return StepFailed(serializer.error(error), described(error), detail, seconds, record, line)


def _rebuilt(kind: type[ControlSignal], content: tuple[Any, ...], mark: str) -> ControlSignal:
    return kind(*content, mark=mark)
