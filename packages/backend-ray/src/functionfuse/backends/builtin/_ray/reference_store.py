"""A store as runs on Ray use it: results are references, and workers transfer the bytes."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import ray
from ray import cloudpickle
from ray.exceptions import RayError, RayTaskError

from functionfuse.stores import OBJECTS, state_of

from .actor_handle import ActorHandle
from .serialized import StorageRequest
from .stored_results import compare_result, read_result, save_result
from .values import Promise, reference_to, remote_function

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from functionfuse.backends.frames import Task
    from functionfuse.stores import Store

_MOST_SAVES = 4  # at a time
_CHECK_SECONDS = 5.0  # without a finished save after which the cluster is checked


class ReferenceStore:
    """The store of one run.

    A store with a method ``submit`` (that of kind "ray") receives references, and writes the results to its disk. Any
    other is used by the worker that made the result, or needs it.

    Args:
        store: the user's store, if there is one.
        workflow_name: under which it has the results.

    Attributes:
        store: the user's store, if there is one.
        location: the pickled store, and the workflow's name.
        by_workers: whether workers store the results that they make.
        by_reference: whether the store receives references to results.
    """

    always_read = False

    def __init__(self, store: Store | None, workflow_name: str) -> None:
        self.store = store
        self._submit = getattr(store, "submit", None)
        self.by_workers = store is not None and (self._submit is None or store.always_read)
        self.by_reference = store is not None and not self.by_workers
        self.location = b"" if store is None else cloudpickle.dumps(store), workflow_name
        self._waiting: deque[tuple[str, Callable[[], Any]]] = deque()
        self._saves: dict[Any, str] = {}
        self._failed: list[tuple[str, Exception]] = []

    def storage_request(self, task: Task) -> StorageRequest | None:
        """Return what the worker that runs a task stores; None if it stores nothing."""
        step = task.step
        if self.store is None or step.options.log or step.action == "verify":
            return None
        recipe = step.recipe.as_dict() if step.recipe is not None and task.frame.has_recipe(step) else None
        result = self.by_workers and step.target.kind != "constructor"
        state = step.instance is not None and recipe is not None
        return StorageRequest(*self.location, task.name, recipe, result, state) if result or state else None

    def new_workflow(self, workflow_name: str) -> None:
        """Do nothing: the workflow called the store's own method."""

    def info(self, workflow_name: str, task_name: str) -> Mapping[str, Any]:
        """Raise NotImplementedError: the planner asks the store itself.

        Args:
            workflow_name: of the result.
            task_name: of the result.
        """
        raise NotImplementedError

    def has_tasks(self, workflow_name: str, names: Iterable[str]) -> set[str]:
        """Raise NotImplementedError: the planner asks the store itself.

        Args:
            workflow_name: of the results.
            names: of the results.
        """
        raise NotImplementedError

    def save(self, workflow_name: str, task_name: str, obj: Any, **options: Any) -> Mapping[str, Any]:
        """Store a result, unless a worker did; `failures` waits for it.

        Args:
            workflow_name: of the result.
            task_name: of the result.
            obj: the promise of the result, or the actor handle of a stateful object.
            options: ``recipe``; others are left out.
        """
        is_actor = isinstance(obj, ActorHandle)
        is_stored = task_name in obj.storing if is_actor else getattr(obj, "stored_as", "") == task_name
        if not is_stored:
            self._waiting.append((task_name, self._saver(workflow_name, task_name, obj, options)))
            self._proceed(0)
        return {}

    def read_task(self, workflow_name: str, task_name: str) -> Promise:
        """Return a promise of a stored result.

        Args:
            workflow_name: of the result.
            task_name: of the result.
        """
        known_as = state_of(task_name) if workflow_name.endswith(OBJECTS) else task_name
        read = remote_function(read_result)
        return Promise(task_name, read.remote(self.location[0], workflow_name, task_name, known_as))

    def difference(self, workflow_name: str, task_name: str, obj: Any) -> str:
        """Return how a result that was made again differs from the stored one.

        Args:
            workflow_name: of the result.
            task_name: of the result.
            obj: the promise of the new result.
        """
        compare = remote_function(compare_result)
        found: str = ray.get(compare.remote(self.location[0], workflow_name, task_name, obj.reference))
        return found

    def read_stored(self, step_name: str, task_name: str) -> Promise:
        """Return a promise of a result that a worker stored in this run.

        Args:
            step_name: of the result's step, in its frame.
            task_name: of the result, in the store.
        """
        promise = self.read_task(self.location[1], task_name)
        return Promise(step_name, promise.reference, task_name)

    def finish(self, names: Sequence[str]) -> None:
        """Wait until the saves of results have ended; `failures` tells which failed.

        Args:
            names: of the results.
        """
        while not {*self._saves.values(), *(name for name, _ in self._waiting)}.isdisjoint(names):
            self._proceed(_CHECK_SECONDS)

    def failures(self) -> list[tuple[str, Exception]]:
        """Wait for all saves, and return the names and errors of those that failed."""
        while self._waiting or self._saves:
            self._proceed(_CHECK_SECONDS)
        failed, self._failed = self._failed, []
        return failed

    def _proceed(self, timeout: float) -> None:
        """Take the saves that ended, and begin others; Ray would start a process for each that is under way."""
        if self._saves:
            ended, _ = ray.wait(list(self._saves), num_returns=1, timeout=timeout)
            check_cluster = getattr(self.store, "check_cluster", None)
            if not ended and timeout and check_cluster is not None:
                check_cluster()
            for reference in ended:
                name = self._saves.pop(reference)
                try:
                    ray.get(reference)
                except RayTaskError as error:
                    self._failed.append((name, error.cause if isinstance(error.cause, Exception) else error))
                except RayError as error:
                    self._failed.append((name, error))
        while self._waiting and len(self._saves) < _MOST_SAVES:
            name, save = self._waiting.popleft()
            self._saves[save()] = name

    def _saver(self, workflow_name: str, task_name: str, obj: Any, options: Mapping[str, Any]) -> Callable[[], Any]:
        reference, recipe = reference_to(obj, task_name), options.get("recipe")
        if self._submit is not None:
            seconds = getattr(obj, "seconds", None)
            meta = {} if seconds is None else {"seconds": seconds}
            return partial(self._submit, "save", workflow_name, task_name, reference, recipe=recipe, meta=meta)
        save = remote_function(save_result)
        return partial(save.remote, self.location[0], workflow_name, task_name, recipe, reference)
