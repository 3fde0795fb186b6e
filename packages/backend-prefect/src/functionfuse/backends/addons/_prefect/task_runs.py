"""The task runs of steps, and the edges between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.client.schemas.objects import RunInput, TaskRunResult

from functionfuse.backends.frames import Task
from functionfuse.plan import refs_within

from .artifact import parents_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from inspect import Signature
    from uuid import UUID

    from functionfuse.backends.frames import Frame
    from functionfuse.plan import Step


class TaskRuns:
    """The task runs of a run's steps, from which Prefect draws the graph's edges.

    Args:
        show: submits the task run of a reused step, and adds it here.
    """

    def __init__(self, show: Callable[[Task], None]) -> None:
        self._show = show
        self._ids: dict[tuple[Frame, str], UUID] = {}
        self._frames: set[Frame] = set()
        self._reused: dict[tuple[Frame, str], Step] = {}  # that have no task run yet

    def add(self, task: Task, task_run_id: UUID) -> None:
        """Record the task run of a step.

        Args:
            task: the step.
            task_run_id: of its task run.
        """
        self._ids[task.frame, task.step.name] = task_run_id

    def add_frames(self, frames: Iterable[Frame]) -> None:
        """Record the reused steps of frames that are new."""
        for frame in frames:
            if frame not in self._frames:
                self._frames.add(frame)
                self._reused.update(((frame, step.name), step) for step in frame.plan if step.action == "reuse")

    def show_next(self, *, rest: bool = False) -> bool:
        """Show a reused step that has no task run yet.

        Args:
            rest: whether a step is shown even if a parent of it has no task run.

        Returns:
            False if there is none to show now.
        """
        for (frame, name), step in self._reused.items():
            if rest or all((frame, parent) in self._ids for parent in parents_of(step)):
                self._show_with_ancestors(frame, name)
                return True
        return False

    def inputs(self, frame: Frame, names: Iterable[str]) -> set[RunInput]:
        """Return the task runs of steps, as far as they have any; reused ones are shown at the latest now.

        Args:
            frame: the frame of the steps.
            names: of the steps, in their frame.
        """
        found: set[RunInput] = set()
        for name in names:
            if (frame, name) in self._reused:
                self._show_with_ancestors(frame, name)
            if (frame, name) in self._ids:
                found.add(TaskRunResult(id=self._ids[frame, name]))
        return found

    def edges(self, task: Task, signature: Signature, parameters: list[str]) -> dict[str, set[RunInput]]:
        """Return the task runs that a node's parameters come from.

        Args:
            task: the node's step.
            signature: under which Prefect sees the node's function.
            parameters: names of the parameters that Prefect is given.
        """
        frame, step = task
        parents = _parents_by_parameter(step, signature)
        if step.after:
            parents.setdefault(parameters[0], []).extend(step.after)
        found = {key: self.inputs(frame, names) for key, names in parents.items()}
        edges = {key: runs for key, runs in found.items() if runs}
        if frame.parent is not None and not edges and parameters:  # made by the node that returned it
            edges[parameters[0]] = self.inputs(frame.parent.frame, [frame.parent.step.name])
        return edges

    def _show_with_ancestors(self, frame: Frame, name: str) -> None:
        """Show a reused step, after those of its ancestors that have no task run yet."""
        names = [name]
        while names:
            step = self._reused.get((frame, names[-1]))
            missing = [parent for parent in parents_of(step) if (frame, parent) in self._reused] if step else []
            names.extend(missing)
            if not missing:
                names.pop()
                if step is not None:
                    self._show(Task(frame, self._reused.pop((frame, step.name))))


def _parents_by_parameter(step: Step, signature: Signature) -> dict[str, list[str]]:
    parents: dict[str, list[str]] = {}
    if not step.needs:
        return parents
    args: tuple[Any, ...] = (None, *step.args) if step.target.kind == "method" else step.args
    for key, value in signature.bind(*args, **step.kwargs).arguments.items():
        values = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,)
        parents[key] = [ref.step for each in values for ref in refs_within(each)]
    return parents
