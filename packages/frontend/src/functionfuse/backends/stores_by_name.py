"""Stores that know results by their names alone, as the specification and the original have them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from functionfuse.errors import CorruptRecord, OptionError, TaskNotFound
from functionfuse.stores import is_hidden

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from functionfuse.stores import Store

_VERBS = ("always_read", "new_workflow", "save", "read_task", "info", "has_tasks")


def missing_verbs(storage: object) -> list[str]:
    """Return the verbs of `functionfuse.stores.Store` that an object does not have."""
    return [verb for verb in _VERBS if not hasattr(storage, verb)]


def adapted_store(storage: Any) -> Store:
    """Return a store, or what gives it the verbs that it does not have.

    Raises:
        OptionError: the object is not a store.
    """
    missing = missing_verbs(storage)
    if not missing:
        return storage  # type: ignore[no-any-return]
    if callable(getattr(storage, "save", None)) and callable(getattr(storage, "read_task", None)):
        return PlainStore(storage)  # type: ignore[return-value]  # its always_read is that of the storage
    if callable(getattr(storage, "get_writer_funcs", None)):
        return WriterFuncsStore(storage)
    raise OptionError(f"{storage!r} is not a store: it has no {', '.join(missing)}, and no get_writer_funcs")


class StoreByName(ABC):
    """A store without recipes, with the verbs that a backend uses.

    Its results are reused with ``reuse="name"`` only. States of stateful objects are not stored.
    """

    always_read = False
    keeps_recipes = False

    @abstractmethod
    def new_workflow(self, workflow_name: str) -> None:
        """Create a workflow if there is none of this name."""

    @abstractmethod
    def _save(self, workflow_name: str, task_name: str, obj: object) -> None: ...

    @abstractmethod
    def _read(self, workflow_name: str, task_name: str) -> Any: ...

    def _exists(self, workflow_name: str, task_name: str) -> bool:
        try:
            self.read_task(workflow_name, task_name)
        except TaskNotFound:
            return False
        return True

    def save(self, workflow_name: str, task_name: str, obj: object, **_: object) -> Mapping[str, Any]:
        if not is_hidden(workflow_name):
            self._save(workflow_name, task_name, obj)
        return self.info(workflow_name, task_name)

    def read_task(self, workflow_name: str, task_name: str) -> Any:
        try:
            return self._read(workflow_name, task_name)
        except (FileNotFoundError, KeyError) as error:
            raise TaskNotFound(f"no result {task_name!r} in workflow {workflow_name!r}: {error!r}") from error

    def info(self, workflow_name: str, task_name: str) -> Mapping[str, Any]:  # noqa: ARG002  as other stores
        return {"name": task_name, "recipe": None}

    def has_tasks(self, workflow_name: str, names: Iterable[str]) -> set[str]:
        if is_hidden(workflow_name):
            return set()
        return {name for name in names if self._exists(workflow_name, name)}


class PlainStore(StoreByName):
    """A store that has ``save`` and ``read_task``.

    It may have ``new_workflow`` and ``always_read``. Which results exist, ``file_exists(workflow_name, task_name)``
    says, or without it an attempt to read them. What it cannot read, it may raise as its ``invalid_exception``.

    Args:
        storage: the store.
    """

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    def __repr__(self) -> str:
        return f"PlainStore({self._storage!r})"

    @property
    def always_read(self) -> bool:  # type: ignore[override]
        """When true, a backend passes on what it reads back after saving, not what the function returned."""
        return bool(getattr(self._storage, "always_read", False))

    def new_workflow(self, workflow_name: str) -> None:
        """Create a workflow, if the store has a method for it."""
        create = getattr(self._storage, "new_workflow", None)
        if create is not None:
            create(workflow_name)

    def _save(self, workflow_name: str, task_name: str, obj: object) -> None:
        self._storage.save(workflow_name, task_name, obj)

    def _read(self, workflow_name: str, task_name: str) -> Any:
        try:
            return self._storage.read_task(workflow_name, task_name)
        except getattr(self._storage, "invalid_exception", ()) as error:
            raise CorruptRecord(f"result {task_name!r} in workflow {workflow_name!r}: {error!r}") from error

    def _exists(self, workflow_name: str, task_name: str) -> bool:
        exists = getattr(self._storage, "file_exists", None)
        return super()._exists(workflow_name, task_name) if exists is None else bool(exists(workflow_name, task_name))


class WriterFuncsStore(StoreByName):
    """A store that has only ``get_writer_funcs``, as the specification asks of every store.

    ``get_writer_funcs(workflow_name)`` returns ``(new_workflow, read_object, save_func)``: a function without
    arguments, an object with ``read_task(task_name)``, and a function of a task's name and result. Which
    results exist, ``read_object.file_exists`` tells, or without it an attempt to read them.

    Args:
        storage: the store.
    """

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self._funcs: dict[str, tuple[Any, Any, Any]] = {}

    def __repr__(self) -> str:
        return f"WriterFuncsStore({self._storage!r})"

    def new_workflow(self, workflow_name: str) -> None:
        """Create a workflow if there is none of this name."""
        self._of(workflow_name)[0]()

    def _save(self, workflow_name: str, task_name: str, obj: object) -> None:
        self._of(workflow_name)[2](task_name, obj)

    def _read(self, workflow_name: str, task_name: str) -> Any:
        return self._of(workflow_name)[1].read_task(task_name)

    def _exists(self, workflow_name: str, task_name: str) -> bool:
        exists = getattr(self._of(workflow_name)[1], "file_exists", None)
        return super()._exists(workflow_name, task_name) if exists is None else bool(exists(task_name))

    def _of(self, workflow_name: str) -> tuple[Any, Any, Any]:
        if workflow_name not in self._funcs:
            self._funcs[workflow_name] = self._storage.get_writer_funcs(workflow_name)
        return self._funcs[workflow_name]
