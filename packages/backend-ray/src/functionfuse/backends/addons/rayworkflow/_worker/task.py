"""What workers do: call a function, and store what it returned before the task ends."""

from __future__ import annotations

import pickle
import time
from typing import TYPE_CHECKING, Any

import ray
from ray import cloudpickle
from ray.dag import DAGNode
from ray.exceptions import WorkerCrashedError

from functionfuse.backends.builtin._ray.unchanged import unchanged
from functionfuse.backends.serialization import deserialized_error, unserializable_result
from functionfuse.backends.worker_state import WorkerOutdated, reloads
from functionfuse.deferred import Deferred
from functionfuse.errors import StorageError

from .._dag.capture import CapturedDag
from .._dag.graphs import as_dag
from .._dag.serialization import SERIALIZER, serialize
from .._records.environment import state_of_driver
from .._records.functions import store_function
from .._records.references import store_references
from .attempts import AttemptCount
from .calls import NoValue, TaskCall, TaskReferences, TaskReport, arguments_of, deserialized_call, is_blocked
from .context import TaskContext, current
from .reading import read_result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


SMALL = 32 << 10  # bytes of a result that the controller stores with others


def execute(serialized: bytes, *arguments: Any) -> tuple[Any, bytes]:
    """Run a task in a worker, unless its result is stored.

    All that can be is in one argument, as bytes: each further one, and what Ray has to pickle, takes longer than that.

    Args:
        serialized: the serialized `TaskCall`.
        arguments: references, if there are any; for each need its value, or the report on it if only containers have
            it.

    Returns:
        The value, and the pickled report. When Ray cannot pickle a value, the report behind it is not sent either.
    """
    call, references, needs = deserialized_call(serialized, arguments)
    report, value = execute_with(lambda: _function_of(call, references), call, references, needs)
    return unchanged(value), pickle.dumps(report)


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
    if call.driver:
        try:
            needs = state_of_driver(call.driver).take_over(needs)
        except WorkerOutdated as error:
            return failure_report(call, error, time.time(), 1)
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


def _call_with_retries(
    call: TaskCall, function: Callable[..., Any], arguments: Callable[[], Any], start: float
) -> tuple[TaskReport, Any]:
    attempts = AttemptCount(call)
    if attempts.had_failures and attempts.are_spent:  # without failures, Ray would not have started the task again
        error = SERIALIZER.error(WorkerCrashedError())
        return TaskReport("crashed", error, start, time.time(), attempts.number), NoValue()
    while True:
        attempts.number += 1
        try:
            args, kwargs = arguments()
            value = function(*args, **kwargs)
            break
        except BaseException as error:
            worth = call.retry_exceptions
            again = isinstance(error, worth) if isinstance(worth, tuple) else worth
            if not again or attempts.are_spent:
                return failure_report(call, error, start, attempts.number)
            attempts.record_failure()
    attempt = attempts.number
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
    if call.catches:
        caught = None, deserialized_error(SERIALIZER.error(error))
        return store_value(call._replace(catches=False), caught, start, attempts)
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
        return failure_report(call, problem, start, attempts)
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


_functions: dict[tuple[str, int], Callable[..., Any]] = {}


def _function_of(call: TaskCall, references: TaskReferences) -> Callable[..., Any]:
    """Return the function of a task; a process loads it once, and again after modules were loaded anew."""
    key = call.function, reloads()
    function = _functions.get(key)
    if function is None:
        pickled = call.code if references.function is None else ray.get(references.function)
        function = _functions[key] = cloudpickle.loads(pickled)
    return function
