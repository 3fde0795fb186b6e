"""A stored workflow as a whole: its graph, who ran it, and how that ended."""

from __future__ import annotations

import logging
import pickle
import time
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from functionfuse.errors import CorruptRecord, UnsupportedRecord

from .._dag.spec import WAITS, key_of
from ..common import WorkflowStatus
from ..exceptions import WorkflowNotFoundError, WorkflowStillActiveError
from .journal import FORMAT, EventInbox, Journal, stored_ids, with_retries
from .lease_records import epoch_key, latest_epoch, owner_of
from .results import TaskResults

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functionfuse.stores import Catalogue

    from .._dag.spec import GraphSpec, TaskSpec
    from .environment import TaskEnvironment
    from .lease_records import OwnerCheck

logger = logging.getLogger(__name__)


class StoredOutcome(NamedTuple):
    """How a workflow ended.

    Attributes:
        status: "SUCCESSFUL", "FAILED" or "CANCELED".
        output: the key under which its result is stored.
        error: the pickle of the error.
        task: the name of the task that failed.
    """

    status: str
    output: str
    error: bytes
    task: str


class StoredWorkflow:
    """What is stored of a workflow."""

    def __init__(self, journal: Journal, graph: bytes, user_metadata: dict[str, Any]) -> None:
        self.journal = journal
        self.workflow_id = journal.workflow_id
        self.graph = graph
        self.user_metadata = user_metadata

    @classmethod
    def find(cls, store: Catalogue, workflow_id: str) -> Self | None:
        """Return what is stored under an id; None if that is nothing.

        Args:
            store: the store.
            workflow_id: the id of the workflow.
        """
        journal = Journal(store, workflow_id)
        if not journal.has("spec"):
            return None
        try:
            _, version, *rest = journal.require("spec", "the graph")
        except CorruptRecord:
            if journal.has("spec"):
                raise
            return None  # somebody deleted it
        if version != FORMAT:
            raise UnsupportedRecord(f"workflow {workflow_id!r} has format {version!r}; this release reads {FORMAT}")
        run, graph, user_metadata = rest
        return cls(Journal(store, workflow_id, run), graph, user_metadata)

    def status(self, reader: OwnerCheck | None = None) -> WorkflowStatus:
        """Return the status, of a workflow that ``reader`` does not run; this may take as long as a lease."""
        epoch = latest_epoch(self.journal)
        ended = self.ended(epoch)
        if ended is not None:
            return WorkflowStatus(ended.status)
        owner = owner_of(self.journal, epoch) if epoch else ""
        alive = reader is not None and bool(owner) and owner != reader.name and reader.is_alive(owner)
        return WorkflowStatus.RUNNING if alive else WorkflowStatus.RESUMABLE

    def unfinished_by(self, actor: str) -> TaskEnvironment | None:
        """Return the environment of a workflow that a process of this actor had last, and did not end; else None."""
        epoch = latest_epoch(self.journal)
        record = self.journal.get(f"lease/{epoch_key(epoch)}") if epoch and self.ended(epoch) is None else None
        if record is None or not record[1].startswith(f"{actor}|"):
            return None
        environment: TaskEnvironment = record[2]
        return environment

    def queued(self) -> float:
        """Return when the workflow came to wait for its last run, in seconds since the epoch; inf if it never did."""
        epoch = latest_epoch(self.journal)
        meta = self.journal.meta(f"lease/{epoch_key(epoch)}") if epoch else None
        return inf if meta is None else float(meta["start_time"])

    def ended(self, epoch: int | None = None) -> StoredOutcome | None:
        """Return how the workflow ended, None if it did not."""
        epoch = latest_epoch(self.journal) if epoch is None else epoch
        record = self.journal.get(f"end/{epoch_key(epoch)}") if epoch else None
        return None if record is None else StoredOutcome(*record[1:])

    def ended_at(self) -> float | None:
        """Return when the workflow ended, in seconds since the epoch of Unix; None if it did not."""
        meta = self.journal.meta(f"end/{epoch_key(latest_epoch(self.journal))}")
        return None if meta is None else float(meta["end_time"])

    def end(self, epoch: int, ended: StoredOutcome) -> None:
        """Write how the workflow ended, for its owner since an epoch.

        Args:
            epoch: since which the owner runs it.
            ended: how it ended.
        """
        self.journal.put(f"end/{epoch_key(epoch)}", "end", *ended, end_time=time.time())

    def key_of(self, task: str) -> str:
        """Return the key of a stored task, found by that or by its name; "" if nothing is stored of it."""
        results = TaskResults(self.journal)
        if results.has(task):
            return task
        return next((key for key in results.tasks() if key.startswith(f"{task}@")), "")

    def functions(self) -> list[TaskSpec]:
        """Return tasks in which all code of the graph is."""
        found: dict[tuple[str, bytes], TaskSpec] = {}
        for task in pickle.loads(self.graph).tasks:
            if task.code or task.kind == "graph":
                found.setdefault((task.function, task.arguments if task.kind == "graph" else b""), task)
        return list(found.values())

    def reached(self) -> dict[str, tuple[str, int]]:
        """Return, by the keys of tasks that are deep recursions, the key of a late link, and how many are before it."""
        last = {}
        for name in self.journal.names("link"):
            head, _, links = name.rpartition("/")
            last[head] = links
        records = {head: self.journal.get(f"link/{head}/{links}") for head, links in last.items()}
        caught = {head for head in last if self.journal.has(f"caught/{head}")}
        return {head: (record[1], int(last[head])) for head, record in records.items() if record and head not in caught}

    # -- metadata

    def metadata(self, status: WorkflowStatus) -> dict[str, Any]:
        """Return what is known of the workflow; the times are those of its last run, which a cancelled one did not end.

        Args:
            status: of the workflow.
        """
        epoch = epoch_key(latest_epoch(self.journal))
        stats = {}
        started, ended = self.journal.meta(f"lease/{epoch}"), self.journal.meta(f"end/{epoch}")
        if started is not None:
            stats["start_time"] = started["start_time"]
        if ended is not None and status is not WorkflowStatus.CANCELED:
            stats["end_time"] = ended["end_time"]
        return {"status": status.value, "user_metadata": self.user_metadata, "stats": stats}

    def task_metadata(self, task: str) -> dict[str, Any]:
        """Return what is known of a task.

        Raises:
            ValueError: there is no such task.
        """
        results = TaskResults(self.journal)
        stack: list[tuple[GraphSpec, str]] = [(pickle.loads(self.graph), "")]
        while stack:
            graph, creator = stack.pop()
            for spec in graph.tasks:
                key = key_of(spec.name, creator)
                if task in (key, spec.name):
                    return _about(spec, graph, results.about(key))
            for spec in graph.tasks:
                key = key_of(spec.name, creator)
                if results.about(key).get("ended") == "graph":
                    record = results.get(key)
                    stack += [(pickle.loads(record[1]), key)] if record else []
        raise ValueError(f"No such task_id '{task}' in workflow '{self.workflow_id}'")


def _about(spec: TaskSpec, graph: GraphSpec, known: Mapping[str, Any]) -> dict[str, Any]:
    options = spec.options
    return {
        "task_id": spec.name,
        "task_options": {
            "task_type": "WAIT" if spec.kind in WAITS else "FUNCTION",
            "max_retries": options.max_retries,
            "catch_exceptions": bool(options.catch_exceptions),
            "retry_exceptions": options.retry_exceptions,
            "checkpoint": options.checkpoint is not False,
            "ray_options": dict(options.ray_options),
        },
        "user_metadata": dict(options.metadata),
        "workflow_refs": [graph.tasks[index].name for index in spec.needs],
        "stats": {name: known[name] for name in ("start_time", "end_time", "attempts") if name in known},
    }


def unfinished_by(store: Catalogue, actor: str) -> list[tuple[StoredWorkflow, TaskEnvironment]]:
    """Return what a former process of an actor left, with its environment, in the order in which it was queued.

    Args:
        store: the store.
        actor: the word that its owners share.
    """
    found = []
    for workflow_id in with_retries(stored_ids, store):
        try:
            stored = StoredWorkflow.find(store, workflow_id)
        except (CorruptRecord, UnsupportedRecord):
            logger.exception("Failed to resume workflow %s", workflow_id)
            continue
        environment = None if stored is None else stored.unfinished_by(actor)
        if stored is not None and environment is not None:
            found.append((stored.queued(), workflow_id, stored, environment))
    return [(stored, environment) for _, _, stored, environment in sorted(found, key=lambda one: one[:2])]


def delete(store: Catalogue, workflow_id: str, reader: OwnerCheck) -> None:
    """Remove a workflow that does not run, also one whose graph is damaged, or of which there are events only.

    Args:
        store: the store.
        workflow_id: the id of the workflow.
        reader: checks whether the owner of the workflow lives.

    Raises:
        WorkflowStillActiveError: it runs.
        WorkflowNotFoundError: nothing is stored under this id.
    """
    try:
        stored = StoredWorkflow.find(store, workflow_id)
    except CorruptRecord:
        Journal(store, workflow_id).remove()
        return
    if stored is None:
        if not EventInbox(store, workflow_id).remove():
            raise WorkflowNotFoundError(workflow_id)
        return
    if stored.status(reader) is WorkflowStatus.RUNNING:
        raise WorkflowStillActiveError("DELETE", workflow_id)
    stored.journal.remove()
