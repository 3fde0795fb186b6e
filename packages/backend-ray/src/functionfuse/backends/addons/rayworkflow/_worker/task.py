"""What workers do: call a function, and store what it returned before anybody hears of it."""

from __future__ import annotations

import pickle
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeGuard

import ray
from ray import cloudpickle
from ray.dag import DAGNode

from functionfuse.backends.shipping import unpicklable_result
from functionfuse.errors import StorageError
from functionfuse.nodes import Deferred

from .._dag.capture import Captured
from .._dag.graphs import as_dag
from .._dag.serialization import pack, pack_error, unpack, unpack_arguments, unpack_error
from .._dag.spec import key_of
from .._records.functions import keep_function
from .._records.references import Place, are_kept, keep_all, load_all
from .._records.results import Results, results_in
from .context import TaskContext, current

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._dag.serialization import Reference
    from .._dag.spec import Checkpoint

    Ended = Literal["value", "graph", "error", "unstored", "blocked", "lost"]


SMALL = 32 << 10  # bytes of a result that the controller stores with others


class Job(NamedTuple):
    """A task as workers are told of it.

    Attributes:
        place: where its records are.
        key: under which its result is stored.
        name: of the task.
        function: the sha256 of the function.
        checkpoint: how to store the result; "" for not at all.
        catches: whether the result is a pair of value and exception.
        attempts: how often to call the function at most; 0 for any number.
        retry_exceptions: whether, or after which exceptions, to call it again.
        direct: places of those needs that are arguments themselves; the others are reported on.
        arguments: their pickle, with gaps.
        code: the pickle of the function; empty if that is long, and among the references.
        refers: whether references come first of what the task takes.
    """

    place: Place
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


class References(NamedTuple):
    """References that a task takes as they are.

    Attributes:
        inner: for each need, the one to put into containers.
        objects: those in the arguments.
        function: the one to the pickle of the function, or None.
    """

    inner: Sequence[Reference | None] = ()
    objects: Sequence[Reference] = ()
    function: Reference | None = None


class Report(NamedTuple):
    """How a task ended.

    Attributes:
        ended: "value"; "graph", which goes on in its place; "error"; "unstored", because the store could not be used;
            "blocked", because a task that it needs has no value yet; or "lost", because nothing valid is stored.
        data: the pickle of a graph or of an error; of a value, if the controller is to store it.
        start: seconds since the epoch.
        end: likewise.
        attempts: how often the function was called; 0 when the result was stored before.
    """

    ended: Ended
    data: bytes = b""
    start: float = 0.0
    end: float = 0.0
    attempts: int = 0


class NoValue:
    """What a task that ended without a value gives to its consumers."""


def execute(packed: bytes, *taken: Any) -> tuple[bytes, Any]:
    """Run a task in a worker, unless its result is stored.

    All that can be is in one argument, as bytes: each further one, and what Ray has to pickle, takes longer than that.

    Args:
        packed: the pickled job.
        taken: references, if there are any; for each need its value, or the report on it if only containers have it.

    Returns:
        The pickled report, and the value.
    """
    job, references, needs = unpacked_job(packed, taken)
    report, value = execute_with(lambda: _function_of(job, references), job, references, needs)
    return pickle.dumps(report), value


def unpacked_job(packed: bytes, taken: tuple[Any, ...]) -> tuple[Job, References, tuple[Any, ...]]:
    """Return a job, the references, and what there is of each need."""
    job: Job = pickle.loads(packed)
    return (job, taken[0], taken[1:]) if job.refers else (job, References(), taken)


def execute_with(
    function: Callable[[], Callable[..., Any]], job: Job, references: References, needs: Sequence[Any]
) -> tuple[Report, Any]:
    """Run a task with a function, unless its result is stored.

    Args:
        function: returns what to call.
        job: the task.
        references: that it takes.
        needs: what there is of each need.

    Returns:
        How it ended, and its value.
    """
    if is_blocked(job, needs):
        return Report("blocked"), NoValue()
    token = current.set(TaskContext(job.place.workflow_id, job.name, job.key, job.place))
    start = time.time()
    try:
        if job.checkpoint:
            stored = recall(job.place, job.key)
            if stored[0].ended != "lost":
                return stored
        return _persistently(job, function(), lambda: arguments_of(job, references, needs), start)
    except StorageError as error:
        return unstored(error, start)
    except (Exception, SystemExit) as error:  # the function cannot be loaded, or the result not be kept
        return failed(job, error, start, 1)
    finally:
        current.reset(token)


def arguments_of(job: Job, references: References, needs: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a task's function."""
    return unpack_arguments(job.arguments, needs, references.inner, references.objects)


def is_blocked(job: Job, needs: Sequence[Any]) -> bool:
    """Whether something that a task takes has no value."""
    return any(
        isinstance(need, NoValue) or (place not in job.direct and pickle.loads(need).ended != "value")
        for place, need in enumerate(needs)
    )


def recall(place: Place, key: str) -> tuple[Report, Any]:
    """Return what is stored of a task in a record of its own."""
    return _recalled(place, key, place.journal.get(f"out/{key}"))


def _recalled(place: Place, key: str, record: tuple[Any, ...] | None) -> tuple[Report, Any]:
    if not is_sound(record, place):
        return Report("lost"), NoValue()
    if record[0] == "value":
        return Report("value"), unpack(record[1], load_all(place, record[2]))
    caught = place.journal.get(f"caught/{key}")
    if caught is None:
        return Report("graph", record[1]), NoValue()
    return Report("value"), (None, unpack_error(caught[1]))


def is_sound(record: tuple[Any, ...] | None, place: Place) -> TypeGuard[tuple[Any, ...]]:
    """Whether there is a record of a task, and the objects that it refers to are undamaged."""
    return record is not None and (record[0] != "value" or are_kept(place, record[2]))


def recall_output(place: Place, key: str) -> Any:
    """Return the stored value of a task, or of what went on in its place.

    Raises:
        ValueError: there is none.
    """
    asked, results = key, Results(place.journal)
    while True:
        report, value = _recalled(place, key, results.get(key))
        if report.ended == "value":
            return value
        if report.ended == "lost":
            raise ValueError(f"Cannot load output from task id {asked!r} in workflow {place.workflow_id!r}")
        key = key_of(pickle.loads(report.data).tasks[-1].name, key)


def recall_many(place: Place, keys: Sequence[str], logs: Sequence[str]) -> list[Any]:
    """Return what is stored of many tasks: all reports, pickled, then all values.

    Args:
        place: where.
        keys: of the tasks.
        logs: for each the record of the log that its result is in; "" where it has a record of its own.
    """
    journal = place.journal
    logged = {log: results_in(journal, log) for log in set(logs)}
    records = [logged[log].get(key) if log else journal.get(f"out/{key}") for key, log in zip(keys, logs, strict=True)]
    found = [_recalled(place, key, record) for key, record in zip(keys, records, strict=True)]
    return [pickle.dumps(report) for report, _ in found] + [value for _, value in found]


def _persistently(job: Job, call: Callable[..., Any], arguments: Callable[[], Any], start: float) -> tuple[Report, Any]:
    attempt = 0
    while True:
        attempt += 1
        try:
            args, kwargs = arguments()
            value = call(*args, **kwargs)
            break
        except (Exception, SystemExit) as error:
            worth = job.retry_exceptions
            again = isinstance(error, worth) if isinstance(worth, tuple) else worth
            if not again or 0 < job.attempts <= attempt:
                return failed(job, error, start, attempt)
    if isinstance(value, Deferred):
        value = as_dag(value)
    if isinstance(value, DAGNode):
        return _kept_graph(job, value, start, attempt)
    return kept(job, (value, None) if job.catches else value, start, attempt)


def failed(job: Job, error: BaseException, start: float, attempts: int) -> tuple[Report, Any]:
    if job.catches and isinstance(error, Exception):
        return kept(job, (None, unpack_error(pack_error(error))), start, attempts)
    return Report("error", pack_error(error), start, time.time(), attempts), NoValue()


def unstored(error: StorageError, start: float) -> tuple[Report, Any]:
    """Say that the store of the workflow could not be used, which nobody catches."""
    return Report("unstored", pack_error(error), start, time.time(), 1), NoValue()


def kept(job: Job, value: Any, start: float, attempts: int) -> tuple[Report, Any]:
    """Store a value, and return it; or that of whoever was faster."""
    end = time.time()
    report = Report("value", b"", start, end, attempts)
    if not job.checkpoint:
        return report, value
    try:
        packed = pack(value)
    except Exception as error:
        problem = (
            error if type(error) is TypeError and "continuation" in str(error) else unpicklable_result(value, error)
        )
        return Report("error", pack_error(problem), start, end, attempts), NoValue()
    if job.checkpoint == "grouped" and not packed.references and len(packed.data) <= SMALL:
        return report._replace(data=packed.data), value
    objects = keep_all(job.place, packed.references) if packed.references else []
    record = f"out/{job.key}", "value", packed.data, objects
    if not job.place.journal.put(*record, **about(job.name, report)):
        other = recall(job.place, job.key)
        if other[0].ended != "lost":
            return other
        job.place.journal.replace(*record, **about(job.name, report))  # one whose objects are damaged
    return report, value


def _kept_graph(job: Job, dag: DAGNode, start: float, attempts: int) -> tuple[Report, Any]:
    """Store the graph that a task returned, and the functions in it before."""
    journal = job.place.journal
    captured = Captured(dag, lambda references: keep_all(job.place, references))
    for sha, pickled in captured.functions.items():
        keep_function(job.place, sha, pickled)
    report = Report("graph", cloudpickle.dumps(captured.graph), start, time.time(), attempts)
    if job.checkpoint and not journal.put(f"out/{job.key}", "graph", report.data, **about(job.name, report)):
        return recall(job.place, job.key)
    return report, NoValue()


def about(name: str, report: Report) -> dict[str, Any]:
    """Return what is stored beside the result of a task, of this name."""
    return {
        "task": name,
        "ended": report.ended,
        "start_time": report.start,
        "end_time": report.end,
        "attempts": report.attempts,
    }


_functions: dict[str, Callable[..., Any]] = {}


def _function_of(job: Job, references: References) -> Callable[..., Any]:
    """Return the function of a task; it is loaded once in each process."""
    function = _functions.get(job.function)
    if function is None:
        pickled = job.code if references.function is None else ray.get(references.function)
        function = _functions[job.function] = cloudpickle.loads(pickled)
    return function
