"""How tasks of Ray ended: what they raised, and the error of a node that follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray
import ray.experimental
from ray.exceptions import RayError, RayTaskError

from functionfuse.backends.calls import Outcome
from functionfuse.backends.frames import StoredResultLost
from functionfuse.backends.serialization import worker_died
from functionfuse.errors import CorruptRecord, TaskNotFound

from .signals import StepFailed

if TYPE_CHECKING:
    from functionfuse.backends.frames import Task
    from functionfuse.backends.recording import CallRecord

    from .signals import StoredResultUnreadable

_LARGEST_NOTHING = 64  # bytes of a serialized result that is too small to be an error


def errors_of(references: list[Any], *, is_client: bool) -> dict[Any, Exception]:
    """Return what the tasks of references raised; large results are not fetched for it.

    Args:
        references: of tasks that ended.
        is_client: whether this process is a client of Ray, which cannot see where results are.
    """
    locations = {} if is_client else ray.experimental.get_local_object_locations(references)
    errors = {}
    for reference in references:
        location = locations.get(reference) or {}
        if location.get("node_ids") or 0 < (location.get("object_size") or 0) < _LARGEST_NOTHING:
            continue
        try:
            ray.get(reference)
        except RayTaskError as error:
            errors[reference] = error.cause if isinstance(error.cause, Exception) else error
        except RayError as error:
            errors[reference] = error
        except Exception:  # noqa: S112  a result that only workers can unpickle
            continue
    return errors


def outcome_of(task: Task, error: Exception, seconds: float) -> tuple[Outcome, str]:
    """Return the outcome of a step that failed, and what the message says of the call.

    Args:
        task: the task that failed.
        error: what it raised.
        seconds: since it was submitted.
    """
    if isinstance(error, StepFailed):
        record = _fetched(error.record)
        return Outcome(None, None, error.error(), error.seconds, record=record, line=error.line), error.detail
    if isinstance(error, RayError):
        died = worker_died(task.name, task.step.target.qualname, error)
        return Outcome(None, None, died, seconds), ""
    # Raised by Ray around the call: the type of the result is not known here.
    cause = TypeError(f"the result cannot be pickled, or what it was given cannot be unpickled: {error}")
    cause.__cause__ = error
    return Outcome(None, None, cause, seconds), ""


def _fetched(record: CallRecord | None) -> CallRecord | None:
    """Return what was recorded of a call that failed, with its capsule, which a worker may still have."""
    if record is None or record.capsule is None or isinstance(record.capsule, bytes):
        return record
    try:
        return record._replace(capsule=ray.get(record.capsule))
    except RayError as error:
        return record._replace(capsule=None, problem=f"it was lost with its worker: {error}")


def storage_error(unreadable: StoredResultUnreadable) -> Exception:
    """Return StoredResultLost for a stored result that is missing or damaged, which is made again; else its error."""
    if isinstance(unreadable.error, TaskNotFound | CorruptRecord):
        return StoredResultLost(unreadable.name, unreadable.error)
    return unreadable.error
