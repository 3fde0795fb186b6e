"""Tasks as they are sent to workers, and the reports on how they ended."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .._dag.serialization import deserialize_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._dag.serialization import Reference
    from .._dag.spec import Checkpoint
    from .._records.references import RecordLocation

    TaskEnd = Literal["value", "graph", "error", "unstored", "crashed", "blocked", "lost"]


class TaskCall(NamedTuple):
    """A task as it is sent to workers.

    Attributes:
        location: where its records are.
        key: under which its result is stored.
        name: of the task.
        function: the sha256 of the function.
        checkpoint: how to store the result; "" for not at all.
        catches: whether the result is a pair of value and exception.
        attempts: how often to call the function at most; 0 for any number.
        retry_exceptions: whether, or after which exceptions, to call it again.
        direct: indexes of those needs that are arguments themselves; the others are reported on.
        arguments: their pickle, with gaps.
        code: the pickle of the function; empty if that is long, and among the references.
        driver: the pickled state of the driver; empty for none.
        refers: whether references come first of what the task takes.
    """

    location: RecordLocation
    key: str
    name: str
    function: str
    checkpoint: Checkpoint
    catches: bool
    attempts: int
    retry_exceptions: bool | tuple[type[BaseException], ...]
    direct: frozenset[int]
    arguments: bytes
    code: bytes
    driver: bytes
    refers: bool


class TaskReferences(NamedTuple):
    """References that a task takes as they are.

    Attributes:
        inner: for each need, the one to put into containers.
        objects: those in the arguments.
        function: the one to the pickle of the function, or None.
    """

    inner: Sequence[Reference | None] = ()
    objects: Sequence[Reference] = ()
    function: Reference | None = None


class TaskReport(NamedTuple):
    """How a task ended.

    Attributes:
        ended: "value"; "graph", which goes on in its place; "error"; "unstored", because the store could not be used;
            "crashed", because no attempts are left after a crash; "blocked", because a task that it needs has no value
            yet; or "lost", because nothing valid is stored.
        data: the pickle of a graph or of an error; of a value, if the controller is to store it.
        start: seconds since the epoch.
        end: likewise.
        attempts: how often the function was called; 0 when the result was stored before.
    """

    ended: TaskEnd
    data: bytes = b""
    start: float = 0.0
    end: float = 0.0
    attempts: int = 0


class NoValue:
    """What a task that ended without a value gives to its consumers."""


def deserialized_call(
    serialized: bytes, arguments: tuple[Any, ...]
) -> tuple[TaskCall, TaskReferences, tuple[Any, ...]]:
    """Return a call, the references, and what there is of each need.

    Args:
        serialized: the serialized `TaskCall`.
        arguments: references, if there are any; then one for each need.
    """
    call: TaskCall = pickle.loads(serialized)
    return (call, arguments[0], arguments[1:]) if call.refers else (call, TaskReferences(), arguments)


def arguments_of(call: TaskCall, references: TaskReferences, needs: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a task's function.

    Args:
        call: the task.
        references: that it takes.
        needs: for each task that it needs its value, or the report on it.
    """
    return deserialize_arguments(call.arguments, needs, references.inner, references.objects)


def is_blocked(call: TaskCall, needs: Sequence[Any]) -> bool:
    """Return True if something that a task takes has no value.

    Args:
        call: the task.
        needs: for each task that it needs its value, or the report on it.
    """
    return any(
        isinstance(need, NoValue) or (index not in call.direct and pickle.loads(need).ended != "value")
        for index, need in enumerate(needs)
    )
