"""What Ray's workers read and write of stored results, beside those of the steps that they run."""

from __future__ import annotations

from typing import Any

from functionfuse.backends.stored import difference_to_stored
from functionfuse.errors import CorruptRecord, StorageError, TaskNotFound
from functionfuse.file_check import with_files
from functionfuse.stores import objects_of, state_of

from .serialized import deserialize_store
from .signals import StoredResultUnreadable


def read_result(store: bytes, workflow_name: str, name: str, known_as: str) -> Any:
    """Return a stored result.

    Args:
        store: the pickled store.
        workflow_name: under which the store has the result.
        name: of the result's step.
        known_as: what an error calls the result.

    Raises:
        StoredResultUnreadable: the store raised an error.
    """
    try:
        return deserialize_store(store).read_task(workflow_name, name)
    except Exception as error:
        raise StoredResultUnreadable(known_as, error) from None


def stored_calls(store: bytes, workflow_name: str, handle_id: str, calls: list[tuple[str, bool]]) -> list[str]:
    """Return the names of the first calls of a stateful object that are stored in full: the state, and any result.

    Args:
        store: the pickled store.
        workflow_name: under which the store has the results.
        handle_id: of the actor handle; see `StorageRequest`.
        calls: names of calls, in order, and whether their results are stored.

    Raises:
        StoredResultUnreadable: the store raised an error, but for a record that is missing or damaged.
    """
    stored: list[str] = []
    for name, has_result in calls:
        workflows = (objects_of(workflow_name), workflow_name) if has_result else (objects_of(workflow_name),)
        try:
            infos = [deserialize_store(store).info(workflow, name) for workflow in workflows]
        except (TaskNotFound, CorruptRecord):
            break
        except Exception as error:
            raise StoredResultUnreadable(state_of(name), error) from None
        if any((info.get("meta") or {}).get("handle_id") != handle_id for info in infos):
            break
        stored.append(name)
    return stored


def save_result(store: bytes, workflow_name: str, name: str, recipe: Any, value: Any) -> None:
    """Store a result that was made from results of several workers.

    Args:
        store: the pickled store.
        workflow_name: under which the store has the result.
        name: of the result's step.
        recipe: that the result is stored with.
        value: the result.
    """
    recipe, meta = with_files(recipe, {}, value)
    deserialize_store(store).save(workflow_name, name, value, recipe=recipe, meta=meta)


def compare_result(store: bytes, workflow_name: str, name: str, value: Any) -> str:
    """Return how a result that was made again differs from the stored one.

    Args:
        store: the pickled store.
        workflow_name: under which the store has the result.
        name: of the result's step.
        value: the new result.
    """
    try:
        return difference_to_stored(deserialize_store(store), workflow_name, name, value)
    except StorageError as error:
        return f"it cannot be compared: {error}"
