"""Graphs: the nodes that belong together, under checked names, in a deterministic order."""

from __future__ import annotations

import threading
from collections import Counter
from graphlib import CycleError as _Cycle
from graphlib import TopologicalSorter
from heapq import heapify, heappop, heappush
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from functionfuse.errors import CycleError, DuplicateNameError, OptionError, UnknownNodeError, UsageError
from functionfuse.nodes import InstanceNode, Item, Node, call_site, serials

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from functionfuse.targets import Target

_by_creation = attrgetter("_serial")
last_graph = threading.local()
"""When this thread last made a graph: ``serial`` is larger than that of every node made before."""


class Edit(NamedTuple):
    """The replacement of a node: consumers of the old result take the new one.

    Attributes:
        new: the node that replaces the old one.
        keepers: consumers that keep the old one, because the new one is made from them.
    """

    new: Node
    keepers: frozenset[Node]


class Edits(NamedTuple):
    """What a workflow changes in a graph; the nodes themselves stay as they are.

    Attributes:
        replaced: by node: its replacement.
        targets: by node: what is called instead of the node's function.
    """

    replaced: Mapping[Node, Edit] = MappingProxyType({})
    targets: Mapping[Node, Target] = MappingProxyType({})


class Graph:
    """The whole graph that some nodes belong to.

    With ``scope="graph"`` these are their ancestors, all the descendants of those, and what the descendants
    need in turn; with ``scope="ancestors"`` only what the given nodes need. Names do not depend on the
    scope: an unnamed node is ``qualname_0000``, counted per function in order of creation.

    A node's arguments exist before the node, so the order of creation is a topological order, and the one
    that the user's program has. Only an edited graph has to be sorted.

    Args:
        targets: the given nodes.
        scope: "graph" or "ancestors".
        edits: what a workflow changes; nothing by default.

    Attributes:
        nodes: name to node, in topological order.

    Raises:
        OptionError: the scope is unknown.
        DuplicateNameError: two nodes have one name.
        CycleError: an edit makes a node need its own result.
    """

    def __init__(self, targets: Iterable[Node], *, scope: str = "graph", edits: Edits | None = None) -> None:
        if scope not in ("graph", "ancestors"):
            raise OptionError(f"unknown scope {scope!r}; known: 'graph', 'ancestors'")
        last_graph.serial = next(serials)
        self._edits, self._targets = edits or Edits()
        targets = [self.source(None, target) for target in targets]
        everything = sorted(self._reach(targets, descend=True), key=_by_creation)
        names = _auto_names(everything)
        if scope == "ancestors":
            # a stateful object as a result is the one after all of its calls
            ends = [target._last_change if isinstance(target, InstanceNode) else target for target in targets]
            kept = self._reach(dict.fromkeys([*targets, *ends]), descend=False)
            everything = [node for node in everything if node in kept]
        if self._edits:
            everything = self._sorted(everything)
        self.nodes: dict[str, Node] = {}
        for node in everything:
            name = node._name or names[node]
            if self.nodes.setdefault(name, node) is not node:
                raise _duplicate(name, self.nodes[name], node)
        self._names: dict[Node, str] | None = None

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[str]:
        return iter(self.nodes)

    def __contains__(self, name: object) -> bool:
        return name in self.nodes

    @property
    def edited(self) -> bool:
        """True if the workflow changed the graph that the nodes make."""
        return bool(self._edits or self._targets)

    @property
    def names(self) -> Mapping[Node, str]:
        """The names by node."""
        if self._names is None:
            self._names = {node: name for name, node in self.nodes.items()}
        return self._names

    def name_of(self, node: Node | Item) -> str:
        """Return the name of a node in this graph.

        Raises:
            UnknownNodeError: the node belongs to another graph.
        """
        node = node._node if isinstance(node, Item) else node
        try:
            return self.names[node]
        except KeyError:
            raise UnknownNodeError(
                f"{node!r}, created at {call_site(node)}, is not in this graph; connect it, "
                "or give it to the workflow's constructor too"
            ) from None

    def edges(self) -> Iterator[tuple[str, str]]:
        """Yield (parent, child) for every argument, and for consecutive calls of one stateful object's methods."""
        names = self.names
        for name, node in self.nodes.items():
            for parent in self.parents(node):
                yield names[parent], name

    def needs(self, node: Node) -> Sequence[Node]:
        """Return the nodes whose results the arguments of a node hold."""
        return [self.source(node, parent) for parent in node._needs] if self._edits else node._needs

    def parents(self, node: Node) -> Iterable[Node]:
        """Return the nodes that have to be done before a node."""
        if not node._after:
            return self.needs(node)
        return dict.fromkeys((*self.needs(node), *node._after))

    def source(self, consumer: Node | None, node: Node) -> Node:
        """Return the node that gives a consumer the value of a node, edits considered.

        Args:
            consumer: the node whose arguments take the value; None for a workflow that returns it.
            node: the node that the arguments hold.
        """
        edit = self._edits.get(node)
        while edit is not None and consumer not in edit.keepers:
            node, edit = edit.new, self._edits.get(edit.new)
        return node

    def target(self, node: Node) -> Target:
        """Return what a node calls, edits considered."""
        return self._targets.get(node, node._target) if self._targets else node._target

    def with_target(self, node: Node, target: Target) -> Edits:
        """Return the edits of this graph and one more: a node calls another target.

        Args:
            node: a node of this graph.
            target: what it shall call.

        Raises:
            UnknownNodeError: ``node`` is not in this graph.
            UsageError: the node's arguments do not fit the new target, or the kinds of the two differ.
        """
        name = self.name_of(node)
        if target.kind != node._target.kind:
            raise UsageError(f"{name!r} calls a {node._target.kind}, which cannot be replaced by {target!r}")
        target.check(node._args, node._kwargs)
        return Edits(self._edits, {**self._targets, node: target})

    def with_replacement(self, old: Node, new: Node) -> Edits:
        """Return the edits of this graph and one more: consumers of a node take the result of another.

        What ``new`` itself needs keeps ``old``, so that nodes can be inserted behind it.

        Args:
            old: a node of this graph.
            new: the node that replaces it.

        Raises:
            UnknownNodeError: ``old`` is not in this graph.
            CycleError: ``old`` replaces ``new`` already.
        """
        self.name_of(old)
        if self.source(None, new) is old or old is new:
            raise CycleError(f"{old!r} cannot be replaced by {new!r}: it is that node, or replaces it already")
        keepers = frozenset(Graph([new], scope="ancestors").names) - {old}
        return Edits({**self._edits, old: Edit(new, keepers)}, self._targets)

    def _reach(self, start: Iterable[Node], *, descend: bool) -> dict[Node, None]:
        """Return every node that is reached along parents, and with ``descend`` along children too."""
        seen = dict.fromkeys(start)
        stack = list(seen)
        while stack:
            node = stack.pop()
            needs = self.needs(node) if self._edits else node._needs
            for nodes in (needs, node._after, node._children) if descend else (needs, node._after):
                for near in nodes:
                    if near not in seen:
                        seen[near] = None
                        stack.append(near)
        if not self._edits:
            return seen
        taken = {parent for node in seen for parent in self.parents(node)}
        return {node: None for node in seen if node in taken or node not in self._edits}

    def _sorted(self, nodes: list[Node]) -> list[Node]:
        """Sort an edited graph: parents first, otherwise in order of creation."""
        sorter = TopologicalSorter({node: self.parents(node) for node in nodes})
        try:
            sorter.prepare()
        except _Cycle as error:
            path = " -> ".join(repr(node) for node in error.args[1])
            raise CycleError(f"after this edit a node would need its own result: {path}") from None
        ready = [(node._serial, node) for node in sorter.get_ready()]
        heapify(ready)
        ordered = []
        while ready:
            _, node = heappop(ready)
            ordered.append(node)
            sorter.done(node)
            for following in sorter.get_ready():
                heappush(ready, (following._serial, following))
        return ordered


def _auto_names(nodes: list[Node]) -> dict[Node, str]:
    """Return names for the nodes without one, different from the names that were given."""
    unnamed = [node for node in nodes if node._name is None]
    if not unnamed:
        return {}
    given = {node._name for node in nodes if node._name is not None}
    counts: Counter[str] = Counter()
    names = {}
    for node in unnamed:
        qualname = node._target.qualname
        name = f"{qualname}_{counts[qualname]:04d}"
        while name in given:
            counts[qualname] += 1
            name = f"{qualname}_{counts[qualname]:04d}"
        counts[qualname] += 1
        names[node] = name
    return names


def _duplicate(name: str, first: Node, second: Node) -> DuplicateNameError:
    return DuplicateNameError(
        f"two nodes are named {name!r}: {first._target.qualname} at {call_site(first)} "
        f"and {second._target.qualname} at {call_site(second)}; names are unique within a graph "
        '(a notebook cell that was run twice made its nodes twice: scope="ancestors" leaves the old ones out)'
    )
