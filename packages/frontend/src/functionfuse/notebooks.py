"""Notebooks: how nodes are shown there, and which of them a cell made anew that was run again.

The package imports this module where IPython runs. It notes which cell is run when, by the numbers that nodes are
created with, so that nodes themselves know nothing of cells.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakValueDictionary

from functionfuse._tables import Table
from functionfuse._warning import warn_user
from functionfuse.containers import CONTAINERS, Nest
from functionfuse.deferred import Deferred
from functionfuse.errors import UsageError
from functionfuse.nodes import Item, Node, serials

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from functionfuse.backends.base import BaseWorkflow

_MOST_NAMED = 5

workflows: WeakValueDictionary[int, BaseWorkflow] = WeakValueDictionary()
"""The workflows that were made in this notebook, by numbers in that order."""


class CellRun(NamedTuple):
    """One run of a cell.

    Attributes:
        start: smaller than the numbers of the nodes that it makes.
        cell: the id of the cell, which editing does not change; its text, where the notebook's program sends no ids.
    """

    start: int
    cell: tuple[str, str]


_runs: list[CellRun] = []
_start = attrgetter("start")
_told: set[int] = set()  # numbers of nodes of which was said that they are replaced


def watch() -> None:
    """Show nodes, and note from now on which cell is run when, if this is a notebook or an IPython session."""
    shell = getattr(sys.modules["IPython"], "get_ipython", lambda: None)()
    if shell is None or _runs:
        return
    inputs = shell.history_manager.input_hist_raw
    present = shell.get_parent() if hasattr(shell, "get_parent") else {}
    _note(present.get("metadata", {}).get("cellId"), inputs[-1] if inputs else "")
    shell.events.register("pre_run_cell", lambda info: _note(info.cell_id, info.raw_cell))
    shell.display_formatter.formatters["text/html"].for_type(Node, node_html)


def _note(cell_id: str | None, text: str) -> None:
    _runs.append(CellRun(next(serials), ("id", cell_id) if cell_id else ("text", text)))


def _run_of(node: Node) -> int:
    """Return the place, among the runs of cells, of the one that made a node."""
    return bisect_right(_runs, node._serial, key=_start) - 1


def made_again(former: Node, node: Node) -> bool:
    """Return True if a later run of the cell that made a node made another one.

    Args:
        former: the node.
        node: the other node.
    """
    if not _runs:
        return False
    first, second = _run_of(former), _run_of(node)
    return first < second and _runs[first].cell == _runs[second].cell


def without_replaced(nodes: list[Node], targets: Iterable[Node]) -> list[Node]:
    """Leave out the nodes whose names were given again by a later run of their cell, and what was made for them alone.

    A node stays if it is asked for, or if something takes its result that stays.

    Args:
        nodes: of a graph, in order of creation, with all that depends on them.
        targets: those that are asked for.
    """
    last = {node._name: node for node in nodes if node._name is not None}
    former = {node for node in nodes if node._name is not None and made_again(node, last[node._name])}
    if not former:
        return nodes
    repeated, wanted = {_run_of(node) for node in former}, set(targets)
    replaced: set[Node] = set()
    for node in reversed(nodes):
        is_for_others = node._name is None and node._children and _run_of(node) in repeated
        if (node in former or is_for_others) and node not in wanted and replaced.issuperset(node._children):
            replaced.add(node)
    _tell(node for node in nodes if node in replaced and node._name is not None)
    return [node for node in nodes if node not in replaced]


def _tell(replaced: Iterable[Node]) -> None:
    new = [node for node in replaced if node._serial not in _told]
    _told.update(node._serial for node in new)
    names = list(dict.fromkeys(repr(node._name) for node in new))
    if names:
        more = f" (and {len(names) - _MOST_NAMED} more)" if len(names) > _MOST_NAMED else ""
        warn_user(
            f"a cell was run again: its new {'nodes' if len(names) > 1 else 'node'} {', '.join(names[:_MOST_NAMED])}"
            f"{more} replaced the former in the graph"
        )


def why_kept(former: Node, nodes: Iterable[Node]) -> str:
    """Return why a node that was made again is still needed, and what to do.

    Args:
        former: the node.
        nodes: of the graph.
    """
    kept = set(nodes)
    child = next((child for child in former._children if child in kept), None)
    if child is None:
        return "the cell was run again, and the former node was given to the workflow: give it the new one"
    return (
        f"the cell was run again, but {child!r} still needs the former node: run the cell that makes that again, too, "
        'or scope="ancestors" takes only what the given nodes need'
    )


def node_html(node: Node) -> str:
    """Return a table of the arguments of a node, headed by its name, function, and what is known of its result."""
    name = "without a name" if node._name is None else repr(node._name)
    title = f"node {name}, a call of {node._target.qualname}"
    return Table(f"{title}{_known_of(node)}", ("parameter", "argument"), list(_arguments(node)), frozenset()).html()


def _known_of(node: Node) -> str:
    """Return what the newest workflow of the notebook with this node knows of it, with a store if one has."""
    having = [workflow for workflow in reversed(list(workflows.values())) if node in workflow.dag.names]
    workflow = next((one for one in having if one._store is not None), having[0] if having else None)
    if workflow is None:
        return ""
    return f"; {workflow.states()[workflow.dag.name_of(node)].text} in workflow {workflow.workflow_name!r}"


def _arguments(node: Node) -> Iterator[tuple[str, str]]:
    from functionfuse.backends.short_texts import text_of_value

    names = _parameters(node)
    for place, value in enumerate(node._args):
        name = names[place] if place < len(names) else f"[{place}]"
        yield name, _shown(value) or text_of_value(name, value)
    for name, value in node._kwargs.items():
        yield name, _shown(value) or text_of_value(name, value)


def _parameters(node: Node) -> Sequence[str]:
    try:
        parameters = node._target.check.signature().parameters.values()
    except UsageError:
        return ()
    return [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]


def _shown(value: Any) -> str:
    """Return a text of an argument that is a node or holds some; an empty one of any other."""
    if isinstance(value, Item):
        return _shown(value._node) + "".join(f"[{key!r}]" for key in value._path)
    if isinstance(value, Node):
        return f"the result of {value._name or value._target.qualname!r}"
    if type(value) is not Nest:
        return ""
    held = value.value
    items: list[Any] = [*held.values()] if isinstance(held, dict) else list(held)  # type: ignore[call-overload]
    nodes = sum(isinstance(item, Deferred) for item in items)
    nests = sum(isinstance(item, CONTAINERS) for item in items)
    counts = [f"{nodes} nodes"] * bool(nodes) + [f"{nests} containers"] * bool(nests)
    return f"{type(held).__name__} of length {len(items)} with {' and '.join(counts)}"
