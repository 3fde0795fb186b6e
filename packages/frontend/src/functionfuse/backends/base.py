"""The base of every backend."""

from __future__ import annotations

import re
import reprlib
import sys
from abc import ABC, abstractmethod
from contextlib import suppress
from copy import copy
from functools import partial
from os import PathLike
from os.path import abspath
from time import time_ns
from types import GenericAlias
from typing import TYPE_CHECKING, Any, ClassVar, Self, overload

from functionfuse._collector import collector_paused
from functionfuse._suggestions import did_you_mean
from functionfuse._typing import Generic, HasResult, R
from functionfuse.backends.displays import checked_progress
from functionfuse.backends.editable_graph import EditableGraph
from functionfuse.backends.editor import Editor
from functionfuse.backends.interruption import Runs
from functionfuse.backends.options import COMMON_OPTIONS, SECRET_SOURCES, OptionRules, checked_size
from functionfuse.backends.query import NodeView, Query, compiled, matching
from functionfuse.backends.recording import MOST_CAPSULE
from functionfuse.backends.run_memory import RunMemory
from functionfuse.backends.session import Session
from functionfuse.backends.spec import RunSpec, check_run_options, checked_labels
from functionfuse.backends.stores_by_name import adapted_store
from functionfuse.backends.tracebacks import hide_own_frames
from functionfuse.containers import CONTAINERS
from functionfuse.errors import OptionError, StorageError, UnknownNodeError
from functionfuse.graph import Graph
from functionfuse.nodes import Item, Node, serials
from functionfuse.original import takes_original_names
from functionfuse.plan import Ref, ref_of, steps_of
from functionfuse.stores import Catalogue, RecipeStore, keeps_runs, open_store
from functionfuse.sweeps import Sweep

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import Literal, Unpack

    from functionfuse.backends.execution import Run
    from functionfuse.backends.node_states import NodeState
    from functionfuse.backends.observers import Observer
    from functionfuse.backends.options import Reuse
    from functionfuse.backends.plugins import Plugin
    from functionfuse.backends.secrets import SecretSource
    from functionfuse.backends.spec import Given, RunOptions
    from functionfuse.plan import Plan
    from functionfuse.runs import RunList, RunRecord
    from functionfuse.stores import Store


class BaseWorkflow(ABC, Generic[R]):
    """A graph on an engine. A backend implements `execute`, and declares in `supports` what its engine honours.

    Args:
        nodes: nodes, items of nodes (`node[0]`), or sweeps, whose results `run` returns: the value for one, a list for
            several; for a sweep a dict by its labels.
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
    grows: ClassVar[bool] = False
    """Whether each attempt of a step may need more than the one before, of an engine that `Ready` gives tasks."""
    collapses_objects: ClassVar[bool] = True
    """Whether calls of stateful objects may be members of collapsed steps; else they are blocked in the plan."""
    early_cutoff: ClassVar[bool] = True
    """Whether a step waits for its inputs, to be reused if these turn out as before; else it runs."""
    verifies: ClassVar[bool] = True
    """Whether reused steps can be made again, to compare their results (`run(verify=)`)."""
    records_in_memory: ClassVar[bool] = True
    """Whether the record of the last run without a store is in this process, for `report` and `last_run`."""
    shares_files: bool = True
    """Whether its workers have the files of this machine; else a `File` that is not shipped is blocked in the plan."""
    pickler: ClassVar[str] = "cloudpickle"
    """The module that pickles failure capsules, cloudpickle or a copy of it, where the engine makes calls."""
    secret_sources: frozenset[SecretSource] = SECRET_SOURCES
    """From where the backend takes secrets; a step with another one is blocked in the plan."""

    if not TYPE_CHECKING:
        __class_getitem__ = classmethod(GenericAlias)

    @overload
    def __init__(
        self: BaseWorkflow[list[Any]],
        first: HasResult[Any],
        second: HasResult[Any],
        /,
        *others: HasResult[Any],
        workflow_name: str,
        scope: str = ...,
    ) -> None: ...
    @overload
    def __init__(self, node: HasResult[R], /, *, workflow_name: str, scope: str = ...) -> None: ...
    def __init__(self, *nodes: HasResult[Any], workflow_name: str, scope: str = "graph") -> None:
        self.workflow_name = _checked_name(workflow_name)
        self._given: Given = [tuple(node) if isinstance(node, Sweep) else None for node in nodes]
        results = [one for node in nodes for one in _checked_nodes(node)]
        if not nodes:
            raise OptionError(f"workflow {workflow_name!r} was given no node")
        self._scope = scope
        self._options = OptionRules()
        self._observers: list[Observer] = []
        self._store: Store | None = None
        self._runs = Runs()
        with collector_paused():
            graph = Graph(map(_node_of, results), scope=scope)
        self._present: tuple[Graph, list[Node | Item]] | None = graph, results  # with the nodes to be returned
        self._edited: EditableGraph | None = None
        self._note()

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
        return Editor(self._editable(), self._with_graph, self._last_durations)

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
        editor = self.edit()
        if isinstance(old, Node):
            name = editor.graph.name_of(old)
        else:
            view: NodeView | str = old  # checkers do not see that it is no Node, as that derives from Any
            name = view if isinstance(view, str) else view.get_name()
            if name not in editor.graph:
                raise UnknownNodeError(
                    f"no node is named {name!r} in workflow {self.workflow_name!r}{did_you_mean(name, self.dag)}"
                )
        self._take(editor.replace(re.escape(name), new).graph)

    def _editable(self) -> EditableGraph:
        """Return the graph as data, for an editor, which changes copies of it."""
        return EditableGraph(*self._graph_and_results()) if self._edited is None else self._edited

    def _last_durations(self, names: Sequence[str]) -> dict[str, float]:
        """Return how many seconds nodes took when the store got their results, as far as it knows.

        Raises:
            OptionError: there is no store.
        """
        store = self._store
        if store is None:
            raise OptionError("collapse(max_seconds=...) asks the store how long nodes took: set_storage(...) before")
        durations = {}
        for name in sorted(store.has_tasks(self.workflow_name, names)):
            with suppress(StorageError):
                seconds = (store.info(self.workflow_name, name).get("meta") or {}).get("seconds")
                if isinstance(seconds, int | float):
                    durations[name] = float(seconds)
        return durations

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
        graph.check_groups()
        self._edited, self._present = graph, None
        self._options = self._options.with_groups(graph.groups)

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
        copied._runs = Runs()
        copied._runs.completed |= self._runs.completed
        copied._note()
        return copied

    def _note(self) -> None:
        """Let a notebook know of this workflow, so that nodes can be shown with their states."""
        notebooks = sys.modules.get("functionfuse.notebooks")
        if notebooks is not None:
            notebooks.workflows[next(serials)] = self

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

    def spec(self, **options: Unpack[RunOptions]) -> RunSpec:
        """Return all that a run is, as data that can leave the process.

        Args:
            options: those of `run`.

        Raises:
            UsageError: there is no such option.
            OptionError: an unknown value of one; or `retry_failed` without a store.
        """
        check_run_options(options, type(self).run)
        if options.get("inline"):
            raise OptionError(f"inline=True is an option of run() alone, and {type(self).__name__} does not run inline")
        retry_failed = options.get("retry_failed", False)
        if retry_failed and self._store is None:
            raise OptionError(
                "retry_failed reuses what the run that failed stored: set_storage(...) before that run, or leave it out"
            )
        with collector_paused():
            graph, results = self._graph_and_results()
            steps = steps_of(graph, self._options.of if self._options else None)
        spec = RunSpec(
            self.workflow_name,
            steps,
            [ref_of(node, graph) for node in results],
            given=self._given,
            options=self._options,
            store=self._store,
            on_error=options.get("on_error", "raise"),
            reuse=options.get("reuse", "recipe"),
            backend=type(self).__name__,
            supports=self.supports,
            grants=self.grants if self._options else {},
            secret_sources=self.secret_sources,
            grows=self.grows,
            shares_files=self.shares_files,
            collapses_objects=self.collapses_objects,
            early_cutoff=self.early_cutoff,
            verify=self._checked_verify(options.get("verify", 0)),
            verify_seed=time_ns() if options.get("verify") else 0,
            has_options=True,
            saved=frozenset(self._runs.completed) if retry_failed else (),
            on_interrupt=options.get("on_interrupt", "stop"),
            capsules=self._place_of_capsules(options.get("capsules")),
            capsule_bytes=checked_size("capsule_bytes", options.get("capsule_bytes", MOST_CAPSULE)),
            pickler=self.pickler,
            labels=checked_labels(options.get("labels")),
            progress=checked_progress(options.get("progress")),
        ).checked()
        return spec.with_argument_check() if options.get("check_arguments") else spec

    def _checked_verify(self, verify: float) -> float:
        if isinstance(verify, bool) or not isinstance(verify, int | float) or not 0 <= verify <= 1:
            raise OptionError(f"verify is a share of the reused nodes, from 0 to 1, got {verify!r}")
        if verify and not self.verifies:
            raise OptionError(
                f"{type(self).__name__} does not verify results: leave verify= out, or use another backend"
            )
        if verify and not isinstance(self._store, RecipeStore):
            raise OptionError(
                "verify compares results with those in a store that finds them by recipe: set_storage(...)"
            )
        return float(verify)

    def _place_of_capsules(self, capsules: str | os.PathLike[str] | Literal[False] | None) -> str | None:
        if capsules is None:
            return "" if getattr(self._store, "keeps_recipes", self._store is not None) else None
        if capsules is False:
            return None
        if not isinstance(capsules, str | PathLike) or not capsules:
            raise OptionError(f"capsules is the path of a folder, or False for no capsules, got {capsules!r}")
        return abspath(capsules)  # noqa: PTH100  pathlib takes long to import

    def session(self, **options: Unpack[RunOptions]) -> Session:
        """Return a session of this workflow, for a backend whose `run` has parameters of its own.

        Args:
            options: those of `run`.

        Raises:
            UsageError: there is no such option.
            OptionError: an unknown value of one.
        """
        return Session(self.spec(**options), observers=self._observers, runs=self._runs)

    def plan(self, *, reuse: Reuse = "recipe") -> Plan:
        """Return what `run` would do, step by step with reasons, without doing it.

        Args:
            reuse: "recipe" reuses a stored result where everything that makes it is unchanged; "name"
                whatever is stored under a node's name; "never" nothing.
        """
        return self.session(reuse=reuse).plan()

    def run(self, **options: Unpack[RunOptions]) -> R:
        """Run the graph and return the results of the nodes that the workflow was given.

        A backend with a `run` of its own calls this one for the option `inline`.

        Args:
            options: how the run goes; see `functionfuse.backends.spec.RunOptions`.

        Returns:
            The result of one node, or the dict of those of one sweep; a list of these for several.

        Raises:
            NodeError: a node failed; its `__cause__` is what the function raised.
            WorkflowFailed: nodes failed, with `on_error="continue"`; it carries the report.
            PlanError: the engine cannot run some steps; nothing was started.
            RunCancelled: another thread called `cancel`.
        """
        try:
            results: R
            if options.pop("inline", False):
                from functionfuse.backends.inline import run_inline  # which few runs are

                results = run_inline(self.spec(**options), self._observers)
            else:
                results = self.session(**options).run(self.execute)
            return results
        except BaseException as error:
            hide_own_frames(error)
            raise

    def result(self, node: str | Node | Item) -> Any:
        """Return the stored result of one node; nothing runs. Warn, with what changed, if a run would not reuse it.

        Args:
            node: its name; or the node, or an item of it.

        Raises:
            OptionError: there is no store.
            UnknownNodeError: no node has this name; the message has close ones.
            UsageError: a stateful object, which has no result.
            TaskNotFound: no result is stored.
        """
        name = node if isinstance(node, str) else self.dag.name_of(node)
        if self._store is None:
            raise OptionError(
                "results are kept in a store: set_storage(...) before a run; without one run() returns them"
            )
        result = self.session().result(name)
        return Ref(name, node._path).take(result) if isinstance(node, Item) else result

    def states(self) -> dict[str, NodeState]:
        """Return what is known of each node by name, as notebooks show it: "stored", "to run", "failed", and why."""
        from functionfuse.backends.node_states import quiet_plan, states_of_plan  # which notebooks need

        return states_of_plan(quiet_plan(self.plan), self._runs.last)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        from functionfuse.backends.node_states import table_of

        title = f"workflow {self.workflow_name!r} on {type(self).__name__}"
        return {"text/html": table_of(title, self.states()).html()}

    async def run_async(self, **options: Any) -> R:
        """Run the graph in a thread, as in a notebook or a web server, while the event loop goes on; await the results.

        When the task that awaits is cancelled, so is the run, as by `cancel`.

        Args:
            options: those of `run`.

        Returns:
            What `run` returns.

        Raises:
            NodeError: a node failed; and whatever else `run` raises.
        """
        from functionfuse.backends.background import in_thread  # which imports asyncio

        results: R = await in_thread(partial(self.run, **options), self.cancel)
        return results

    def runs(self, labels: Mapping[str, str] | None = None) -> RunList:
        """Return the runs of this workflow that its store has records of, newest first; notebooks show a table.

        The store itself has `run`, which returns all that is known of one, and `diff`, which compares two.

        Args:
            labels: that the runs must have, among others.

        Raises:
            OptionError: there is no store, or it keeps no records of runs.
        """
        if self._store is None:
            raise OptionError("runs leave their records in a store: set_storage(...) before them")
        if not keeps_runs(self._store) or not isinstance(self._store, Catalogue):
            raise OptionError(f"{self._store!r} keeps no records of runs: it has not the verbs of a Catalogue")
        if hasattr(self._store, "runs"):
            return self._store.runs(self.workflow_name, labels)  # type: ignore[no-any-return]
        from functionfuse.runs import list_runs  # which few programs need

        return list_runs(self._store, self.workflow_name, labels)

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write a report of the last run as one HTML file, which needs nothing else, and return its path.

        With a store, the run is compared with the one before. Without one, what the last run of this object did is in
        memory. functionfuse-console makes the report.

        Args:
            path: of the file.

        Raises:
            OptionError: there was no run, or it was too long to be kept in memory.
            ModuleNotFoundError: functionfuse-console is not installed.
        """
        from importlib import import_module
        from pathlib import Path

        console = import_module("functionfuse.console")  # by name, as it needs this package
        record, before = self._last_records()
        return Path(console.write_report(record, path, before=before))

    def last_run(self) -> RunRecord:
        """Return the record of the last run of this object: from the store, or without one from memory.

        Raises:
            OptionError: there was no run, or it was too long to be kept in memory.
        """
        return self._last_records()[0]

    def _last_records(self) -> tuple[RunRecord, RunRecord | None]:
        """Return the record of the last run, and that of the one before it, if there is one in the store."""
        from functionfuse.runs import last_records

        recorder = self._runs.recorder
        if self._store is not None and keeps_runs(self._store) and isinstance(self._store, Catalogue):
            id = getattr(recorder, "id", "latest")
            return last_records(self._store, self.workflow_name, id)
        record = recorder.record() if isinstance(recorder, RunMemory) else None
        if record is None:
            first = "run()" if self.records_in_memory else "set_storage(...) and then run()"
            raise OptionError(f"workflow {self.workflow_name!r} has no record of a run: {first} before report()")
        return record, None

    def cancel(self) -> bool:
        """End the runs of this object that are going on, from another thread than theirs.

        Nothing new starts. What runs is stopped, or finishes, as the `on_interrupt` of a run says. Each run raises
        RunCancelled then; what had finished is stored.

        Returns:
            Whether there was one.
        """
        return self._runs.cancel()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.workflow_name!r} with {len(self.dag)} nodes>"


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise OptionError(f"workflow_name must be a non-empty string, got {name!r}")
    return name


def _checked_nodes(node: object) -> Iterable[Node | Item]:
    if isinstance(node, Node | Item):
        return (node,)
    if isinstance(node, Sweep):
        return node.values()
    hint = ""
    if isinstance(node, CONTAINERS):
        hint = "; give its nodes one by one: *nodes"
    elif callable(node):
        hint = "; call the decorated function to make one"
    raise OptionError(f"a workflow is made from nodes, got {reprlib.repr(node)}{hint}")


def _node_of(node: Node | Item) -> Node:
    return node._node if isinstance(node, Item) else node
