"""A store in memory that counts the calls of its methods: the double for tests of backends."""

from __future__ import annotations

import difflib
import fnmatch
import io
import pickle
import re
import threading
import time
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

from functionfuse.decorator import reduce_class
from functionfuse.errors import InvalidNameError, LostRace, OptionError, TaskNotFound
from functionfuse.stores import OBJECTS, objects_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Record = tuple[bytes, dict[str, Any]]


class _Pickler(pickle.Pickler):
    """Refers to a decorated class by the name of what it was decorated to."""

    def reducer_override(self, obj: object) -> Any:
        return reduce_class(obj) or NotImplemented


class MemoryStore:
    """Keeps results of this process as pickles, so that nothing is shared with what was saved or read.

    It is a `functionfuse.stores.Catalogue`.

    ``counts`` says how often each verb was called: a rerun that reuses everything adds nothing to
    ``counts["save"]``. Safe to use from many threads; a pickled copy has the results and its own counts.
    """

    always_read = False

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._workflows: dict[str, dict[str, Record]] = {}
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"MemoryStore({', '.join(self._workflows)})"

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            workflows = {name: dict(records) for name, records in self._workflows.items()}
        return {"always_read": self.always_read, "_workflows": workflows}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]  # a copy needs a lock and counts of its own
        self.__dict__.update(state)

    def new_workflow(self, workflow_name: str) -> None:
        self._count("new_workflow")
        with self._lock:
            self._workflows.setdefault(_checked(workflow_name), {})

    def list_workflows(self) -> list[str]:
        self._count("list_workflows")
        with self._lock:
            return sorted(name for name in self._workflows if not name.endswith(OBJECTS))

    def remove_workflow(self, workflow_name: str) -> bool:
        self._count("remove_workflow")
        with self._lock:
            self._workflows.pop(objects_of(workflow_name), None)
            return self._workflows.pop(_checked(workflow_name), None) is not None

    def save(
        self,
        workflow_name: str,
        task_name: str,
        obj: object,
        *,
        recipe: Mapping[str, str] | None = None,
        meta: Mapping[str, Any] | None = None,
        create: bool = False,
    ) -> dict[str, Any]:
        self._count("save")
        stream = io.BytesIO()
        _Pickler(stream, protocol=5).dump(obj)
        data = stream.getvalue()
        footer = {
            "name": _checked(task_name),
            "workflow": _checked(workflow_name),
            "uid": uuid.uuid4().hex,
            "created": time.time(),
            "recipe": None if recipe is None else dict(recipe),
            "type": f"{type(obj).__module__}.{type(obj).__qualname__}",
            "meta": dict(meta or {}),
        }
        with self._lock:
            records = self._workflows.setdefault(workflow_name, {})
            if create and task_name in records:
                raise LostRace(f"result {task_name!r} of workflow {workflow_name!r} was stored first by another")
            records[task_name] = (data, footer)
        return dict(footer)

    def read_task(self, workflow_name: str, task_name: str) -> Any:
        self._count("read_task")
        return pickle.loads(self._record(workflow_name, task_name)[0])

    def info(self, workflow_name: str, task_name: str) -> dict[str, Any]:
        self._count("info")
        return dict(self._record(workflow_name, task_name)[1])

    def has_task(self, workflow_name: str, task_name: str, *, recipe: Mapping[str, str] | None = None) -> bool:
        """Return True if there is a result.

        Args:
            workflow_name: the workflow that the result belongs to.
            task_name: the name of the result.
            recipe: what the result has to be made from; None for anything.
        """
        self._count("has_task")
        record = self._records(workflow_name).get(_checked(task_name))
        return record is not None and (recipe is None or record[1]["recipe"] == dict(recipe))

    file_exists = has_task

    def has_tasks(self, workflow_name: str, names: Iterable[str]) -> set[str]:
        self._count("has_tasks")
        return self._records(workflow_name).keys() & {_checked(name) for name in names}

    def list_tasks(self, workflow_name: str, pattern: str = "*") -> list[str]:
        self._count("list_tasks")
        return self._matching(workflow_name, pattern)

    def remove_task(self, workflow_name: str, task_name: str | None = None, pattern: str | None = None) -> list[str]:
        self._count("remove_task")
        with self._lock:
            if pattern is not None:
                names = self._matching(workflow_name, pattern)
            elif task_name is not None:
                self._record(workflow_name, task_name)
                names = [task_name]
            else:
                raise OptionError("remove_task needs task_name or pattern")
            for name in names:
                del self._workflows[workflow_name][name]
        return names

    def _count(self, verb: str) -> None:
        with self._lock:
            self.counts[verb] += 1

    def _records(self, workflow_name: str) -> dict[str, Record]:
        """Return the records of a workflow as they are now."""
        with self._lock:
            return dict(self._workflows.get(_checked(workflow_name), {}))

    def _matching(self, workflow_name: str, pattern: str) -> list[str]:
        matches = re.compile(fnmatch.translate(pattern)).match
        return sorted(filter(matches, self._records(workflow_name)))

    def _record(self, workflow_name: str, task_name: str) -> Record:
        records = self._records(workflow_name)
        if _checked(task_name) in records:
            return records[task_name]
        close = " or ".join(map(repr, difflib.get_close_matches(task_name, records)))
        hint = f"; did you mean {close}?" if close else ""
        raise TaskNotFound(f"no result {task_name!r} in workflow {workflow_name!r}{hint}")


def _checked(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise InvalidNameError(f"a workflow or task name must be a non-empty string, got {name!r}")
    return name
