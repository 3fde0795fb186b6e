"""Reports: what became of every step of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from functionfuse.backends.texts import shown

if TYPE_CHECKING:
    from functionfuse.errors import NodeError


class RunReport:
    """What became of every step of a run.

    Attributes:
        finished: names of the steps that ran to their end.
        reused: names of the steps whose stored results were reused.
        failed: name to error, for the steps that failed.
        skipped: name to the name of the failed step that it depends on.
        tolerated: names of the failed steps without which the run goes on.
        differing: name to what was found, for the reused steps that gave another result when they were verified.
    """

    def __init__(self) -> None:
        self.finished: list[str] = []
        self.reused: list[str] = []
        self.failed: dict[str, NodeError] = {}
        self.skipped: dict[str, str] = {}
        self.tolerated: list[str] = []
        self.differing: dict[str, str] = {}

    def note(self, kind: str, name: str, error: NodeError | None = None) -> None:
        """Record what became of a step.

        Args:
            kind: "finished", "reused" or "failed".
            name: the step's full name.
            error: of a failed step. If it has the name of another step, this one was skipped.
        """
        if error is None:
            {"finished": self.finished, "reused": self.reused}[kind].append(name)
        elif error.name in ("", name):
            self.failed[name] = error
        else:
            self.failed.setdefault(error.name, error)
            self.skipped[name] = error.name

    def __str__(self) -> str:
        lines = [
            f"{len(self.finished)} finished, {len(self.reused)} reused, "
            f"{len(self.failed)} failed, {len(self.skipped)} skipped"
        ]
        lines += [f"failed  {name}: {shown(error.__cause__)}" for name, error in self.failed.items()]
        lines += [f"differs {name}: {difference}" for name, difference in self.differing.items()]
        lines += [f"skipped {name}: needs {cause!r}" for name, cause in self.skipped.items()]
        return "\n".join(lines)
