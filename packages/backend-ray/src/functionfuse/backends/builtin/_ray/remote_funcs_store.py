"""Stores whose ``get_writer_funcs`` returns remote functions of Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray

from functionfuse.backends.stores_by_name import StoreByName, missing_verbs
from functionfuse.stores import is_hidden

from .values import remote_function

if TYPE_CHECKING:
    from collections.abc import Iterable


def adapted_to_ray(storage: Any, workflow_name: str) -> Any:
    """Return a store as it is, or what calls its remote functions.

    Args:
        storage: any store.
        workflow_name: of the workflow that uses it.
    """
    if not missing_verbs(storage) or not callable(getattr(storage, "get_writer_funcs", None)):
        return storage
    new_workflow, read_object, save_func = storage.get_writer_funcs(workflow_name)
    if not hasattr(save_func, "remote"):
        return storage
    return RemoteFuncsStore(repr(storage), new_workflow, read_object, save_func)


class RemoteFuncsStore(StoreByName):
    """A store of one workflow whose functions are remote ones.

    ``new_workflow.remote()`` and ``save_func.remote(task_name, (reference,))`` are called. The function that saves
    gets a reference to the result, in a tuple, and fetches it with ``ray.get(reference)`` if it has to; so saves are
    queued, and results do not pass through the driver. ``read_object.read_task`` and, if it has one,
    ``read_object.file_exists`` are functions of a task's name, remote ones or others. Those run as tasks with
    ``read_object.remote_args``.

    Args:
        name: that messages show.
        new_workflow: creates the workflow.
        read_object: reads results.
        save_func: saves a result.
    """

    def __init__(self, name: str, new_workflow: Any, read_object: Any, save_func: Any) -> None:
        self._name = name
        self._new_workflow = new_workflow
        self._read_object = read_object
        self._save_func = save_func

    def __repr__(self) -> str:
        return f"RemoteFuncsStore({self._name})"

    def new_workflow(self, workflow_name: str) -> None:  # noqa: ARG002  its functions are of one workflow
        """Create the workflow if there is none."""
        ray.get(_submitted(self._new_workflow, {}))

    def has_tasks(self, workflow_name: str, names: Iterable[str]) -> set[str]:
        """Return those of some names that have a result.

        Args:
            workflow_name: the workflow that the results belong to.
            names: names of results.
        """
        exists = getattr(self._read_object, "file_exists", None)
        if exists is None or is_hidden(workflow_name):
            return super().has_tasks(workflow_name, names)
        names = list(names)
        if hasattr(exists, "remote"):
            found = ray.get([exists.remote(name) for name in names])
        else:
            found = ray.get(_submitted(_call_each, self._remote_args, exists, names))
        return {name for name, there in zip(names, found, strict=True) if there}

    def submit(self, verb: str, workflow_name: str, task_name: str, *args: Any, **_: Any) -> Any:
        """Begin to save or to read a result, and return a reference to what comes of it.

        Args:
            verb: "save" or "read_task".
            workflow_name: the workflow that the result belongs to.
            task_name: the name of the result.
            args: to save, the reference to the result.
            _: recipe and further facts, which the store does not keep.
        """
        if verb == "read_task":
            return _submitted(self._read_object.read_task, self._remote_args, task_name)
        if is_hidden(workflow_name):
            return ray.put(None)
        return self._save_func.remote(task_name, args)

    def _save(self, workflow_name: str, task_name: str, obj: object) -> None:
        ray.get(self.submit("save", workflow_name, task_name, ray.put(obj)))

    def _read(self, workflow_name: str, task_name: str) -> Any:
        try:
            return ray.get(self.submit("read_task", workflow_name, task_name))
        except ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from None

    @property
    def _remote_args(self) -> dict[str, Any]:
        return dict(getattr(self._read_object, "remote_args", None) or {})


def _submitted(function: Any, remote_args: dict[str, Any], *args: Any) -> Any:
    """Call a remote function, or another one as a task with these options; return a reference to the result."""
    if hasattr(function, "remote"):
        return function.remote(*args)
    call = remote_function(_call)
    return (call.options(**remote_args) if remote_args else call).remote(function, *args)


def _call(function: Any, *args: Any) -> Any:
    return function(*args)


def _call_each(function: Any, names: list[str]) -> list[Any]:
    return [function(name) for name in names]
