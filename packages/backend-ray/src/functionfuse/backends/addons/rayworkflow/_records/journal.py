"""What is stored of one durable workflow: records that are written once, in a store of Function Fuse.

The records of workflow ``w`` are those of the store's workflow ``durable/w``:

========================  ==================================================================================
``spec``                  the whole graph, and the *run*: a word that is new for each workflow of this id
``<run>/fn/<sha256>``     a function
``<run>/obj/<sha256>``    the value of an ObjectRef
``<run>/out/<task>``      what a task returned: a value, or the graph that goes on in its place
``<run>/caught/<task>``   the exception that a task with catch_exceptions caught from its graph
``<run>/link/<task>/<n>`` the task that went on in the place of a deep recursion after ``n`` others
``<run>/log/<number>``    what many tasks returned; see the module ``results``
``<run>/tried/<task>/..`` how many attempts at a task with retry_exceptions failed, while Ray runs it
``<run>/wait/<task>``     until when a task sleeps, or the event that it received
``<run>/node/<name>``     that this run stored a node of Function Fuse that its recipe cannot find
``<run>/lease/<epoch>``   who runs the workflow since then
``<run>/end/<epoch>``     how that ended
========================  ==================================================================================

Beside it, ``durable events/w`` holds events that were sent to the workflow, and ``durable nodes/w/<run>`` the results
of a graph of Function Fuse whose user set no store.

Each is a tuple that begins with its kind. The store adds length and checksum; what fails them counts as not there.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ray import cloudpickle

from functionfuse.errors import (
    CorruptRecord,
    LostRace,
    MissingSerializer,
    OptionError,
    StorageError,
    TaskNotFound,
    UnsupportedRecord,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from functionfuse.stores import Catalogue

FORMAT = 1
PREFIX = "durable/"
EVENTS = "durable events/"
NODES = "durable nodes/"
_PAUSES = (0.05, 0.2, 0.8, 2.0, 4.0)  # seconds
_PERMANENT = (
    LostRace,
    TaskNotFound,
    CorruptRecord,
    UnsupportedRecord,
    MissingSerializer,
)  # errors that a retry does not change


class Journal:
    """The records of one workflow.

    Args:
        store: where they are.
        workflow_id: of the workflow.
        run: the word that separates its records from those of a deleted workflow of the same id.
    """

    def __init__(self, store: Catalogue, workflow_id: str, run: str = "") -> None:
        self.store = store
        self.workflow_id = workflow_id
        self.run = run
        self._location = records_name(workflow_id)

    def put(self, name: str, *record: Any, **meta: Any) -> bool:
        """Write a record, unless a valid one is there; return whether this one was written.

        Args:
            name: the name of the record below the run.
            record: its kind, and what it holds.
            meta: what is known of it, which can be read without it.
        """
        try:
            with_retries(self.store.save, self._location, self._full(name), record, meta=meta, create=True)
        except LostRace:  # which says only that the end of the other record is sound
            if self.get(name) is not None:
                return False
            self.replace(name, *record, **meta)
        return True

    def replace(self, name: str, *record: Any, **meta: Any) -> None:
        """Write a record in the place of one that is of no use.

        Args:
            name: the name of the record below the run.
            record: its kind, and what it holds.
            meta: what is known of it, which can be read without it.
        """
        with_retries(self.store.save, self._location, self._full(name), record, meta=meta)

    def get(self, name: str) -> tuple[Any, ...] | None:
        """Return a record; None if there is none, or none that is valid."""
        full = self._full(name)
        try:
            if not self.has(name):
                return None
            record: tuple[Any, ...] = with_retries(self.store.read_task, self._location, full)
        except (TaskNotFound, CorruptRecord):
            return None
        return record

    def require(self, name: str, what: str) -> tuple[Any, ...]:
        """Return a record that nothing can replace.

        Args:
            name: the name of the record below the run.
            what: what it is, for the error.

        Raises:
            CorruptRecord: it is damaged, or missing.
        """
        try:
            record: tuple[Any, ...] = with_retries(self.store.read_task, self._location, self._full(name))
        except (TaskNotFound, CorruptRecord) as error:
            raise CorruptRecord(
                f"{what} of workflow {self.workflow_id!r} cannot be read: {error}; put it back from a copy, or delete "
                "the workflow and run it anew"
            ) from error
        return record

    def has(self, name: str) -> bool:
        """Return True if there is a record, valid or not."""
        return bool(with_retries(self.store.has_tasks, self._location, [self._full(name)]))

    def put_or_get(self, name: str, *record: Any, **meta: Any) -> tuple[Any, ...]:
        """Write a record, and return the one that is there then: this one, or one that was written before.

        Args:
            name: the name of the record below the run.
            record: its kind, and what it holds.
            meta: what is known of it, which can be read without it.
        """
        while not self.put(name, *record, **meta):
            found = self.get(name)
            if found is not None:
                return found
        return record

    def meta(self, name: str) -> dict[str, Any] | None:
        """Return the metadata of a record, without reading it."""
        full = self._full(name)
        try:
            return dict(with_retries(self.store.info, self._location, full)["meta"]) if self.has(name) else None
        except (TaskNotFound, CorruptRecord):
            return None

    def names(self, folder: str) -> list[str]:
        """Return what is below ``<run>/<folder>/``, sorted."""
        prefix = f"{self.run}/{folder}/"
        return [name.removeprefix(prefix) for name in with_retries(self.store.list_tasks, self._location, f"{prefix}*")]

    def remove_but(self, kept: tuple[str, ...]) -> None:
        """Remove all records but those whose names begin like one of these, and results of nodes."""
        kept = tuple(map(self._full, kept))
        for name in with_retries(self.store.list_tasks, self._location):
            if not name.startswith(kept):
                with suppress(TaskNotFound):
                    with_retries(self.store.remove_task, self._location, name)
        with_retries(self.store.remove_workflow, f"{NODES}{self.workflow_id}/{self.run}")

    def remove(self) -> bool:
        """Remove all records; the first one that goes is the one by which the workflow is found."""
        with suppress(TaskNotFound):
            with_retries(self.store.remove_task, self._location, "spec")
        there = bool(with_retries(self.store.remove_workflow, self._location))
        EventInbox(self.store, self.workflow_id).remove()
        with_retries(self.store.remove_workflow, f"{NODES}{self.workflow_id}/{self.run}")
        return there

    def _full(self, name: str) -> str:
        return name if name == "spec" else f"{self.run}/{name}"


class EventInbox:
    """The events that were sent to a workflow, by key; they may come before the workflow.

    Args:
        store: where they are.
        workflow_id: of the workflow.
    """

    def __init__(self, store: Catalogue, workflow_id: str) -> None:
        self._store = store
        self._location = EVENTS + workflow_id

    def put(self, key: str, event: str) -> bool:
        """Store an event; return whether it, or its equal, is the one of this key then.

        Args:
            key: the key.
            event: the event, as JSON.
        """
        try:
            with_retries(self._store.save, self._location, key, event, create=True)
        except LostRace:  # which says only that the end of the other record is sound
            other = self.get(key)
            if other is not None:
                return other == event
            with_retries(self._store.save, self._location, key, event)
        return True

    def get(self, key: str) -> str | None:
        """Return the event of a key; None if there is none, or none that is valid."""
        try:
            if not with_retries(self._store.has_tasks, self._location, [key]):
                return None
            event: str = with_retries(self._store.read_task, self._location, key)
        except (TaskNotFound, CorruptRecord):
            return None
        return event

    def remove(self) -> bool:
        """Remove all events; return True if there were any."""
        return bool(with_retries(self._store.remove_workflow, self._location))


def with_retries(operation: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a store, and retry for some seconds while it is unavailable.

    Args:
        operation: a method of a store.
        args: its arguments.
        options: its keyword arguments.
    """
    for pause in (*_PAUSES, None):
        try:
            return operation(*args, **options)
        except _PERMANENT:
            raise
        except StorageError:
            if pause is None:
                raise
            time.sleep(pause)
    raise AssertionError


def records_name(workflow_id: str) -> str:
    """Return the store's workflow that holds the records."""
    if not isinstance(workflow_id, str):
        raise TypeError(f"workflow_id has to be a string type, got {workflow_id!r}")
    if not workflow_id:
        raise OptionError("workflow_id must not be empty")
    return PREFIX + workflow_id


def stored_ids(store: Catalogue) -> list[str]:
    """Return the ids of all workflows in a store."""
    return [name.removeprefix(PREFIX) for name in store.list_workflows() if name.startswith(PREFIX)]


def ids_with_events(store: Catalogue) -> list[str]:
    """Return the ids that events were sent to, whether there are such workflows or not."""
    return [name.removeprefix(EVENTS) for name in store.list_workflows() if name.startswith(EVENTS)]


@lru_cache(maxsize=64)
def deserialized_store(serialized_store: bytes) -> Catalogue:
    """Return the store that was pickled; once in each process."""
    store: Catalogue = cloudpickle.loads(serialized_store)
    return store
