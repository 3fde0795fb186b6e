"""Graphs as data that can be changed: nodes by name, and who takes the result of whom."""

from __future__ import annotations

from copy import copy
from functools import partial
from graphlib import CycleError as _Cycle
from graphlib import TopologicalSorter
from heapq import heapify, heappop, heappush
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse._collector import collector_paused
from functionfuse.containers import Nest, rebuild
from functionfuse.errors import CycleError, DuplicateNameError, UnknownNodeError
from functionfuse.graph import Graph
from functionfuse.nodes import InstanceNode, Item, Node, call_site
from functionfuse.plan import Ref, ref_of, refs_within, steps_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from types import CodeType

    from functionfuse.targets import Target

_GROUP = "\0group "  # before the name of a collapsed step, which a node may have too
_NOBODY: Mapping[str, Collection[str]] = MappingProxyType({})


class CallSite(NamedTuple):
    """Where a call stands in a program; nodes take it as they take a frame.

    Attributes:
        f_code: the code.
        f_lasti: the instruction.
    """

    f_code: CodeType
    f_lasti: int


class EditableNode(NamedTuple):
    """A node of an editable graph.

    Attributes:
        target: what is called.
        args: positional arguments; a `Ref`, or a `Nest` that holds some, stands for a result.
        kwargs: keyword arguments, likewise.
        site: where in the user's program the call stands.
        after: names of nodes to be done before, because of the state of a stateful object.
        instance: for a constructor or method the name of the constructor's node.
    """

    target: Target
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    site: CallSite
    after: tuple[str, ...] = ()
    instance: str | None = None

    def refs(self) -> list[Ref]:
        """Return the Refs in the arguments."""
        return [ref for value in (*self.args, *self.kwargs.values()) for ref in refs_within(value)]

    def parents(self) -> dict[str, None]:
        """Return the names of the nodes that have to be done before."""
        instance = () if self.instance is None or self.target.kind == "constructor" else (self.instance,)
        return dict.fromkeys((*[ref.step for ref in self.refs()], *self.after, *instance))

    def with_refs(self, substitute: Callable[[Ref], Any]) -> EditableNode:
        """Return the node with other arguments.

        Args:
            substitute: returns what replaces a Ref.
        """
        args = tuple([_changed(value, substitute) for value in self.args])
        return self._replace(args=args, kwargs={key: _changed(v, substitute) for key, v in self.kwargs.items()})


class EditableGraph:
    """The nodes of a graph by name, as data.

    It remembers the user's nodes that it was made from, so that further ones can be added that take their results.

    Args:
        graph: the graph; it stays as it is.
        results: the nodes, or items of them, that a workflow returns.

    Attributes:
        results: what a workflow returns.
    """

    def __init__(self, graph: Graph, results: Sequence[Node | Item]) -> None:
        self.results = [ref_of(node, graph) for node in results]
        self._nodes: dict[str, EditableNode] = {}
        self._children: dict[str, dict[str, None]] = {}
        self._names: dict[Node, str] = {}  # of the user's nodes
        self._made: dict[Node, str] = {}  # of the nodes that `graph` made last
        self._replaced: dict[Node, Ref] = {}  # what is taken instead of results of the user's nodes
        self._groups: dict[str, str] = {}  # by node: the collapsed step that it is a member of
        self._take(graph)

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __contains__(self, name: object) -> bool:
        return name in self._nodes

    def __getitem__(self, name: str) -> EditableNode:
        return self._nodes[name]

    def copy(self) -> EditableGraph:
        """Return a graph that can be changed without changing this one."""
        other = copy(self)
        other.results = list(self.results)
        other._nodes = dict(self._nodes)
        other._children = {name: dict(children) for name, children in self._children.items()}
        other._names = dict(self._names)
        other._replaced = dict(self._replaced)
        other._groups = dict(self._groups)
        return other

    # -- who takes what

    def name_of(self, node: Node) -> str:
        """Return the name of one of the user's nodes.

        Raises:
            UnknownNodeError: this graph was not made from it.
        """
        name = self._known(node)
        if name is None:
            raise UnknownNodeError(f"{node!r}, created at {call_site(node)}, is not in this graph")
        return name

    def is_result(self, name: str) -> bool:
        """Return whether a workflow returns the result of a node, or an item of it."""
        return any(ref.step == name for ref in self.results)

    def has_children(self, name: str) -> bool:
        """Return whether nodes take the result of a node, or come after it."""
        return bool(self._children.get(name))

    def children(self, name: str) -> list[str]:
        """Return the names of the nodes that take the result of a node, or come after it."""
        return list(self._children.get(name, ()))

    def consumers(self, name: str) -> list[str]:
        """Return the names of the nodes that take the result of a node."""
        return [child for child in self._children.get(name, ()) if any(r.step == name for r in self[child].refs())]

    def method_calls(self, instance: str) -> list[str]:
        """Return the names of the nodes that call methods of a stateful object."""
        return [name for name in self._children.get(instance, ()) if self[name].instance == instance]

    @property
    def groups(self) -> dict[str, str]:
        """By the names of nodes: the names of the collapsed steps that they are members of."""
        return {name: group for name, group in self._groups.items() if name in self._nodes}

    def collapse(self, names: Iterable[str], group: str) -> None:
        """Let nodes be members of a collapsed step, and no more of another one.

        Args:
            names: of the nodes.
            group: the name of the collapsed step.
        """
        self._groups.update(dict.fromkeys(names, group))

    def check_groups(self) -> None:
        """Raise CycleError if a collapsed step would need its own results, through nodes that are not in it."""
        groups = self.groups
        if not groups:
            return
        unit = {name: f"{_GROUP}{groups[name]}" if name in groups else name for name in self._nodes}
        needs: dict[str, dict[str, None]] = {}
        for name, node in self._nodes.items():
            parents = needs.setdefault(unit[name], {})
            parents.update(dict.fromkeys(unit[parent] for parent in node.parents() if unit[parent] != unit[name]))
        try:
            TopologicalSorter(needs).prepare()
        except _Cycle as error:
            path = list(dict.fromkeys(error.args[1]))
            group = next(name for name in path if name.startswith(_GROUP)).removeprefix(_GROUP)
            others = [name for name in path if name != f"{_GROUP}{group}"]
            between = ", ".join(repr(name.removeprefix(_GROUP)) for name in others)
            raise CycleError(
                f"the collapsed step {group!r} would need its own results, through {between}: put that into it, too, "
                "or make two of it"
            ) from None

    # -- changes

    def add(self, name: str, node: EditableNode) -> None:
        """Add a node.

        Args:
            name: of the node.
            node: the node.

        Raises:
            DuplicateNameError: another one has its name.
        """
        if name in self._nodes:
            raise DuplicateNameError(f"a node is named {name!r} already; give the new one another name")
        self._put(name, node, node.parents())

    def change(self, name: str, node: EditableNode) -> None:
        """Put another node under a name.

        Args:
            name: of the node that goes, and of the other one.
            node: the other one.
        """
        for parent in self._nodes[name].parents():
            del self._children[parent][name]
        self._put(name, node, node.parents())

    def redirect(
        self, substitutes: Mapping[str, Callable[[Ref], Any]], keepers: Mapping[str, Collection[str]] = _NOBODY
    ) -> None:
        """Let consumers take something else.

        Args:
            substitutes: by name of a node: returns what is taken instead of a `Ref` to its result.
            keepers: by name of a node: names of consumers that keep its result.
        """
        for consumer in dict.fromkeys(child for name in substitutes for child in self._children.get(name, ())):

            def substitute(ref: Ref, consumer: str = consumer) -> Any:
                if ref.step not in substitutes or consumer in keepers.get(ref.step, ()):
                    return ref
                return substitutes[ref.step](ref)

            self.change(consumer, self[consumer].with_refs(substitute))
        self.results = [substitutes[ref.step](ref) if ref.step in substitutes else ref for ref in self.results]

    def replace(self, replacements: Mapping[str, Ref], keepers: Mapping[str, Collection[str]] = _NOBODY) -> None:
        """Let consumers take other results, also those that are added later.

        Args:
            replacements: by name of a node: the result that is taken instead.
            keepers: as for `redirect`.
        """
        self.redirect({name: partial(_within, ref) for name, ref in replacements.items()}, keepers)
        for node in self._names:
            taken = self._current(node)
            if taken.step in replacements:
                self._replaced[node] = _within(replacements[taken.step], taken)

    def drop(self, name: str) -> None:
        """Drop a node whose result nobody takes; what comes after it comes after what it came after."""
        dropped = self._nodes.pop(name)
        for parent in dropped.parents():
            self._children.get(parent, {}).pop(name, None)
        for child in self._children.pop(name, {}):
            after = [earlier for one in self[child].after for earlier in (dropped.after if one == name else (one,))]
            self._nodes[child] = self[child]._replace(after=tuple(dict.fromkeys(after)))
            for earlier in dropped.after:
                self._children.setdefault(earlier, {})[child] = None

    # -- the user's nodes

    def captured(self, value: Any) -> Any:
        """Return an argument with Refs instead of nodes; nodes that it needs are added if they are not there."""
        found: list[Ref] = []

        def leaf(item: Any) -> Any:
            if isinstance(item, Node | Item):
                found.append(item := self.ref(item))
            return item

        changed = rebuild(value, leaf)
        return Nest(changed) if found and type(changed) is not Ref else changed

    def ref(self, node: Node | Item) -> Ref:
        """Return the Ref to a node, or to an item of one; nodes that it needs are added if they are not there.

        Raises:
            DuplicateNameError: the name of one of them is taken.
            UnknownNodeError: one of them was removed.
        """
        owner = _node_of(node)
        if self._known(owner) is None:
            self._take(Graph([owner], scope="ancestors"))
        current = self._current(owner)
        return Ref(current.step, (*current.path, *node._path)) if isinstance(node, Item) else current

    def ancestors(self, node: Node | Item) -> frozenset[str]:
        """Return the names of a node that was added, and of all the user's nodes that it was made from."""
        return frozenset(map(self.name_of, Graph([_node_of(node)], scope="ancestors").nodes.values()))

    def _known(self, node: Node) -> str | None:
        return self._names.get(node) or self._made.get(node)

    def _current(self, node: Node) -> Ref:
        """Return what is taken instead of a result of a node, as it is now."""
        return self._replaced.get(node) or Ref(self.name_of(node))

    def _take(self, graph: Graph) -> None:
        """Add the nodes of a graph that are not there yet."""
        new = {name: node for name, node in graph.nodes.items() if self._known(node) is None}
        taken = {name for name, node in new.items() if node._name is not None}
        for name, node in new.items():
            if node._name is not None and name in self._nodes:
                raise DuplicateNameError(
                    f"a node is named {name!r} already; name {node!r}, created at {call_site(node)}, otherwise"
                )
            self._names[node] = self._free(name, taken) if node._name is None else name
        current = {name: self._current(node) for name, node in graph.nodes.items()}
        is_unchanged = all(
            ref.step == name and not ref.path and (name in new or name in self._nodes) for name, ref in current.items()
        )
        for step in steps_of(graph):
            if step.name not in new:
                continue
            node = new[step.name]
            site = CallSite(node._code, node._lasti)
            added = EditableNode(step.target, step.args, step.kwargs, site, tuple(step.after), step.instance)
            if is_unchanged:
                self._put(step.name, added, (*step.needs, *step.after))
                continue
            after = [self.name_of(graph.nodes[earlier]) for earlier in step.after]
            added = added.with_refs(lambda ref: _within(current[ref.step], ref))._replace(
                after=tuple([earlier for earlier in after if earlier in self._nodes]),
                instance=None if step.instance is None else self.name_of(graph.nodes[step.instance]),
            )
            self._put(self._names[node], added, added.parents())

    def _free(self, name: str, taken: set[str]) -> str:
        """Return the name of an unnamed node, with another number if it is taken."""
        stem, _, number = name.rpartition("_")
        count = int(number)
        while name in self._nodes or name in taken:
            count += 1
            name = f"{stem}_{count:04d}"
        taken.add(name)
        return name

    def _put(self, name: str, node: EditableNode, parents: Iterable[str]) -> None:
        for parent in parents:
            if parent not in self._nodes and parent != name:
                raise UnknownNodeError(f"node {name!r} needs node {parent!r}, which was removed")
        self._nodes[name] = node
        for parent in parents:
            self._children.setdefault(parent, {})[name] = None

    # -- the graph

    def graph(self, scope: str) -> tuple[Graph, list[Node | Item]]:
        """Return the graph, of new nodes, and those of its nodes, or items of them, that a workflow returns.

        Args:
            scope: as for `Graph`.

        Raises:
            CycleError: a node would need its own result.
        """
        nodes: dict[str, Node] = {}

        def value_of(ref: Ref) -> Node | Item:
            return Item(nodes[ref.step], ref.path) if ref.path else nodes[ref.step]

        with collector_paused():
            for name in self.order():
                target, args, kwargs, site, _, instance = self._nodes[name]
                args = tuple([_plain(value, value_of) for value in args])
                kwargs = {key: _plain(value, value_of) for key, value in kwargs.items()}
                if target.kind == "constructor":
                    node: Node = InstanceNode(target, args, kwargs, site)  # type: ignore[arg-type]
                else:
                    node = Node(target, args, kwargs, site, nodes.get(instance))  # type: ignore[arg-type]
                nodes[name] = node.set_name(name)
            self._made = {node: name for name, node in nodes.items()}
            results = [value_of(ref) for ref in self.results]
            return Graph([nodes[ref.step] for ref in self.results], scope=scope), results

    def order(self) -> list[str]:
        """Return the names: parents first, otherwise in the order in which they came.

        Raises:
            CycleError: a node would need its own result.
        """
        places = {name: place for place, name in enumerate(self._nodes)}
        if all(places[name] < places[child] for name, children in self._children.items() for child in children):
            return list(places)
        sorter = TopologicalSorter({name: node.parents() for name, node in self._nodes.items()})
        try:
            sorter.prepare()
        except _Cycle as error:
            path = " -> ".join(map(repr, error.args[1]))
            raise CycleError(f"after this edit a node would need its own result: {path}") from None
        ready = [(places[name], name) for name in sorter.get_ready()]
        heapify(ready)
        ordered = []
        while ready:
            _, name = heappop(ready)
            ordered.append(name)
            sorter.done(name)
            for following in sorter.get_ready():
                heappush(ready, (places[following], following))
        return ordered


def _within(new: Ref, old: Ref) -> Ref:
    """Return what is taken instead of an item of a result, when another result replaces that."""
    return Ref(new.step, (*new.path, *old.path)) if old.path else new


def _node_of(node: Node | Item) -> Node:
    return node._node if isinstance(node, Item) else node


def _changed(value: Any, substitute: Callable[[Ref], Any]) -> Any:
    """Return an argument with something else instead of each Ref."""
    if type(value) is Nest:
        return Nest(rebuild(value.value, lambda item: substitute(item) if type(item) is Ref else item))
    return substitute(value) if type(value) is Ref else value


def _plain(value: Any, value_of: Callable[[Ref], Any]) -> Any:
    """Return an argument as a call has it: nodes instead of Refs."""
    changed = _changed(value, value_of)
    return changed.value if type(changed) is Nest else changed
