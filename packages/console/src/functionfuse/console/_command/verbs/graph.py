"""`functionfuse graph`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..documents import write_document
from ..exit_codes import DONE, REFUSED, USAGE, Failure
from ..streams import note, prints_to_stderr, write
from ..workflows import prepared, target_command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functionfuse.backends.node_states import NodeState
    from functionfuse.graph import Graph

_FORMATS = {".svg": "svg", ".png": "png", ".pdf": "pdf", ".dot": "dot", ".gv": "dot", ".mmd": "mermaid"}
_COLOURS = {
    "stored": "fill:#d5efd5,stroke:#2e7d32,color:#000",
    "finished": "fill:#d5efd5,stroke:#2e7d32,color:#000",
    "failed": "fill:#f8d0cc,stroke:#b3261e,color:#000",
    "blocked": "fill:#f8d0cc,stroke:#b3261e,color:#000,stroke-dasharray:4",
    "skipped": "stroke-dasharray:4",
}


@target_command(
    name="graph",
    help="""Draw the graph that TARGET names. Nothing runs.

    Without a file, it is written to standard output, for Mermaid.
    """,
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"The picture. Its ending says what it is: {', '.join(_FORMATS)}.",
)
@click.option("--states", is_flag=True, help="Show what is stored, what would run, and what is blocked.")
def _graph(as_json: bool, output: Path | None, states: bool, **values: Any) -> int:
    """Draw a graph."""
    kind = "mermaid" if output is None else _FORMATS.get(output.suffix.lower())
    if kind is None:
        raise Failure(USAGE, f"{str(output)!r} ends with no known format: {', '.join(_FORMATS)}")
    values["backend"] = values["backend"] or "graph"
    with prepared(values) as made:
        workflow: Any = made.workflow
        with prints_to_stderr():
            known = workflow.states() if states else {}
        if kind != "mermaid" and not hasattr(workflow, "picture"):
            raise Failure(USAGE, f"backend {made.backend!r} draws no pictures; leave --backend out")
        drawn = mermaid(workflow.dag, known).encode() if kind == "mermaid" else workflow.picture(kind, states=known)
    if output is not None:
        try:
            output.write_bytes(drawn)
        except OSError as error:
            raise Failure(REFUSED, f"{output} cannot be written: {error}") from error
        note(f"graph: {output}")
    if as_json:
        write_document("graph", {"workflow": workflow.workflow_name, "file": output, **_document(workflow.dag, known)})
    elif output is None:
        write(drawn.decode())
    return DONE


command = _graph


def mermaid(graph: Graph, states: Mapping[str, NodeState]) -> str:
    """Return a graph in the language of Mermaid.

    Args:
        graph: the graph.
        states: of nodes by name, which colours show.
    """
    numbers = {name: number for number, name in enumerate(graph.nodes)}
    lines = ["flowchart TD"]
    lines += [f'    n{number}["{_escaped(name)}"]' for name, number in numbers.items()]
    lines += [f"    n{numbers[parent]} --> n{numbers[child]}" for parent, child in graph.edges()]
    for state, look in _COLOURS.items():
        having = [f"n{numbers[name]}" for name, known in states.items() if known.state == state]
        if having:
            lines += [f"    classDef {state} {look}", f"    class {','.join(having)} {state}"]
    return "\n".join(lines)


def _escaped(name: str) -> str:
    """Return a name as the text of a box, in which nothing but letters, digits and some signs stands for itself."""
    return "".join(c if c.isalnum() or c in " _-.,()=/" else f"#{ord(c)};" for c in name)


def _document(graph: Graph, states: Mapping[str, NodeState]) -> dict[str, Any]:
    nodes = [
        {"name": name, **({"state": states[name].state, "reason": states[name].reason} if name in states else {})}
        for name in graph.nodes
    ]
    return {"nodes": nodes, "edges": [list(edge) for edge in graph.edges()]}
