"""Edits of a workflow's graph: on a copy, so that neither the scientist's graph nor the workflow changes."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from functionfuse._suggestions import did_you_mean
from functionfuse.backends.editable_graph import CallSite, EditableNode
from functionfuse.backends.query import compiled
from functionfuse.decorator import target_called, workflow
from functionfuse.errors import CycleError, EditError, InvalidNameError, OptionError, UnknownNodeError, UsageError
from functionfuse.hidden import first_node
from functionfuse.nodes import Item, Node
from functionfuse.plan import Ref, refs_within
from functionfuse.targets import FunctionTarget

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

    from functionfuse.backends.editable_graph import EditableGraph
    from functionfuse.targets import Target

W = TypeVar("W")

_NOTHING: Any = object()


class Editor(Generic[W]):
    """Edits of a workflow's graph, from `BaseWorkflow.edit`.

    Nodes are chosen by regular expressions that match their names as a whole. A pattern that matches nothing is an
    error, as is an edit that cannot be made; what was edited before stays. Every method but `done` returns the editor.

    A function in an edit may be decorated or not. Its further arguments may be, or hold, nodes: those of the graph, as
    consumers take their results, and new ones.

    Args:
        graph: the graph; each edit is made on a copy.
        make: makes a workflow of an edited graph.
        durations: returns how many seconds nodes took last, by their names.
    """

    def __init__(
        self,
        graph: EditableGraph,
        make: Callable[[EditableGraph], W],
        durations: Callable[[Sequence[str]], Mapping[str, float]],
    ) -> None:
        self._graph = graph
        self._make = make
        self._durations = durations

    def insert_after(
        self, pattern: str, function: Callable[..., Any], /, *args: Any, name: str | None = None, **kwargs: Any
    ) -> Self:
        """Let consumers of each node take ``function(result, *args, **kwargs)`` instead of its result.

        Args:
            pattern: for names of nodes.
            function: what is called with the result.
            args: further positional arguments.
            name: of the new node; ``{}`` in it stands for the name of the other one. By default ``{}-<function>``.
            kwargs: keyword arguments.

        Raises:
            UnknownNodeError: no name matches.
            EditError: a node that matches is a stateful object; insert after a call of one of its methods.
            UsageError: the arguments do not fit the function.
            DuplicateNameError: a node has the name already.
        """
        graph, target, site = self._graph.copy(), _target(function), _site()
        inserted: dict[str, Ref] = {}
        for old in self._matching(pattern):
            if graph[old].target.kind == "constructor":
                raise EditError(f"node {old!r} is a stateful object: insert after a call of one of its methods")
            new = _name_of(name, old, target)
            graph.add(new, _call(graph, target, (Ref(old), *args), kwargs, site))
            inserted[old] = Ref(new)
        graph.replace(inserted, {old: (ref.step,) for old, ref in inserted.items()})
        return self._keep(graph)

    def insert_before(
        self,
        pattern: str,
        function: Callable[..., Any],
        /,
        *args: Any,
        argument: str | int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Let each node take ``function(value, *args, **kwargs)`` instead of the value of one of its arguments.

        Args:
            pattern: for names of nodes.
            function: what is called with the value.
            args: further positional arguments.
            argument: the parameter whose value it is, or the position of the argument; by default the only argument
                that takes results of nodes.
            name: of the new node; ``{}`` in it stands for the name of the other one. By default ``{}-<function>``.
            kwargs: keyword arguments.

        Raises:
            UnknownNodeError: no name matches.
            EditError: a node has no such argument, or takes results in several and none is named.
            UsageError: the arguments do not fit the function.
            DuplicateNameError: a node has the name already.
        """
        graph, target, site = self._graph.copy(), _target(function), _site()
        for old in self._matching(pattern):
            node = graph[old]
            key = _key_of(old, node, _only_argument(old, node) if argument is None else argument)
            value = node.args[key] if isinstance(key, int) else node.kwargs.get(key, _NOTHING)
            if value is _NOTHING:
                raise EditError(f"node {old!r} is called without the argument {argument!r}, which takes its default")
            new = _name_of(name, old, target)
            graph.add(new, _call(graph, target, (value, *args), kwargs, site))
            graph.change(old, _with_argument(node, key, Ref(new)))
        return self._keep(graph)

    def replace(self, pattern: str, new: Node | Item | Callable[..., Any]) -> Self:
        """Let consumers of each node take another node's result, or let each node call another function.

        What a new node is made from keeps the old one, so that `replace("a", f(a))` inserts a step behind `a`.

        Args:
            pattern: for names of nodes.
            new: a node, or an item of one, that stands in for the nodes; or a function that each calls with the same
                arguments.

        Raises:
            UnknownNodeError: no name matches.
            CycleError: the new node is the old one, or was replaced by it.
            UsageError: the arguments of a node do not fit the function, or it calls no function.
            DuplicateNameError: a new node has the name of another one.
        """
        graph, names = self._graph.copy(), self._matching(pattern)
        if isinstance(new, Node | Item):
            ref, ancestors = graph.ref(new), graph.ancestors(new)
            if ref.step in names:
                raise CycleError(f"{ref.step!r} cannot be replaced by {new!r}: it is that node, or replaces it already")
            graph.replace(dict.fromkeys(names, ref), dict.fromkeys(names, ancestors))
            for name in names:
                if not graph.has_children(name):
                    graph.drop(name)
            return self._keep(graph)
        target = _target(new)
        for old in names:
            node = graph[old]
            if target.kind != node.target.kind:
                raise UsageError(f"{old!r} calls a {node.target.kind}, which cannot be replaced by {target!r}")
            target.check(node.args, node.kwargs)
            graph.change(old, node._replace(target=target))
        return self._keep(graph)

    def remove(self, pattern: str, *, instead: Node | Item | str | None = None, value: Any = _NOTHING) -> Self:
        """Take nodes away.

        Args:
            pattern: for names of nodes.
            instead: the node, or its name, whose result their consumers take instead.
            value: what their consumers take instead.

        Raises:
            UnknownNodeError: no name matches, or no node is named `instead`.
            EditError: results of the nodes are taken, or asked for, and nothing is said to stand in their place; or a
                stateful object shall go whose methods are called.
        """
        graph, names = self._graph.copy(), self._matching(pattern)
        if instead is not None:
            ref = graph.ref(instead) if isinstance(instead, Node | Item) else Ref(self._known(instead))
            if ref.step in names:
                raise EditError(f"{ref.step!r} cannot stand in the place of what is removed: it is removed itself")
            graph.replace(dict.fromkeys(names, ref))
        elif value is not _NOTHING:
            result = next(filter(graph.is_result, names), None)
            if result is not None:
                raise EditError(f"{result!r} is asked for as a result: say which node stands in its place, instead=")
            if first_node([value]) is not None:
                raise EditError("value= is a value without nodes; a node stands in the place of others with instead=")
            graph.redirect(dict.fromkeys(names, partial(_taken, value)))
        removed = set(names)
        for name in reversed([one for one in graph if one in removed]):
            _refuse_needed(graph, name, removed)
            graph.drop(name)
        return self._keep(graph)

    def wrap(self, pattern: str, function: Callable[..., Any]) -> Self:
        """Let each node call ``function(wrapped, *args, **kwargs)``, where ``wrapped`` is the function that it called.

        Args:
            pattern: for names of nodes.
            function: what is called with the function of a node and its arguments.

        Raises:
            UnknownNodeError: no name matches.
            EditError: a node that matches is a stateful object, or calls a method of one.
            UsageError: the arguments do not fit the function.
        """
        graph, outer = self._graph.copy(), _target(function)
        if not isinstance(outer, FunctionTarget):
            raise UsageError(f"nodes are wrapped in functions, got {outer!r}")
        for name in self._matching(pattern):
            node = graph[name]
            if not isinstance(node.target, FunctionTarget):
                raise EditError(f"node {name!r} calls a {node.target.kind}; only calls of functions are wrapped")
            target = target_called(workflow(_wrapped(outer, node.target)))
            target.check(node.args, node.kwargs)
            graph.change(name, node._replace(target=target))
        return self._keep(graph)

    def map_over(self, pattern: str, /, **values: Iterable[Any]) -> Self:
        """Call the function of each node once for each of several values of a parameter, or of several at a time.

        The calls are nodes named ``<name>-0``, ``<name>-1`` and so on; the node itself becomes the list of their
        results.

        Args:
            pattern: for names of nodes.
            values: by parameter: its values, as many for each.

        Raises:
            UnknownNodeError: no name matches.
            EditError: parameters have different numbers of values; a node has no such parameter; or it is a stateful
                object, or calls a method of one.
            DuplicateNameError: a node has the name of a call already.
        """
        for parameter, column in values.items():
            if not isinstance(column, Iterable) or isinstance(column, Node | Item):
                raise EditError(f"map_over takes the values of {parameter!r} one by one, got {column!r}")
        columns = {parameter: list(column) for parameter, column in values.items()}
        lengths = {parameter: len(column) for parameter, column in columns.items()}
        if len(set(lengths.values())) != 1:
            raise EditError(f"map_over takes values of parameters, as many for each, got these numbers: {lengths}")
        graph = self._graph.copy()
        for name in self._matching(pattern):
            node = graph[name]
            if node.target.kind != "function":
                raise EditError(f"node {name!r} calls a {node.target.kind}; the calls of an object are not multiplied")
            keys = {parameter: _key_of(name, node, parameter) for parameter in columns}
            members = []
            for number, row in enumerate(zip(*columns.values(), strict=True)):
                member = node
                for key, value in zip(keys.values(), row, strict=True):
                    member = _with_argument(member, key, graph.captured(value))
                members.append(f"{name}-{number}")
                graph.add(members[-1], member)
            graph.change(name, EditableNode(_LISTED, tuple(map(Ref, members)), {}, node.site))
        return self._keep(graph)

    def collapse(
        self,
        nodes: str | Iterable[str] | None = None,
        *,
        name: str | None = None,
        chains: bool = False,
        max_seconds: float | None = None,
    ) -> Self:
        """Let many nodes be one step of the engine, made by one call in one worker or pod, in the order of the plan.

        The nodes keep their names, and all that goes with them: stored results, events, plugins, retries and time
        limits. A collapsed step needs the most of each resource that one of its nodes needs; other options of the
        engine have to be the same for all. It starts when all that its nodes need is there.

        Args:
            nodes: a pattern for names, or names; by default all, with `chains` or `max_seconds`.
            name: of the step; by default that of the first node and the number of nodes.
            chains: whether each chain of nodes becomes a step, of which each but the last is all that the next one
                takes, and is taken by nothing else.
            max_seconds: nodes that follow each other in the order of the plan become steps of at most so many seconds,
                as long as the nodes took when their results were stored; a node that took longer, or was never stored,
                stays as it is.

        Raises:
            UnknownNodeError: a name, or every name, is not in the graph.
            EditError: nothing is said of which nodes become one step, or too much; or a node has the name.
            OptionError: `max_seconds` is given, and the workflow has no store.
        """
        if chains and max_seconds is not None:
            raise EditError("collapse takes chains=True or max_seconds=, not both")
        if nodes is None and not chains and max_seconds is None:
            raise EditError("collapse takes a pattern, names, chains=True or max_seconds=")
        names = self._chosen(".*" if nodes is None else nodes)
        graph = self._graph.copy()
        if max_seconds is not None:
            durations = self._durations(names)
            groups = _runs_of_short(names, durations, max_seconds)
        else:
            groups = _chains(graph, names) if chains else [names]
        if name is not None and len(groups) > 1 and "{}" not in name:
            raise EditError(
                f"{len(groups)} steps cannot have one name, {name!r}; '{{}}' stands for that of a first node"
            )
        taken = set(graph.groups.values())
        for members in groups:
            label = f"{members[0]} and {len(members) - 1} more" if name is None else name.replace("{}", members[0])
            if label in graph and label not in members:
                raise EditError(f"a collapsed step cannot have the name of a node, {label!r}")
            if label in taken:
                raise EditError(f"a collapsed step has the name {label!r} already")
            graph.collapse(members, label)
        return self._keep(graph)

    def _chosen(self, nodes: str | Iterable[str]) -> list[str]:
        chosen = set(self._matching(nodes) if isinstance(nodes, str) else map(self._known, nodes))
        if not chosen:
            raise EditError("collapse was given no names")
        return [name for name in self._graph.order() if name in chosen]

    @property
    def graph(self) -> EditableGraph:
        """The edited graph."""
        return self._graph

    def done(self) -> W:
        """Return a workflow with these edits, on the same backend and with the same options.

        Raises:
            CycleError: a node would need its own result.
        """
        return self._make(self._graph.copy())

    def _matching(self, pattern: str) -> list[str]:
        names = list(self._graph)
        matches = compiled(pattern).fullmatch
        found = [name for name in names if matches(name)]
        if not found:
            raise UnknownNodeError(
                f"no node's name matches {pattern!r} as a whole{did_you_mean(pattern, names)} (nodes that are made in "
                "the run cannot be edited)"
            )
        return found

    def _known(self, name: str) -> str:
        if name not in self._graph:
            raise UnknownNodeError(f"no node is named {name!r}{did_you_mean(name, self._graph)}")
        return name

    def _keep(self, graph: EditableGraph) -> Self:
        self._graph = graph
        return self


def listed(*items: Any) -> list[Any]:
    """Return the results of the calls that a node was multiplied into."""
    return list(items)


_LISTED = target_called(workflow(listed))


def _chains(graph: EditableGraph, names: Sequence[str]) -> list[list[str]]:
    """Return the maximal chains of two nodes and more."""
    chains: dict[str, list[str]] = {}  # by their last nodes
    for name in names:
        parents = list(graph[name].parents())
        chain = chains.pop(parents[0], None) if len(parents) == 1 else None
        if chain is not None and len(graph.children(parents[0])) != 1:
            chains[parents[0]] = chain
            chain = None
        chains[name] = [*(chain or ()), name]
    return [chain for chain in chains.values() if len(chain) > 1]


def _runs_of_short(names: Sequence[str], durations: Mapping[str, float], most: float) -> list[list[str]]:
    """Return nodes that follow each other and take at most so many seconds together, two and more."""
    groups: list[list[str]] = []
    group: list[str] = []
    total = 0.0
    for name in names:
        seconds = durations.get(name, most + 1)
        if group and total + seconds > most:
            groups.append(group)
            group, total = [], 0.0
        if seconds <= most:
            group.append(name)
            total += seconds
    return [one for one in (*groups, group) if len(one) > 1]


def _target(function: Any) -> Target:
    if isinstance(function, Node | Item) or not callable(function):
        raise OptionError(f"an edit takes a function, got {function!r}")
    return target_called(workflow(function))


def _site() -> CallSite:
    """Return where the method of the editor was called."""
    frame = sys._getframe(2)
    return CallSite(frame.f_code, frame.f_lasti)


def _wrapped(outer: FunctionTarget, inner: FunctionTarget) -> Callable[..., Any]:
    """Return a function that calls another with a third, whose name it has."""
    wrapped: Any = partial(outer.function, inner.function)
    wrapped.__qualname__ = inner.qualname
    wrapped.__name__ = inner.qualname.rpartition(".")[2]
    wrapped.__module__ = getattr(inner.function, "__module__", None)
    return cast("Callable[..., Any]", wrapped)


def _call(
    graph: EditableGraph, target: Target, args: Sequence[Any], kwargs: Mapping[str, Any], site: CallSite
) -> EditableNode:
    """Return the node of a new call; its first argument holds Refs, the others may hold nodes."""
    if target.kind != "function":
        raise EditError(f"{target!r} cannot be inserted: an edit inserts calls of functions")
    target.check(tuple(args), kwargs)
    first, *rest = args
    captured = tuple([graph.captured(value) for value in rest])
    return EditableNode(target, (first, *captured), {key: graph.captured(value) for key, value in kwargs.items()}, site)


def _name_of(given: str | None, old: str, target: Target) -> str:
    if given is None:
        return f"{old}-{target.qualname.rpartition('.')[2].strip('<>')}"
    if not isinstance(given, str) or not given:
        raise InvalidNameError(f"a name must be a non-empty string, got {given!r}")
    return given.replace("{}", old)


def _taken(value: Any, ref: Ref) -> Any:
    try:
        return ref.take(value)
    except Exception as error:
        raise EditError(f"what stands in the place of {ref.step!r} has no item {ref.items}: {error}") from None


def _refuse_needed(graph: EditableGraph, name: str, removed: set[str]) -> None:
    """Raise EditError if a node cannot go.

    Args:
        graph: the graph.
        name: of the node.
        removed: names of nodes that go with it.
    """
    users = [one for one in (*graph.method_calls(name), *graph.consumers(name)) if one not in removed]
    if graph[name].target.kind == "constructor" and users:
        raise EditError(f"{name!r} is a stateful object that {users[0]!r} uses; remove that too")
    if users or graph.is_result(name):
        who = f"{users[0]!r} takes its result" if users else "it is asked for as a result"
        raise EditError(f"{name!r} cannot be removed: {who}; say what stands in its place, with instead= or value=")


def _only_argument(name: str, node: EditableNode) -> str | int:
    """Return the only argument of a call that takes results."""
    arguments: list[tuple[str | int, Any]] = [*enumerate(node.args), *node.kwargs.items()]
    places = [place for place, value in arguments if refs_within(value)]
    if len(places) != 1:
        takes = f"several arguments ({', '.join(map(repr, places))})" if places else "no argument"
        raise EditError(f"node {name!r} takes results in {takes}: say in which, with argument=")
    return places[0]


def _key_of(name: str, node: EditableNode, argument: str | int) -> str | int:
    """Return the position or the keyword of an argument in a call.

    Args:
        name: of the node.
        node: the call.
        argument: a parameter, or a position.
    """
    if isinstance(argument, int):
        if not 0 <= argument < len(node.args):
            raise EditError(f"node {name!r} has {len(node.args)} positional arguments, no number {argument}")
        return argument
    if argument in node.kwargs:
        return argument
    parameters = node.target.check.signature().parameters
    found = parameters.get(argument)
    if found is None or found.kind is found.VAR_POSITIONAL or found.kind is found.VAR_KEYWORD:
        if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
            return argument
        known = ", ".join(parameters)
        raise EditError(f"{node.target.qualname}, which node {name!r} calls, has no parameter {argument!r}: {known}")
    position = list(parameters).index(argument)
    if found.kind is found.KEYWORD_ONLY or position >= len(node.args):
        if found.kind is found.POSITIONAL_ONLY:
            raise EditError(f"node {name!r} is called without {argument!r}, which is given by its position only")
        return argument
    return position


def _with_argument(node: EditableNode, key: str | int, value: Any) -> EditableNode:
    if isinstance(key, str):
        return node._replace(kwargs={**node.kwargs, key: value})
    return node._replace(args=(*node.args[:key], value, *node.args[key + 1 :]))
