"""What one run reads from its store, and saves to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functionfuse.backends.frames import StoredResultLost
from functionfuse.backends.objects import states_of
from functionfuse.errors import CorruptRecord, TaskNotFound
from functionfuse.stores import objects_of, state_of

if TYPE_CHECKING:
    from functionfuse.backends.frames import Frame, Task
    from functionfuse.stores import Store


class StoredResults:
    """The results of one workflow's steps, and the states of its stateful objects, in a store.

    Args:
        store: the store.
        workflow_name: the workflow.
    """

    def __init__(self, store: Store, workflow_name: str) -> None:
        self._store = store
        self._workflow_name = workflow_name

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
        written = recipe.as_dict() if recipe is not None else None
        self._store.save(self._workflow_name, task.name, value, recipe=written, meta={"seconds": seconds})
        return self._store.read_task(self._workflow_name, task.name) if self._store.always_read else value

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
