"""A store in memory that counts the calls of its methods: the double for tests of backends."""

from __future__ import annotations

import difflib
import fnmatch
import hashlib
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
from functionfuse.fingerprint.project import is_code
from functionfuse.run_reader import RunReader
from functionfuse.stores import OBJECTS, RUNS, hidden_of, is_hidden

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from functionfuse.errors import CorruptRecord, StorageError

    Record = tuple[bytes, dict[str, Any]]


class _Pickler(pickle.Pickler):
    """Refers to a decorated class by the name of what it was decorated to."""

    has_code = False

    def reducer_override(self, obj: object) -> Any:
        self.has_code = self.has_code or is_code(obj)
        return reduce_class(obj) or NotImplemented


class MemoryStore(RunReader):
    """Keeps results of this process as pickles, so that nothing is shared with what was saved or read.

    It is a `functionfuse.stores.Catalogue`, and a `functionfuse.stores.RecipeStore`.

    ``counts`` says how often each verb was called: a rerun that reuses everything adds nothing to
    ``counts["save"]``, as records of runs are not counted. Safe to use from many threads; a pickled copy has the
    results and its own counts.
    """

    always_read = False

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._workflows: dict[str, dict[str, Record]] = {}
        self._results: dict[tuple[bool, str], Record] = {}  # whether it is a state; the digest of its recipe
        self._equal: dict[str, str] = {}
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"MemoryStore({', '.join(self._workflows)})"

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            workflows = {name: dict(records) for name, records in self._workflows.items()}
            results, equal = dict(self._results), dict(self._equal)
        return {"always_read": self.always_read, "_workflows": workflows, "_results": results, "_equal": equal}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]  # a copy needs a lock and counts of its own
        self.__dict__.update(state)

    def new_workflow(self, workflow_name: str) -> None:
        self._count("new_workflow", workflow_name)
        with self._lock:
            self._workflows.setdefault(_checked(workflow_name), {})

    def list_workflows(self) -> list[str]:
        self._count("list_workflows")
        with self._lock:
            return sorted(name for name in self._workflows if not is_hidden(name))

    def remove_workflow(self, workflow_name: str) -> bool:
        self._count("remove_workflow", workflow_name)
        with self._lock:
            for hidden in hidden_of(workflow_name):
                self._workflows.pop(hidden, None)
            existed = self._workflows.pop(_checked(workflow_name), None) is not None
            self._forget_unnamed()
            return existed

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
        self._count("save", workflow_name)
        data, has_code = _pickled(obj)
        footer: dict[str, Any] = {
            "name": _checked(task_name),
            "workflow": _checked(workflow_name),
            "uid": uuid.uuid4().hex,
            "created": time.time(),
            "recipe": None if recipe is None else dict(recipe),
            "type": f"{type(obj).__module__}.{type(obj).__qualname__}",
            "meta": dict(meta or {}),
            "content_digest": hashlib.sha256(data).hexdigest(),
            "has_code": has_code,
        }
        with self._lock:
            records = self._workflows.setdefault(workflow_name, {})
            if create and task_name in records:
                raise LostRace(f"result {task_name!r} of workflow {workflow_name!r} was stored first by another")
            record = records[task_name] = (data, footer)
            if not create and footer["recipe"] and "digest" in footer["recipe"]:
                self._results[_key(workflow_name, footer["recipe"]["digest"])] = record
        return dict(footer)

    def find_results(self, workflow_name: str, digests: Mapping[str, str]) -> set[str]:
        self._count("find_results")
        with self._lock:
            return {name for name, digest in digests.items() if _key(workflow_name, digest) in self._results}

    def infos(self, workflow_name: str, names: Iterable[str]) -> dict[str, dict[str, Any] | CorruptRecord]:
        self._count("infos", workflow_name)
        records = self._records(workflow_name)
        return {name: dict(records[name][1]) for name in names if name in records}

    def result_info(self, workflow_name: str, digest: str) -> dict[str, Any]:
        self._count("result_info")
        return dict(self._result(workflow_name, digest)[1])

    def link_results(self, workflow_name: str, digests: Mapping[str, str]) -> dict[str, StorageError]:
        self._count("link_results")
        problems: dict[str, StorageError] = {}
        with self._lock:
            for name, digest in digests.items():
                try:
                    data, footer = self._result(workflow_name, digest)
                except TaskNotFound as error:
                    problems[name] = error
                    continue
                named = {**footer, "workflow": workflow_name, "name": name}
                self._workflows.setdefault(workflow_name, {})[name] = (data, named)
        return problems

    def content_digest(self, obj: object) -> str:
        self._count("content_digest")
        return hashlib.sha256(_pickled(obj)[0]).hexdigest()

    def equal_results(self) -> dict[str, str]:
        self._count("equal_results")
        with self._lock:
            return dict(self._equal)

    def equate_results(self, workflow_name: str, digest: str, other: str) -> None:
        self._count("equate_results")
        self._result(workflow_name, digest)
        with self._lock:
            self._equal[digest] = other

    def read_task(self, workflow_name: str, task_name: str) -> Any:
        self._count("read_task", workflow_name)
        return pickle.loads(self._record(workflow_name, task_name)[0])

    def info(self, workflow_name: str, task_name: str) -> dict[str, Any]:
        self._count("info", workflow_name)
        return dict(self._record(workflow_name, task_name)[1])

    def has_task(self, workflow_name: str, task_name: str, *, recipe: Mapping[str, str] | None = None) -> bool:
        """Return True if there is a result.

        Args:
            workflow_name: the workflow that the result belongs to.
            task_name: the name of the result.
            recipe: what the result has to be made from; None for anything.
        """
        self._count("has_task", workflow_name)
        record = self._records(workflow_name).get(_checked(task_name))
        return record is not None and (recipe is None or record[1]["recipe"] == dict(recipe))

    file_exists = has_task

    def has_tasks(self, workflow_name: str, names: Iterable[str]) -> set[str]:
        self._count("has_tasks", workflow_name)
        return self._records(workflow_name).keys() & {_checked(name) for name in names}

    def list_tasks(self, workflow_name: str, pattern: str = "*") -> list[str]:
        self._count("list_tasks", workflow_name)
        return self._matching(workflow_name, pattern)

    def remove_task(self, workflow_name: str, task_name: str | None = None, pattern: str | None = None) -> list[str]:
        self._count("remove_task", workflow_name)
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
            self._forget_unnamed()
        return names

    def _count(self, verb: str, workflow_name: str = "") -> None:
        if isinstance(workflow_name, str) and workflow_name.endswith(RUNS):
            return
        with self._lock:
            self.counts[verb] += 1

    def _result(self, workflow_name: str, digest: str) -> Record:
        with self._lock:
            record = self._results.get(_key(workflow_name, digest))
        if record is None:
            raise TaskNotFound(f"no result of workflow {workflow_name!r} has a recipe of the digest {digest!r}")
        return record

    def _forget_unnamed(self) -> None:
        """Remove the results that no name has any more."""
        named = {
            _key(workflow, (record[1]["recipe"] or {}).get("digest", ""))
            for workflow, records in self._workflows.items()
            for record in records.values()
        }
        self._results = {key: record for key, record in self._results.items() if key in named}

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


def _pickled(obj: object) -> tuple[bytes, bool]:
    """Return an object as bytes, and whether they refer to code of the project."""
    stream = io.BytesIO()
    pickler = _Pickler(stream, protocol=5)
    pickler.dump(obj)
    return stream.getvalue(), pickler.has_code


def _key(workflow_name: str, digest: str) -> tuple[bool, str]:
    return workflow_name.endswith(OBJECTS), digest


def _checked(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise InvalidNameError(f"a workflow or task name must be a non-empty string, got {name!r}")
    return name
