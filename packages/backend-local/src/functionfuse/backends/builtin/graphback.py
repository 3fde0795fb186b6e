"""Draw a graph instead of running it."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from functionfuse.backends.base import BaseWorkflow
from functionfuse.backends.builtin._local.picture import (
    Pictured,
    PictureError,
    digraph,
    draw,
    graphviz_package,
)
from functionfuse.backends.spec import check_run_options
from functionfuse.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    from functionfuse._typing import HasResult
    from functionfuse.backends.execution import Run
    from functionfuse.backends.node_states import NodeState
    from functionfuse.backends.spec import RunOptions

__all__ = ["GraphWorkflow", "PictureError"]


class GraphWorkflow(Pictured, BaseWorkflow[str]):
    """Writes the picture of a graph to ``<doc_path>/<workflow_name>.<format>``, and its DOT source beside it.

    Args:
        nodes: nodes of the graph.
        workflow_name: the picture's file name.
        doc_path: folder for the picture; made if it is missing.
        format: any format of Graphviz, such as "svg", "png" or "pdf". Without Graphviz's ``dot`` program: "svg".
        view: open the picture with the system's viewer.
        scope: "graph" or "ancestors"; see `BaseWorkflow`.

    Raises:
        OptionError: the format is unknown.
    """

    def __init__(
        self,
        *nodes: HasResult[Any],
        workflow_name: str,
        doc_path: str | Path = ".",
        format: str = "svg",
        view: bool = False,
        scope: str = "graph",
    ) -> None:
        super().__init__(*nodes, workflow_name=workflow_name, scope=scope)
        with suppress(PictureError):  # which `run` raises
            formats = graphviz_package().FORMATS
            if format not in formats:
                raise OptionError(f"unknown picture format {format!r}; known: {', '.join(sorted(formats))}")
        self._folder = Path(doc_path)
        self._format = format
        self._view = view

    def run(self, **options: Unpack[RunOptions]) -> str:
        """Draw the graph; nothing of it runs.

        Args:
            options: as for other backends, without effect.

        Returns:
            The path of the picture.

        Raises:
            PictureError: the packages for pictures are not installed; or no installed program draws the format, and
                the DOT source is written nevertheless.
            OptionError: the folder cannot be written to.
            UsageError: there is no such option.
        """
        check_run_options(options)
        graphviz = graphviz_package()
        dot = self.graph()
        base = self._folder / re.sub(r"[^\w .,()+-]", "_", self.workflow_name)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            source = base.with_name(f"{base.name}.gv")
            source.write_text(dot.source, encoding="utf-8")
            picture = base.with_name(f"{base.name}.{self._format}")
            picture.write_bytes(draw(dot, self._format))
        except OSError as error:
            raise OptionError(f"a picture cannot be written to doc_path={str(self._folder)!r}: {error}") from error
        if self._view:
            graphviz.view(str(picture))
        return str(picture)

    def picture(self, format: str = "svg", *, states: Mapping[str, NodeState] = MappingProxyType({})) -> bytes:
        """Return the picture, without writing it.

        Args:
            format: any format of Graphviz; "dot" is the source. Without Graphviz's ``dot`` program: "svg" or "dot".
            states: of nodes by name, as `states` returns them, which colours and lines show.

        Raises:
            PictureError: the packages for pictures are not installed, or no installed program draws the format.
        """
        dot = digraph(self.dag, self.workflow_name, states)
        return dot.source.encode() if format == "dot" else draw(dot, format)

    def execute(self, run: Run) -> None:  # noqa: ARG002
        raise AssertionError("a picture executes nothing")
