"""Stores that offer only ``get_writer_funcs``, as the specification asks of every store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functionfuse.errors import TaskNotFound
from functionfuse.stores import OBJECTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class WriterFuncsStore:
    """Gives a store that has only ``get_writer_funcs`` the verbs that a backend uses.

    ``get_writer_funcs(workflow_name)`` returns ``(new_workflow, read_object, save_func)``: a function without
    arguments, an object with ``read_task(task_name)``, and a function of a task's name and result. Which
    results exist, ``read_object.file_exists`` tells, or without it an attempt to read them.

    Such a store stores no recipes, so results are reused with ``reuse="name"`` only. States of stateful objects are
    not stored.

    Args:
        storage: the store.
    """

    always_read = False
    keeps_recipes = False

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self._funcs: dict[str, tuple[Any, Any, Any]] = {}

    def __repr__(self) -> str:
        return f"WriterFuncsStore({self._storage!r})"

    def new_workflow(self, workflow_name: str) -> None:
        self._of(workflow_name)[0]()

    def save(self, workflow_name: str, task_name: str, obj: object, **_: object) -> Mapping[str, Any]:
        if not workflow_name.endswith(OBJECTS):
            self._of(workflow_name)[2](task_name, obj)
        return {"name": task_name, "recipe": None}

    def read_task(self, workflow_name: str, task_name: str) -> Any:
        try:
            return self._of(workflow_name)[1].read_task(task_name)
        except (FileNotFoundError, KeyError) as error:
            raise TaskNotFound(f"no result {task_name!r} in workflow {workflow_name!r}: {error!r}") from error

    def info(self, workflow_name: str, task_name: str) -> Mapping[str, Any]:  # noqa: ARG002  as other stores
        return {"name": task_name, "recipe": None}

    def has_tasks(self, workflow_name: str, names: Iterable[str]) -> set[str]:
        if workflow_name.endswith(OBJECTS):
            return set()
        exists = getattr(self._of(workflow_name)[1], "file_exists", None)
        if exists is None:
            return {name for name in names if self._can_be_read(workflow_name, name)}
        return {name for name in names if exists(name)}

    def _can_be_read(self, workflow_name: str, name: str) -> bool:
        try:
            self.read_task(workflow_name, name)
        except TaskNotFound:
            return False
        return True

    def _of(self, workflow_name: str) -> tuple[Any, Any, Any]:
        if workflow_name not in self._funcs:
            self._funcs[workflow_name] = self._storage.get_writer_funcs(workflow_name)
        return self._funcs[workflow_name]
