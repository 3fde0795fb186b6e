"""Graphs: the nodes that belong together, under checked names, in a deterministic order."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING

from functionfuse.errors import DuplicateNameError, OptionError, UnknownNodeError
from functionfuse.nodes import InstanceNode, Item, Node, call_site, serials

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_by_creation = attrgetter("_serial")
last_graph = threading.local()
"""When this thread last made a graph: ``serial`` is larger than that of every node made before."""


class Graph:
    """The whole graph that some nodes belong to.

    With ``scope="graph"`` these are their ancestors, all the descendants of those, and what the descendants
    need in turn; with ``scope="ancestors"`` only what the given nodes need. Names do not depend on the
    scope: an unnamed node is ``qualname_0000``, counted per function in order of creation.

    A node's arguments exist before the node, so the order of creation is a topological order, and the one
    that the user's program has.

    Args:
        targets: the given nodes.
        scope: "graph" or "ancestors".

    Attributes:
        nodes: name to node, in topological order.

    Raises:
        OptionError: the scope is unknown.
        DuplicateNameError: two nodes have one name.
    """

    def __init__(self, targets: Iterable[Node], *, scope: str = "graph") -> None:
        if scope not in ("graph", "ancestors"):
            raise OptionError(f"unknown scope {scope!r}; known: 'graph', 'ancestors'")
        last_graph.serial = next(serials)
        targets = list(targets)
        everything = sorted(_reach(targets, descend=True), key=_by_creation)
        notebooks = sys.modules.get("functionfuse.notebooks")
        if notebooks is not None:
            everything = notebooks.without_replaced(everything, targets)
        names = _auto_names(everything)
        if scope == "ancestors":
            # a stateful object as a result is the one after all of its calls
            ends = [target._last_change if isinstance(target, InstanceNode) else target for target in targets]
            kept = _reach(dict.fromkeys([*targets, *ends]), descend=False)
            everything = [node for node in everything if node in kept]
        self.nodes: dict[str, Node] = {}
        for node in everything:
            name = node._name or names[node]
            if self.nodes.setdefault(name, node) is not node:
                raise _duplicate(name, self.nodes[name], node, everything)
        self._names: dict[Node, str] | None = None

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[str]:
        return iter(self.nodes)

    def __contains__(self, name: object) -> bool:
        return name in self.nodes

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
            for parent in parents(node):
                yield names[parent], name


def parents(node: Node) -> Iterable[Node]:
    """Return the nodes that have to be done before a node."""
    return dict.fromkeys((*node._needs, *node._after)) if node._after else node._needs


def _reach(start: Iterable[Node], *, descend: bool) -> dict[Node, None]:
    """Return every node that is reached along parents, and with ``descend`` along children too."""
    seen = dict.fromkeys(start)
    stack = list(seen)
    while stack:
        node = stack.pop()
        for nodes in (node._needs, node._after, node._children) if descend else (node._needs, node._after):
            for near in nodes:
                if near not in seen:
                    seen[near] = None
                    stack.append(near)
    return seen


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


def _duplicate(name: str, first: Node, second: Node, nodes: Iterable[Node]) -> DuplicateNameError:
    notebooks = sys.modules.get("functionfuse.notebooks")
    hint = 'a notebook cell that was run twice made its nodes twice: scope="ancestors" leaves the old ones out'
    if notebooks is not None and notebooks.made_again(first, second):
        hint = notebooks.why_kept(first, nodes)
    return DuplicateNameError(
        f"two nodes are named {name!r}: {first._target.qualname} at {call_site(first)} "
        f"and {second._target.qualname} at {call_site(second)}; names are unique within a graph ({hint})"
    )
