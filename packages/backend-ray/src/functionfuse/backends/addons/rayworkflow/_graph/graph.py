"""A graph of Function Fuse as one durable task: its nodes are stored one by one, so that it goes on where it was."""

from __future__ import annotations

import pickle
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse.backends.builtin._ray.run import run_on_ray
from functionfuse.backends.interruption import Runs
from functionfuse.backends.serialization import unserializable_result
from functionfuse.errors import StorageError
from functionfuse.files import secret_values
from functionfuse.stores import CAPSULES, OBJECTS, RecipeStore, is_hidden, keeps_runs

from .._dag.serialization import SERIALIZER
from .._records.journal import NODES, deserialized_store
from .._worker.context import current
from .events import callback_to
from .interrupts import ended_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .._dag.graphs import GraphRun
    from .._worker.context import TaskContext


class GraphOutcome(NamedTuple):
    """What came of a graph.

    Attributes:
        results: of the nodes that were wanted.
        warnings: what was warned of.
    """

    results: Sequence[Any]
    warnings: Sequence[str]


class GraphFailed(Exception):  # noqa: N818
    """Raised where a graph failed; says what failed, and carries it.

    Attributes:
        serialized: the failure.
        warnings: what was warned of before.
        completed: names of the nodes whose results are stored.
    """

    def __init__(self, message: str, serialized: bytes, warnings: Sequence[str], completed: Sequence[str]) -> None:
        super().__init__(message, serialized, warnings, completed)
        self.serialized = serialized
        self.warnings = warnings
        self.completed = completed

    def __str__(self) -> str:
        return str(self.args[0])


def run_graph(serialized: bytes) -> Any:
    """Run a graph here, as a driver would.

    Returns:
        What came of it; of one that stands for a node, the value of that.

    Raises:
        GraphFailed: the graph failed.
        NodeError: so did one that stands for a node.
    """
    graph_run: GraphRun = pickle.loads(serialized)
    secret_values.update(graph_run.secrets)
    if not graph_run.is_node:
        return _outcome(graph_run)
    try:
        return _outcome(graph_run).results[0]
    except GraphFailed as failure:
        raise pickle.loads(failure.serialized) from failure


def _outcome(graph_run: GraphRun) -> GraphOutcome:
    context = current.get()
    assert context is not None
    store = RunStore(graph_run, context)
    spec = graph_run.spec._replace(store=store, given=None)
    runs = Runs()
    callback = callback_to(graph_run.event_channel) if graph_run.event_channel else None
    with warnings.catch_warnings(record=True) as caught, ended_by(graph_run.interrupts, runs):
        warnings.simplefilter("always")
        try:
            observers = [callback] if callback else []
            results = run_on_ray(spec, observers=observers, saved=store.noted(), runs=runs)
        except Exception as error:
            failure = SERIALIZER.dumps_with_errors(error)
            message = f"{type(error).__name__}: {error}"
            raise GraphFailed(message, failure, _messages(caught), sorted(runs.completed)) from error
    return GraphOutcome(results, _messages(caught))


class RunStore:
    """The store of one run, which knows what this run stored in it.

    Without a store of the user's it is a part of the one for durable workflows.
    """

    def __init__(self, graph_run: GraphRun, context: TaskContext) -> None:
        location = context.location
        self._serialized = graph_run.store or location.store
        self._folder = "" if graph_run.store else f"{NODES}{location.workflow_id}/{location.run}"
        self._notes_all = graph_run.spec.reuse != "recipe"
        self._location = location
        self._task = f"{context.key}/"
        self._prefix = self._task if self._folder else ""  # of names, as several graphs share the folder
        self.always_read = bool(self._store.always_read)
        self.keeps_runs = bool(graph_run.store) and keeps_runs(self._store)

    @property
    def _store(self) -> Any:
        return deserialized_store(self._serialized)

    def new_workflow(self, workflow_name: str) -> None:
        """Make room for results."""
        self._store.new_workflow(self._named(workflow_name))

    def save(self, workflow_name: str, task_name: str, obj: Any, **options: Any) -> Mapping[str, Any]:
        """Store a result; where its recipe cannot find it, note that this run made it.

        Args:
            workflow_name: under which the store keeps results.
            task_name: the name of the result.
            obj: the result.
            options: of the store.
        """
        try:
            footer: Mapping[str, Any] = self._store.save(
                self._named(workflow_name), self._prefix + task_name, obj, **options
            )
        except StorageError:
            raise
        except Exception as error:
            raise unserializable_result(obj, error) from error
        if (self._notes_all or options.get("recipe") is None) and not is_hidden(workflow_name):
            self._location.journal.put(f"node/{self._task}{task_name}", "node")
        return footer

    def read_task(self, workflow_name: str, task_name: str) -> Any:
        """Return a result.

        Args:
            workflow_name: under which the store keeps results.
            task_name: the name of the result.
        """
        return self._store.read_task(self._named(workflow_name), self._prefix + task_name)

    def info(self, workflow_name: str, task_name: str) -> Mapping[str, Any]:
        """Return the footer of a result.

        Args:
            workflow_name: under which the store keeps results.
            task_name: the name of the result.
        """
        footer: Mapping[str, Any] = self._store.info(self._named(workflow_name), self._prefix + task_name)
        return footer

    def has_tasks(self, workflow_name: str, names: Iterable[str]) -> set[str]:
        """Return the names that have a result.

        Args:
            workflow_name: under which the store keeps results.
            names: of results.
        """
        prefix = self._prefix
        found: set[str] = self._store.has_tasks(self._named(workflow_name), [prefix + name for name in names])
        return {name.removeprefix(prefix) for name in found}

    def noted(self) -> set[str]:
        """Return the names of what this run stored and a recipe cannot find."""
        noted = self._location.journal.names("node")
        return {name.removeprefix(self._task) for name in noted if name.startswith(self._task)}

    def __getattr__(self, name: str) -> Any:
        if (
            name.startswith("_")
            or (name == "submit" and self._notes_all)
            or (name in vars(RecipeStore) and self._folder)
        ):
            raise AttributeError(name)
        return getattr(self._store, name)

    def _named(self, workflow_name: str) -> str:
        if not self._folder:
            return workflow_name
        return self._folder + next((kind for kind in (OBJECTS, CAPSULES) if workflow_name.endswith(kind)), "")


def _messages(caught: Sequence[warnings.WarningMessage]) -> list[str]:
    return [str(warning.message) for warning in caught if warning.category is UserWarning]
