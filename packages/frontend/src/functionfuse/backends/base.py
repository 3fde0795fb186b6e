"""The base of every backend."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from copy import copy
from typing import TYPE_CHECKING, Any, ClassVar, Self

from functionfuse._collector import collector_paused
from functionfuse.backends.editable_graph import EditableGraph
from functionfuse.backends.editor import Editor
from functionfuse.backends.options import COMMON_OPTIONS, SECRET_SOURCES, OptionRules
from functionfuse.backends.query import NodeView, Query, compiled, matching
from functionfuse.backends.session import Session
from functionfuse.backends.spec import RunSpec
from functionfuse.backends.stores_by_name import adapted_store
from functionfuse.containers import CONTAINERS
from functionfuse.errors import OptionError, UnknownNodeError
from functionfuse.graph import Graph
from functionfuse.nodes import Item, Node
from functionfuse.original import takes_original_names
from functionfuse.plan import ref_of, steps_of
from functionfuse.stores import open_store

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from functionfuse.backends.execution import Run
    from functionfuse.backends.observers import Observer
    from functionfuse.backends.options import OnError, Reuse
    from functionfuse.backends.plugins import Plugin
    from functionfuse.backends.secrets import SecretSource
    from functionfuse.plan import Plan
    from functionfuse.stores import Store


class BaseWorkflow(ABC):
    """A graph on an engine. A backend implements `execute`, and declares in `supports` what its engine honours.

    Args:
        nodes: nodes, or items of nodes (`node[0]`), whose results `run` returns: the value for one,
            a list for several.
        workflow_name: under which a store keeps the results.
        scope: "graph" takes the whole graph that the nodes belong to: their ancestors, all descendants of
            those, and what these need in turn. "ancestors" takes only what the given nodes need.

    Raises:
        GraphError: the nodes make no graph, for example because two have one name.
        OptionError: no nodes, something else than a node, or an empty workflow name.
    """

    query_class: ClassVar[type[Query]] = Query
    supports: frozenset[str] = COMMON_OPTIONS
    """The fields of `StepOptions` that the backend honours. A step with another one set is blocked in the plan."""
    grants: Mapping[str, float] = {}
    """The resources that the backend honours (`RESOURCES`, or names of custom ones), with the most of each for a step.

    A step that needs another one, or more, is blocked in the plan.
    """
    secret_sources: frozenset[SecretSource] = SECRET_SOURCES
    """From where the backend takes secrets; a step with another one is blocked in the plan."""

    def __init__(self, *nodes: Node | Item, workflow_name: str, scope: str = "graph") -> None:
        self.workflow_name = _checked_name(workflow_name)
        self._given = [_checked_node(node) for node in nodes]
        if not nodes:
            raise OptionError(f"workflow {workflow_name!r} was given no node")
        self._scope = scope
        self._options = OptionRules()
        self._observers: list[Observer] = []
        self._store: Store | None = None
        with collector_paused():
            graph = Graph(map(_node_of, self._given), scope=scope)
        self._present: tuple[Graph, list[Node | Item]] | None = graph, self._given  # with the nodes to be returned
        self._edited: EditableGraph | None = None

    @abstractmethod
    def execute(self, run: Run) -> None:
        """Execute the tasks of a run. The one hook of a backend.

        An engine that gives a handle for each call is driven by `drive(run, engine)`. Another takes tasks with
        `run.in_order()` or `Ready(run)`; for each, `run.prepare(task)` gives the call, `perform(call)` runs it
        where the engine wants, and `run.settle(task, outcome, call)` takes in how it ended.
        """

    # -- the graph

    @property
    def dag(self) -> Graph:
        """The graph that runs, edits included."""
        return self._graph_and_results()[0]

    def find_nodes(self, pattern: str | None = None) -> list[NodeView]:
        """Return the nodes whose names match a regular expression as a whole; all without a pattern."""
        return [NodeView(name, self._options, self.query_class) for name in matching(compiled(pattern), self.dag)]

    def query(self, pattern: str | None = None) -> Query:
        """Choose nodes by a regular expression that matches their names as a whole, to set options.

        Warns, with close names, when no node matches.

        Raises:
            PatternError: not a regular expression.
        """
        return self.query_class(pattern, self.dag, self._options)

    def edit(self) -> Editor[Self]:
        """Return an editor of a copy of the graph; its `done` returns a workflow on the same backend.

        ::

            checked = workflow.edit().insert_after("load", check).remove("plot.*").done()
        """
        return Editor(self._editable(), self._with_graph)

    def replace(self, old: Node | str, new: Node) -> None:
        """Let every consumer of a node take another one's result, in this workflow: `edit` for one node, in place.

        What `new` itself is made from keeps `old`, so that `replace(a, f(a))` inserts a step behind `a`.

        Args:
            old: the node, or its name.
            new: the node that stands in for it.

        Raises:
            UnknownNodeError: `old` is not in the graph.
            CycleError: a node would need its own result.
        """
        if not isinstance(new, Node):
            raise OptionError(f"a node can be replaced by a node only, got {new!r}")
        self._replace(old, new)

    @takes_original_names
    def replace_func(self, node: Node | NodeView | str, function: Callable[..., Any]) -> None:
        """Let a node call another function with the same arguments, in this workflow: `edit` for one node, in place.

        Args:
            node: the node's name, or a view of it.
            function: what it calls from now on.

        Raises:
            UnknownNodeError: the node is not in the graph.
            UsageError: the arguments do not fit the function.
        """
        self._replace(node, function)

    def _replace(self, old: Node | NodeView | str, new: Any) -> None:
        graph = self._editable()
        if isinstance(old, Node):
            name = graph.name_of(old)
        else:
            name = old.get_name() if isinstance(old, NodeView) else old
            if name not in graph:
                raise UnknownNodeError(f"no node is named {name!r} in workflow {self.workflow_name!r}")
        self._take(Editor(graph, self._with_graph).replace(re.escape(name), new).graph)

    def _editable(self) -> EditableGraph:
        """Return the graph as data, for an editor, which changes copies of it."""
        return EditableGraph(*self._graph_and_results()) if self._edited is None else self._edited

    def _with_graph(self, graph: EditableGraph) -> Self:
        """Return a copy of this workflow with another graph."""
        edited = copy(self)
        edited._take(graph)
        return edited

    def _take(self, graph: EditableGraph) -> None:
        """Take another graph, whose nodes are made when they are needed.

        Raises:
            CycleError: a node would need its own result.
        """
        graph.order()
        self._edited, self._present = graph, None

    def _graph_and_results(self) -> tuple[Graph, list[Node | Item]]:
        present = self._present
        if present is None:
            assert self._edited is not None
            self._present = present = self._edited.graph(self._scope)
        return present

    def __copy__(self) -> Self:
        """Return a workflow on the same graph whose options can be set alone.

        A backend that holds more than is shared extends it.
        """
        copied = object.__new__(type(self))
        vars(copied).update(vars(self))
        copied._options = self._options.copy()
        copied._observers = list(self._observers)
        return copied

    # -- what goes with it

    @takes_original_names
    def set_storage(self, storage: Store | str | None) -> None:
        """Save every node's result in a store, and reuse what it holds; None takes the store away.

        A text is the location of a store, for `functionfuse.stores.open_store`: `"file:results"`. A store that has
        only `save` and `read_task`, or only `get_writer_funcs`, stores no recipes; what it holds is reused with
        `reuse="name"`.

        Raises:
            OptionError: the object lacks a verb of stores, or there is no store at the location.
        """
        if isinstance(storage, str):
            storage = open_store(storage)
        self._store = None if storage is None else adapted_store(storage)

    @takes_original_names
    def set_plugin(self, pattern: str, plugin: Plugin) -> None:
        """Apply a plugin before each node whose name matches: short for `query(pattern).set_plugin(plugin)`.

        Args:
            pattern: a regular expression for names.
            plugin: the plugin.
        """
        self.query(pattern).set_plugin(plugin)

    @takes_original_names
    def log_nodes(self, pattern: str) -> None:
        """Let the nodes whose names match run every time, without storing their results; as for printing."""
        self.query(pattern)._set(log=True)

    def apply_profile(
        self, path: str | os.PathLike[str], *, env: str | None = None, needs: str | os.PathLike[str] | None = None
    ) -> None:
        """Set options as a profile says, under those that queries set, whenever they do.

        Args:
            path: of an engineer's profile, in TOML or JSON.
            env: the environment whose part of the profile holds besides.
            needs: a scientist's file of what nodes need.

        Raises:
            ProfileError: a file is malformed, says what cannot be, or has a pattern that matches no node; the message
                has the file, the line and the key. No option is set then.
        """
        from functionfuse.backends.profile import granted_options, load  # which reads TOML, and most runs have none

        profile, names = load(path, env=env, needs=needs), list(self.dag)
        granted = [(rule.pattern, granted_options(rule, names, self.query_class)) for rule in profile.rules]
        for pattern, options in granted:
            self._options.grant(pattern, options)
        self._options.limits = {**self._options.limits, **profile.limits}

    def add_observer(self, observer: Observer) -> None:
        """Call a function with an `Event` for all that happens to a step."""
        if not callable(observer):
            raise OptionError(f"an observer is called with each event, got {observer!r}")
        self._observers.append(observer)

    # -- planning and running

    def spec(self, *, on_error: OnError = "raise", reuse: Reuse = "recipe", check_arguments: bool = False) -> RunSpec:
        """Return all that a run is, as data that can leave the process.

        Args:
            on_error: as for `run`.
            reuse: as for `plan`.
            check_arguments: as for `run`.
        """
        with collector_paused():
            graph, results = self._graph_and_results()
            steps = steps_of(graph, self._options.of if self._options else None)
        spec = RunSpec(
            self.workflow_name,
            steps,
            [ref_of(node, graph) for node in results],
            returns_list=len(self._given) != 1,
            options=self._options,
            store=self._store,
            on_error=on_error,
            reuse=reuse,
            backend=type(self).__name__,
            supports=self.supports,
            grants=self.grants if self._options else {},
            secret_sources=self.secret_sources,
            has_options=True,
        )
        return spec.with_argument_check() if check_arguments else spec

    def session(
        self, *, on_error: OnError = "raise", reuse: Reuse = "recipe", check_arguments: bool = False
    ) -> Session:
        """Return a session of this workflow, for a backend whose `run` has parameters of its own.

        Args:
            on_error: as for `run`.
            reuse: as for `plan`.
            check_arguments: as for `run`.

        Raises:
            OptionError: an unknown value of one of these.
        """
        spec = self.spec(on_error=on_error, reuse=reuse, check_arguments=check_arguments)
        return Session(spec, observers=self._observers)

    def plan(self, *, reuse: Reuse = "recipe") -> Plan:
        """Return what `run` would do, step by step with reasons, without doing it.

        Args:
            reuse: "recipe" reuses a stored result where everything that makes it is unchanged; "name"
                whatever is stored under a node's name; "never" nothing.
        """
        return self.session(reuse=reuse).plan()

    def run(self, *, on_error: OnError = "raise", reuse: Reuse = "recipe", check_arguments: bool = False) -> Any:
        """Run the graph and return the results of the nodes that the workflow was given.

        Args:
            on_error: "raise" stops at the first failure; "continue" runs all that does not depend on it.
            reuse: as for `plan`.
            check_arguments: whether a node fails that changes an argument in place; arguments are fingerprinted before
                and after each node for that.

        Returns:
            The result of one node; a list of results of several.

        Raises:
            NodeError: a node failed; its `__cause__` is what the function raised.
            WorkflowFailed: nodes failed, with `on_error="continue"`; it carries the report.
            PlanError: the engine cannot run some steps; nothing was started.
        """
        return self.session(on_error=on_error, reuse=reuse, check_arguments=check_arguments).run(self.execute)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.workflow_name!r} with {len(self.dag)} nodes>"


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
