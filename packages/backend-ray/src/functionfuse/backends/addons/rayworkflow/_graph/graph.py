"""A graph of Function Fuse as one durable task: its nodes are stored one by one, so that it goes on where it was."""

from __future__ import annotations

import pickle
import threading
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse.backends.builtin.rayback import RayWorkflow
from functionfuse.backends.objects import Verdict
from functionfuse.backends.planning import Planner
from functionfuse.backends.plugins import InitializerPlugin
from functionfuse.backends.shipping import unpicklable_result
from functionfuse.errors import StorageError
from functionfuse.stores import OBJECTS

from .._records.journal import NODES, deserialized_store
from .._worker.context import current
from .events import callback_to, serialize_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from functionfuse.plan import Ref, Step

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
    """

    def __init__(self, message: str, serialized: bytes, warnings: Sequence[str]) -> None:
        super().__init__(message, serialized, warnings)
        self.serialized = serialized
        self.warnings = warnings

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
    if not graph_run.is_node:
        return _ran(graph_run)
    try:
        return _ran(graph_run).results[0]
    except GraphFailed as failure:
        raise pickle.loads(failure.serialized) from failure


def _ran(graph_run: GraphRun) -> GraphOutcome:
    context = current.get()
    assert context is not None
    workflow = _Shipped(graph_run, context)
    if graph_run.event_channel and (callback := callback_to(graph_run.event_channel)) is not None:
        workflow.add_observer(callback)
    with warnings.catch_warnings(record=True) as reported:
        warnings.simplefilter("always")
        try:
            results = workflow.run(on_error=graph_run.on_error, reuse=graph_run.reuse)
        except Exception as error:
            raise GraphFailed(
                f"{type(error).__name__}: {error}", serialize_failure(error), _messages(reported)
            ) from error
    return GraphOutcome(results if len(graph_run.wanted) > 1 else [results], _messages(reported))


class _Shipped(RayWorkflow):
    """A workflow that came from a driver, without its nodes."""

    def __init__(self, graph_run: GraphRun, context: TaskContext) -> None:
        self.workflow_name = graph_run.workflow_name
        self._given = list(graph_run.wanted)  # type: ignore[arg-type]  # only counted
        self._shipment = graph_run
        self._options = graph_run.options
        self._observers = []
        self._running = threading.Lock()
        self._started_ray = False
        self._store = RunStore(graph_run, context)

    def _steps(self) -> list[Step]:
        return list(self._shipment.steps)

    def _wanted(self) -> list[Ref]:
        return list(self._shipment.wanted)

    def _planner(self, reuse: str, lost: Mapping[str, str]) -> Planner:
        store = self._store
        assert isinstance(store, RunStore)
        options_of = self._options.of if self._options else None
        planner = _RunPlanner(self.workflow_name, store, reuse, options_of, self.lacks, lost)
        planner.prepared = self._shipment.prepared
        return planner


class RunStore:
    """The store of one run, which knows what this run stored in it.

    Without a store of the user's it is a part of the one for durable workflows.
    """

    def __init__(self, graph_run: GraphRun, context: TaskContext) -> None:
        location = context.location
        self._serialized = graph_run.store or location.store
        self._folder = "" if graph_run.store else f"{NODES}{location.workflow_id}/{location.run}"
        self._notes_all = graph_run.reuse != "recipe"
        self._location = location
        self._task = f"{context.key}/"
        self._before = self._task if self._folder else ""  # of names, as several graphs share the folder
        self.always_read = bool(self._store.always_read)

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
                self._named(workflow_name), self._before + task_name, obj, **options
            )
        except StorageError:
            raise
        except Exception as error:
            raise unpicklable_result(obj, error) from error
        if (self._notes_all or options.get("recipe") is None) and not workflow_name.endswith(OBJECTS):
            self._location.journal.put(f"node/{self._task}{task_name}", "node")
        return footer

    def read_task(self, workflow_name: str, task_name: str) -> Any:
        """Return a result.

        Args:
            workflow_name: under which the store keeps results.
            task_name: the name of the result.
        """
        return self._store.read_task(self._named(workflow_name), self._before + task_name)

    def info(self, workflow_name: str, task_name: str) -> Mapping[str, Any]:
        """Return the footer of a result.

        Args:
            workflow_name: under which the store keeps results.
            task_name: the name of the result.
        """
        footer: Mapping[str, Any] = self._store.info(self._named(workflow_name), self._before + task_name)
        return footer

    def has_tasks(self, workflow_name: str, names: Iterable[str]) -> set[str]:
        """Which names have a result.

        Args:
            workflow_name: under which the store keeps results.
            names: of results.
        """
        before = self._before
        found: set[str] = self._store.has_tasks(self._named(workflow_name), [before + name for name in names])
        return {name.removeprefix(before) for name in found}

    def noted(self) -> set[str]:
        """Return the names of what this run stored and a recipe cannot find."""
        noted = self._location.journal.names("node")
        return {name.removeprefix(self._task) for name in noted if name.startswith(self._task)}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or (name == "submit" and self._notes_all):
            raise AttributeError(name)
        return getattr(self._store, name)

    def _named(self, workflow_name: str) -> str:
        return self._folder + (OBJECTS if workflow_name.endswith(OBJECTS) else "") if self._folder else workflow_name


class _RunPlanner(Planner):
    """Plans with the recipes that the driver wrote, and reuses what this very run stored."""

    def __init__(self, workflow_name: str, store: RunStore, *args: Any) -> None:
        super().__init__(workflow_name, store, *args)
        self._noted = store.noted()
        self.prepared: Mapping[str, Callable[[], object]] = {}

    def decide(self, steps: Sequence[Step], prefix: str = "", wanted: Collection[str] = ()) -> list[Step]:
        decided = super().decide(steps, prefix, wanted)
        if prefix or not self.prepared:
            return decided
        return [
            _with_plugin(step, self.prepared[step.name]) if step.name in self.prepared else step for step in decided
        ]

    def _with_recipes(self, steps: Sequence[Step], prefix: str) -> list[Step]:
        return super()._with_recipes(steps, prefix) if prefix else list(steps)

    def _verdict(self, step: Step, name: str, stored: set[str]) -> Verdict:
        if name in self._noted and name not in self._distrusted and step.target.kind != "constructor":
            return Verdict("reuse", "stored by this run")
        return super()._verdict(step, name, stored)


def _with_plugin(step: Step, prepared: Callable[[], object]) -> Step:
    return step._replace(options={**step.options, "plugin": InitializerPlugin(prepared)})


def _messages(reported: Sequence[warnings.WarningMessage]) -> list[str]:
    return [str(warning.message) for warning in reported if warning.category is UserWarning]
