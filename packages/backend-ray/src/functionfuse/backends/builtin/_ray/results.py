"""A store as runs on Ray see it: results are references, and workers move the bytes."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import ray
from ray import cloudpickle
from ray.exceptions import RayError, RayTaskError

from functionfuse.stores import OBJECTS, state_of

from .handle import Hosted
from .values import Promise, reference_to, remote
from .worker import Keep, read_result, save_result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from functionfuse.backends.frames import Task
    from functionfuse.stores import Store

_MOST_SAVES = 4  # at a time
_GLANCE = 5.0  # seconds without an answer after which the cluster is looked at


class Results:
    """The results of one run.

    A store with a method ``submit`` (that of kind "ray") is given references, and takes the results to its disk. Any
    other is used by the worker that made the result, or needs it.
    """

    always_read = False

    def __init__(self, store: Store | None, workflow_name: str) -> None:
        self.store = store
        self._submit = getattr(store, "submit", None)
        self.by_workers = store is not None and (self._submit is None or store.always_read)
        self.by_reference = store is not None and not self.by_workers
        self.kept_in = b"" if store is None else cloudpickle.dumps(store), workflow_name
        self._waiting: deque[tuple[str, Callable[[], Any]]] = deque()
        self._saves: dict[Any, str] = {}
        self._failed: list[tuple[str, Exception]] = []

    def keep(self, task: Task) -> Keep | None:
        """Return how the worker that makes a result stores it."""
        step = task.step
        if self.store is None or step.options.get("log"):
            return None
        recipe = None if step.recipe is None else step.recipe.as_dict()
        result = self.by_workers and step.target.kind != "constructor"
        state = step.instance is not None and recipe is not None
        return Keep(*self.kept_in, task.name, recipe, result, state) if result or state else None

    def new_workflow(self, workflow_name: str) -> None:
        """The workflow made room already."""

    def info(self, workflow_name: str, task_name: str) -> Mapping[str, Any]:
        raise NotImplementedError

    def has_tasks(self, workflow_name: str, names: Iterable[str]) -> set[str]:
        raise NotImplementedError

    def save(self, workflow_name: str, task_name: str, obj: Any, **options: Any) -> Mapping[str, Any]:
        """Store a result, unless a worker did."""
        is_kept = task_name in obj.kept if isinstance(obj, Hosted) else getattr(obj, "kept_as", "") == task_name
        if not is_kept:
            self._waiting.append((task_name, self._saver(workflow_name, task_name, obj, options)))
            self._proceed(0)
        return {}

    def read_task(self, workflow_name: str, task_name: str) -> Promise:
        """Return a promise of a stored result."""
        known_as = state_of(task_name) if workflow_name.endswith(OBJECTS) else task_name
        read = remote(read_result)
        return Promise(task_name, read.remote(self.kept_in[0], workflow_name, task_name, known_as))

    def stored(self, step_name: str, task_name: str) -> Promise:
        """Return a promise of a result that a worker stored in this run."""
        promise = self.read_task(self.kept_in[1], task_name)
        return Promise(step_name, promise.reference, task_name)

    def failures(self) -> list[tuple[str, Exception]]:
        """Wait for all saves, and return the names and errors of those that failed."""
        while self._waiting or self._saves:
            self._proceed(_GLANCE)
        return self._failed

    def _proceed(self, timeout: float) -> None:
        """Take in the saves that ended, and begin others; Ray would start a process for each that is under way."""
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
            meta = None if seconds is None else {"seconds": seconds}
            return partial(self._submit, "save", workflow_name, task_name, reference, recipe=recipe, meta=meta)
        return partial(remote(save_result).remote, self.kept_in[0], workflow_name, task_name, recipe, reference)
