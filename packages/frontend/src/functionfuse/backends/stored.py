"""What one run reads from its store, and saves to it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from functionfuse.backends.frames import StoredResultLost
from functionfuse.backends.objects import states_of
from functionfuse.backends.texts import described
from functionfuse.errors import CorruptRecord, StorageError, TaskNotFound
from functionfuse.file_check import with_files
from functionfuse.stores import is_hidden, objects_of, state_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from functionfuse.backends.frames import Frame, Task
    from functionfuse.backends.planning import Planner
    from functionfuse.stores import Store


def name_results(planner: Planner, only: str | None = None) -> list[StoredResultLost]:
    """Let the names of reused steps have the results that their recipes find.

    Args:
        planner: that made the plans.
        only: the one step whose result is named; all without it.

    Returns:
        Which results are not there any more.
    """
    lookup, lost = planner.lookup, []
    if lookup is not None and lookup.finder is not None:
        for workflow_name, digests in lookup.take_links().items():
            if only is not None:
                digests = {only: digests[only]} if only in digests and not is_hidden(workflow_name) else {}
            for name, problem in lookup.finder.link_results(workflow_name, digests).items():
                lost.append(StoredResultLost(state_of(name) if is_hidden(workflow_name) else name, problem))
    return lost


def difference_to_stored(store: Any, workflow_name: str, name: str, value: Any) -> str:
    """Return how a value differs from the stored result of a name, as far as digests of content tell.

    Args:
        store: that has the result.
        workflow_name: the workflow.
        name: of the result.
        value: the value.
    """
    stored, made = store.info(workflow_name, name).get("content_digest"), store.content_digest(value)
    return "its result has another content than the stored one" if stored and made and stored != made else ""


class StoredResults:
    """The results of one workflow's steps, and the states of its stateful objects, in a store.

    Args:
        store: the store.
        workflow_name: the workflow.
    """

    def __init__(self, store: Store, workflow_name: str) -> None:
        self._store = store
        self._workflow_name = workflow_name
        self.footer: Mapping[str, Any] | None = None  # of the result that was saved last

    def save(self, task: Task, value: Any, seconds: float) -> Any:
        """Save a result.

        Args:
            task: the step.
            value: its result.
            seconds: how long it took.

        Returns:
            What consumers of the result take.
        """
        recipe = task.step.recipe
        written, meta = with_files(None if recipe is None else recipe.as_dict(), {"seconds": seconds}, value)
        self.footer = self._store.save(self._workflow_name, task.name, value, recipe=written, meta=meta)
        return self._store.read_task(self._workflow_name, task.name) if self._store.always_read else value

    def difference(self, task: Task, value: Any) -> str:
        """Return how a result that was made again differs from the stored one, as far as that can be told.

        Args:
            task: the step.
            value: its result.
        """
        compare = getattr(self._store, "difference", None) or partial(difference_to_stored, self._store)
        try:
            return compare(self._workflow_name, task.name, value)
        except StorageError as error:
            return f"it cannot be compared: {described(error)}"

    def finish(self, names: Sequence[str]) -> None:
        """Wait until results are stored, where the store of the run saves them while others are made.

        Args:
            names: of the results.
        """
        finish = getattr(self._store, "finish", None)
        if finish is not None:
            finish(names)

    def save_state(self, task: Task, instance: Any) -> None:
        """Save the state of a stateful object after a call on it, for a later run to go on from there.

        Args:
            task: the call, which has a recipe.
            instance: the object.
        """
        assert task.step.recipe is not None
        self._store.save(objects_of(self._workflow_name), task.name, instance, recipe=task.step.recipe.as_dict())

    def read(self, frame: Frame, name: str) -> Any:
        """Return a stored result, or for a constructor the last state of its stateful object.

        Args:
            frame: of the step.
            name: the step's name in it.

        Raises:
            StoredResultLost: it cannot be read.
        """
        if frame.plan[name].target.kind == "constructor":
            return self.read_state(frame, states_of(frame.plan).last[name])
        full_name = frame.full_name(name)
        return self._read(self._workflow_name, full_name, full_name)

    def read_state(self, frame: Frame, after: str) -> Any:
        """Return the state of a stateful object that was stored after a step.

        Args:
            frame: of the step.
            after: the step's name in it.

        Raises:
            StoredResultLost: it cannot be read.
        """
        full_name = frame.full_name(after)
        return self._read(objects_of(self._workflow_name), full_name, state_of(full_name))

    def _read(self, workflow_name: str, name: str, known_as: str) -> Any:
        try:
            return self._store.read_task(workflow_name, name)
        except (TaskNotFound, CorruptRecord) as error:
            raise StoredResultLost(known_as, error) from error
