"""What workers do: call a function, and store what it returned before the task ends."""

from __future__ import annotations

import pickle
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeGuard

import ray
from ray import cloudpickle
from ray.dag import DAGNode

from functionfuse.backends.serialization import deserialized_error, unserializable_result
from functionfuse.errors import StorageError
from functionfuse.nodes import Deferred

from .._dag.capture import CapturedDag
from .._dag.graphs import as_dag
from .._dag.serialization import SERIALIZER, deserialize, deserialize_arguments, serialize
from .._dag.spec import key_of
from .._records.functions import store_function
from .._records.references import RecordLocation, are_objects_valid, object_references, store_references
from .._records.results import TaskResults, results_in
from .context import TaskContext, current

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._dag.serialization import Reference
    from .._dag.spec import Checkpoint

    StoredOutcome = Literal["value", "graph", "error", "unstored", "blocked", "lost"]


SMALL = 32 << 10  # bytes of a result that the controller stores with others


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
            "blocked", because a task that it needs has no value yet; or "lost", because nothing valid is stored.
        data: the pickle of a graph or of an error; of a value, if the controller is to store it.
        start: seconds since the epoch.
        end: likewise.
        attempts: how often the function was called; 0 when the result was stored before.
    """

    ended: StoredOutcome
    data: bytes = b""
    start: float = 0.0
    end: float = 0.0
    attempts: int = 0


class NoValue:
    """What a task that ended without a value gives to its consumers."""


def execute(serialized: bytes, *arguments: Any) -> tuple[bytes, Any]:
    """Run a task in a worker, unless its result is stored.

    All that can be is in one argument, as bytes: each further one, and what Ray has to pickle, takes longer than that.

    Args:
        serialized: the serialized `TaskCall`.
        arguments: references, if there are any; for each need its value, or the report on it if only containers have
            it.

    Returns:
        The pickled report, and the value.
    """
    call, references, needs = deserialized_call(serialized, arguments)
    report, value = execute_with(lambda: _function_of(call, references), call, references, needs)
    return pickle.dumps(report), value


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


def execute_with(
    function: Callable[[], Callable[..., Any]], call: TaskCall, references: TaskReferences, needs: Sequence[Any]
) -> tuple[TaskReport, Any]:
    """Run a task with a function, unless its result is stored.

    Args:
        function: returns what to call.
        call: the task.
        references: that it takes.
        needs: what there is of each need.

    Returns:
        How it ended, and its value.
    """
    if is_blocked(call, needs):
        return TaskReport("blocked"), NoValue()
    token = current.set(TaskContext(call.location.workflow_id, call.name, call.key, call.location))
    start = time.time()
    try:
        if call.checkpoint:
            stored = read_result(call.location, call.key)
            if stored[0].ended != "lost":
                return stored
        return _call_with_retries(call, function(), lambda: arguments_of(call, references, needs), start)
    except StorageError as error:
        return storage_failure(error, start)
    except (Exception, SystemExit) as error:  # the function cannot be loaded, or the result not be kept
        return failure_report(call, error, start, 1)
    finally:
        current.reset(token)


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


def read_result(location: RecordLocation, key: str) -> tuple[TaskReport, Any]:
    """Return what is stored of a task in a record of its own.

    Args:
        location: where the records of the workflow are.
        key: the key of the task.
    """
    return _result_in(location, key, location.journal.get(f"out/{key}"))


def _result_in(location: RecordLocation, key: str, record: tuple[Any, ...] | None) -> tuple[TaskReport, Any]:
    if not is_valid_result(record, location):
        return TaskReport("lost"), NoValue()
    if record[0] == "value":
        return TaskReport("value"), deserialize(record[1], object_references(location, record[2]))
    caught = location.journal.get(f"caught/{key}")
    if caught is None:
        return TaskReport("graph", record[1]), NoValue()
    return TaskReport("value"), (None, deserialized_error(caught[1]))


def is_valid_result(record: tuple[Any, ...] | None, location: RecordLocation) -> TypeGuard[tuple[Any, ...]]:
    """Return True if there is a record of a task, and the objects that it refers to are undamaged.

    Args:
        record: the record, or None.
        location: where the records of the workflow are.
    """
    return record is not None and (record[0] != "value" or are_objects_valid(location, record[2]))


def read_output(location: RecordLocation, key: str) -> Any:
    """Return the stored value of a task, or of what went on in its place.

    Args:
        location: where the records of the workflow are.
        key: the key of the task.

    Raises:
        ValueError: there is none.
    """
    asked_key, results = key, TaskResults(location.journal)
    while True:
        report, value = _result_in(location, key, results.get(key))
        if report.ended == "value":
            return value
        if report.ended == "lost":
            raise ValueError(f"Cannot load output from task id {asked_key!r} in workflow {location.workflow_id!r}")
        key = key_of(pickle.loads(report.data).tasks[-1].name, key)


def read_results(location: RecordLocation, keys: Sequence[str], logs: Sequence[str]) -> list[Any]:
    """Return what is stored of many tasks: all reports, pickled, then all values.

    Args:
        location: where.
        keys: of the tasks.
        logs: for each the record of the log that its result is in; "" where it has a record of its own.
    """
    journal = location.journal
    logged = {log: results_in(journal, log) for log in set(logs)}
    records = [logged[log].get(key) if log else journal.get(f"out/{key}") for key, log in zip(keys, logs, strict=True)]
    found = [_result_in(location, key, record) for key, record in zip(keys, records, strict=True)]
    return [pickle.dumps(report) for report, _ in found] + [value for _, value in found]


def _call_with_retries(
    call: TaskCall, function: Callable[..., Any], arguments: Callable[[], Any], start: float
) -> tuple[TaskReport, Any]:
    attempt = 0
    while True:
        attempt += 1
        try:
            args, kwargs = arguments()
            value = function(*args, **kwargs)
            break
        except (Exception, SystemExit) as error:
            worth = call.retry_exceptions
            again = isinstance(error, worth) if isinstance(worth, tuple) else worth
            if not again or 0 < call.attempts <= attempt:
                return failure_report(call, error, start, attempt)
    if isinstance(value, Deferred):
        value = as_dag(value)
    if isinstance(value, DAGNode):
        return _store_graph(call, value, start, attempt)
    return store_value(call, (value, None) if call.catches else value, start, attempt)


def failure_report(call: TaskCall, error: BaseException, start: float, attempts: int) -> tuple[TaskReport, Any]:
    """Return the report on a task that failed; where it catches exceptions, store the pair.

    Args:
        call: the task.
        error: what was raised.
        start: when the task started, in seconds since the epoch.
        attempts: how often the function was called.
    """
    if call.catches and isinstance(error, Exception):
        return store_value(call, (None, deserialized_error(SERIALIZER.error(error))), start, attempts)
    return TaskReport("error", SERIALIZER.error(error), start, time.time(), attempts), NoValue()


def storage_failure(error: StorageError, start: float) -> tuple[TaskReport, Any]:
    """Return the report on a task whose store could not be used; nothing catches that.

    Args:
        error: what was raised.
        start: when the task started, in seconds since the epoch.
    """
    return TaskReport("unstored", SERIALIZER.error(error), start, time.time(), 1), NoValue()


def store_value(call: TaskCall, value: Any, start: float, attempts: int) -> tuple[TaskReport, Any]:
    """Store a value, and return it; or the one that was stored before.

    Args:
        call: the task.
        value: the value.
        start: when the task started, in seconds since the epoch.
        attempts: how often the function was called.
    """
    end = time.time()
    report = TaskReport("value", b"", start, end, attempts)
    if not call.checkpoint:
        return report, value
    try:
        serialized = serialize(value)
    except Exception as error:
        problem = (
            error if type(error) is TypeError and "continuation" in str(error) else unserializable_result(value, error)
        )
        return TaskReport("error", SERIALIZER.error(problem), start, end, attempts), NoValue()
    if call.checkpoint == "grouped" and not serialized.references and len(serialized.data) <= SMALL:
        return report._replace(data=serialized.data), value
    objects = store_references(call.location, serialized.references) if serialized.references else []
    record = f"out/{call.key}", "value", serialized.data, objects
    if not call.location.journal.put(*record, **result_metadata(call.name, report)):
        other = read_result(call.location, call.key)
        if other[0].ended != "lost":
            return other
        call.location.journal.replace(*record, **result_metadata(call.name, report))  # one whose objects are damaged
    return report, value


def _store_graph(call: TaskCall, dag: DAGNode, start: float, attempts: int) -> tuple[TaskReport, Any]:
    """Store the graph that a task returned, and the functions in it before."""
    journal = call.location.journal
    captured = CapturedDag(dag, lambda references: store_references(call.location, references))
    for sha, pickled in captured.functions.items():
        store_function(call.location, sha, pickled)
    report = TaskReport("graph", cloudpickle.dumps(captured.graph), start, time.time(), attempts)
    if call.checkpoint and not journal.put(
        f"out/{call.key}", "graph", report.data, **result_metadata(call.name, report)
    ):
        return read_result(call.location, call.key)
    return report, NoValue()


def result_metadata(name: str, report: TaskReport) -> dict[str, Any]:
    """Return what is stored beside the result of a task, of this name.

    Args:
        name: the name of the task.
        report: how it ended.
    """
    return {
        "task": name,
        "ended": report.ended,
        "start_time": report.start,
        "end_time": report.end,
        "attempts": report.attempts,
    }


_functions: dict[str, Callable[..., Any]] = {}


def _function_of(call: TaskCall, references: TaskReferences) -> Callable[..., Any]:
    """Return the function of a task; it is loaded once in each process."""
    function = _functions.get(call.function)
    if function is None:
        pickled = call.code if references.function is None else ray.get(references.function)
        function = _functions[call.function] = cloudpickle.loads(pickled)
    return function
