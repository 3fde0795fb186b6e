"""The base of every backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from functionfuse._collector import collector_paused
from functionfuse._warning import warn_user
from functionfuse.backends.execution import Run
from functionfuse.backends.frames import StoredResultLost
from functionfuse.backends.observers import Announcer
from functionfuse.backends.planning import REUSE, Planner
from functionfuse.backends.query import NodeView, Options, Query, compiled, matching
from functionfuse.backends.writer_funcs import WriterFuncsStore
from functionfuse.containers import CONTAINERS
from functionfuse.decorator import workflow
from functionfuse.errors import DuplicateNameError, OptionError, PlanError, UnknownNodeError
from functionfuse.graph import Edits, Graph
from functionfuse.nodes import Item, Node
from functionfuse.plan import Plan, ref_of, steps_of
from functionfuse.stores import described, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from functionfuse.backends.frames import Task
    from functionfuse.backends.observers import Observer
    from functionfuse.backends.plugins import Plugin
    from functionfuse.plan import Ref, Step
    from functionfuse.stores import Store


class BaseWorkflow(ABC):
    """A graph on an engine. A backend implements :meth:`execute`, and declares what its engine lacks.

    Args:
        nodes: nodes, or items of nodes (``node[0]``), whose results :meth:`run` returns: the value for one,
            a list for several.
        workflow_name: under which a store keeps the results.
        scope: "graph" takes the whole graph that the nodes belong to: their ancestors, all descendants of
            those, and what these need in turn. "ancestors" takes only what the given nodes need.

    Raises:
        GraphError: the nodes make no graph, for example because two have one name.
        OptionError: no nodes, something else than a node, or an empty workflow name.
    """

    query_class: ClassVar[type[Query]] = Query
    lacks: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Options that the engine cannot honour, with what a blocked step's reason says of each."""

    def __init__(self, *nodes: Node | Item, workflow_name: str, scope: str = "graph") -> None:
        self.workflow_name = _checked_name(workflow_name)
        self._given = [_checked_node(node) for node in nodes]
        if not nodes:
            raise OptionError(f"workflow {workflow_name!r} was given no node")
        self._scope = scope
        self._options = Options()
        self._observers: list[Observer] = []
        self._store: Store | None = None
        self._edit(Edits())

    @abstractmethod
    def execute(self, run: Run, **engine: Any) -> None:
        """Execute the tasks of a run. The one hook of a backend.

        Take tasks with ``run.in_order()`` or :class:`~functionfuse.backends.ready.Ready`; for each,
        ``run.prepare(task)`` gives the call, :func:`~functionfuse.backends.calls.perform` runs it where the
        engine wants, and ``run.settle(task, outcome)`` takes in how it ended.
        """

    # -- the graph

    @property
    def dag(self) -> Graph:
        """The graph that runs, edits included."""
        return self._dag

    def find_nodes(self, pattern: str | None = None) -> list[NodeView]:
        """Return the nodes whose names match a regular expression as a whole; all without a pattern."""
        return [NodeView(name, self._options) for name in matching(compiled(pattern), self._dag)]

    def query(self, pattern: str | None = None) -> Query:
        """Choose nodes by a regular expression that matches their names as a whole, to set options.

        Warns, with close names, when no node matches.

        Raises:
            PatternError: not a regular expression.
        """
        return self.query_class(pattern, self._dag, self._options)

    def replace(self, old: Node | str, new: Node) -> None:
        """Let every consumer of a node take another one's result, in this workflow only.

        What ``new`` itself is made from keeps ``old``, so that ``replace(a, f(a))`` inserts a step behind ``a``.

        Raises:
            UnknownNodeError: ``old`` is not in the graph.
            CycleError: a node would need its own result.
        """
        if not isinstance(new, Node):
            raise OptionError(f"a node can be replaced by a node only, got {new!r}")
        self._edit(self._dag.with_replacement(self._node(old), new))

    def replace_func(self, node: Node | NodeView | str, function: Callable[..., Any]) -> None:
        """Let a node call another function with the same arguments, in this workflow only.

        Raises:
            UnknownNodeError: the node is not in the graph.
            UsageError: the arguments do not fit the function.
        """
        name = node.get_name() if isinstance(node, NodeView) else node
        assert name is not None
        self._edit(self._dag.with_target(self._node(name), workflow(function)))

    def _edit(self, edits: Edits) -> None:
        with collector_paused():
            self._dag = Graph(map(_node_of, self._given), scope=self._scope, edits=edits)

    def _node(self, node: Node | str) -> Node:
        if isinstance(node, Node):
            return node
        try:
            return self._dag.nodes[node]
        except KeyError:
            raise UnknownNodeError(f"no node is named {node!r} in workflow {self.workflow_name!r}") from None

    # -- what goes with it

    def set_storage(self, storage: Store | str | None) -> None:
        """Save every node's result in a store, and reuse what it holds; None takes the store away.

        A text is the place of a store, for :func:`~functionfuse.stores.open_store`: ``"file:results"``.
        A store that has only ``get_writer_funcs(workflow_name)`` keeps no recipes; what it holds is reused
        with ``reuse="name"``.

        Raises:
            OptionError: the object lacks a verb of stores, or there is no store at the place.
        """
        if isinstance(storage, str):
            storage = open_store(storage)
        missing = [verb for verb in _VERBS if storage is not None and not hasattr(storage, verb)]
        if missing and callable(getattr(storage, "get_writer_funcs", None)):
            storage = WriterFuncsStore(storage)
        elif missing:
            raise OptionError(f"{storage!r} is not a store: it has no {', '.join(missing)}, and no get_writer_funcs")
        self._store = storage

    def set_plugin(self, pattern: str, plugin: Plugin) -> None:
        """Apply a plugin before each node whose name matches: short for ``query(pattern).set_plugin(plugin)``."""
        self.query(pattern).set_plugin(plugin)

    def log_nodes(self, pattern: str) -> None:
        """Let the nodes whose names match run every time, without storing their results; as for printing."""
        self.query(pattern)._set(log=True)

    def add_observer(self, observer: Observer) -> None:
        """Call a function with an :class:`~functionfuse.backends.observers.Event` for all that happens to a step."""
        if not callable(observer):
            raise OptionError(f"an observer is called with each event, got {observer!r}")
        self._observers.append(observer)

    # -- planning and running

    def plan(self, *, reuse: str = "recipe") -> Plan:
        """Return what :meth:`run` would do, step by step with reasons, without doing it.

        Args:
            reuse: "recipe" reuses a stored result where everything that makes it is unchanged; "name"
                whatever is stored under a node's name; "never" nothing.
        """
        return self._plan(self._planner(reuse, {}))

    def run(self, *, on_error: str = "raise", reuse: str = "recipe") -> Any:
        """Run the graph and return the results of the nodes that the workflow was given.

        Args:
            on_error: "raise" stops at the first failure; "continue" runs all that does not depend on it.
            reuse: as for :meth:`plan`.

        Raises:
            NodeError: a node failed; its ``__cause__`` is what the function raised.
            WorkflowFailed: nodes failed, with ``on_error="continue"``; it carries the report.
            PlanError: the engine cannot run some steps; nothing was started.
        """
        return self._run(on_error=on_error, reuse=reuse)

    def _run(self, *, on_error: str, reuse: str, **engine: Any) -> Any:
        if on_error not in ("raise", "continue"):
            raise OptionError(f'unknown on_error {on_error!r}; known: "raise", "continue"')
        if self._store is not None:
            self._store.new_workflow(self.workflow_name)
        lost: dict[str, str] = {}
        while True:
            planner = self._planner(reuse, lost)
            plan = self._plan(planner)
            refuse_blocked(plan, type(self).__name__)
            run = self._new_run(planner, plan, on_error)
            try:
                self.execute(run, **engine)
                return self._results(run)
            except StoredResultLost as loss:
                if loss.name in lost:
                    raise loss.cause from None
                lost[loss.name] = f"the stored result is lost: {loss.cause}"
                warn_user(f"{described(loss.name)} cannot be read and will be made again: {loss.cause}")

    def _new_run(self, planner: Planner, plan: Plan, on_error: str) -> Run:
        return Run(
            plan,
            self._wanted(),
            expand=Expander(planner, plan.by_name),
            store=self._store_of_runs(),
            announcer=Announcer(self.workflow_name, self._observers),
            on_error=on_error,
        )

    def _results(self, run: Run) -> Any:
        results = run.results()
        return results[0] if len(self._given) == 1 else results

    def _store_of_runs(self) -> Store | None:
        """What runs read and save with; an engine whose workers do that gives another than the planner's."""
        return self._store

    def _plan(self, planner: Planner) -> Plan:
        wanted = {ref.step for ref in self._wanted()}
        with collector_paused():
            return Plan(planner.decide(self._steps(), wanted=wanted), workflow_name=self.workflow_name)

    def _steps(self) -> list[Step]:
        """The graph as data, which unlike nodes can leave the process."""
        return steps_of(self._dag)

    def _planner(self, reuse: str, lost: Mapping[str, str]) -> Planner:
        if reuse not in REUSE:
            raise OptionError(f"unknown reuse {reuse!r}; known: {', '.join(map(repr, REUSE))}")
        options_of = self._options.of if self._options else None
        return Planner(self.workflow_name, self._store, reuse, options_of, self.lacks, lost)

    def _wanted(self) -> list[Ref]:
        return [ref_of(node, self._dag) for node in self._given]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.workflow_name!r} with {len(self._dag)} nodes>"


class Expander:
    """Plans the graphs that dynamic steps return, beside steps of these names."""

    def __init__(self, planner: Planner, names: Iterable[str]) -> None:
        self._planner = planner
        self._taken = {name for name in names if "/" in name}

    def __call__(self, steps: list[Step], parent: Task) -> Plan:
        # a deep recursion would spend its time on names that nobody reads
        prefix = f"{parent.name}/" if self._planner.needs_names or self._taken else ""
        for step in steps if self._taken else ():
            if prefix + step.name in self._taken:
                raise DuplicateNameError(
                    f"{parent.name!r} made a node {step.name!r}; its full name {prefix + step.name!r} is another node's"
                )
        plan = Plan(self._planner.decide(steps, prefix))
        refuse_blocked(plan, "this backend")
        return plan


_VERBS = ("always_read", "new_workflow", "save", "read_task", "info", "has_tasks")


def refuse_blocked(plan: Plan, backend: str) -> None:
    """Raise PlanError if a plan holds steps that the engine cannot run."""
    blocked = [step for step in plan if step.action == "blocked"]
    if blocked:
        said = "\n".join(f"  {step.name!r}: {step.reason}" for step in blocked[:10])
        raise PlanError(f"{backend} cannot run {len(blocked)} of {len(plan)} steps; nothing was started\n{said}")


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise OptionError(f"workflow_name must be a non-empty string, got {name!r}")
    return name


def _checked_node(node: object) -> Node | Item:
    if isinstance(node, Node | Item):
        return node
    hint = ""
    if isinstance(node, CONTAINERS):
        hint = "; give its nodes one by one: *nodes"
    elif callable(node):
        hint = "; call the decorated function to make one"
    raise OptionError(f"a workflow is made from nodes, got {node!r}{hint}")


def _node_of(node: Node | Item) -> Node:
    return node._node if isinstance(node, Item) else node
