"""Results that are stored: how workers read them."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, TypeGuard

from functionfuse.backends.builtin._ray.unchanged import unchanged
from functionfuse.backends.serialization import deserialized_error

from .._dag.serialization import deserialize
from .._dag.spec import key_of
from .._records.references import RecordLocation, are_objects_valid, object_references
from .._records.results import TaskResults, results_in
from .calls import NoValue, TaskReport

if TYPE_CHECKING:
    from collections.abc import Sequence


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
            return unchanged(value)
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
    return [pickle.dumps(report) for report, _ in found] + [unchanged(value) for _, value in found]
