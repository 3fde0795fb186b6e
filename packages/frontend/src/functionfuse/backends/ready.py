"""The tasks of a run that can start now, for engines that run several at a time."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from functionfuse.backends.frames import Task

if TYPE_CHECKING:
    from collections.abc import Collection

    from functionfuse.backends.execution import Run
    from functionfuse.backends.frames import Frame


class Ready:
    """The tasks of a run that can start now.

    Tasks of inner frames come first, and within a frame the plan's order decides, so that results are used
    up soon after they are made.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._heap: list[tuple[int, int, Task]] = []
        self._waiting: dict[tuple[int, str], int] = {}
        self._dependents: dict[tuple[int, str], list[tuple[int, Task]]] = {}
        self._frames = 0
        self._numbers: dict[Frame, int] = {}
        self._released: dict[Frame, set[str]] = {}

    def pop(self) -> Task | None:
        """Take a task that can start now; None when there is none at the moment."""
        self._update()
        while self._heap:
            task = heappop(self._heap)[2]
            if not (task.frame.failed and self._run.skip(task)):
                return task
            self._update()
        return None

    def withdraw(self, task: Task) -> None:
        """Take back that a task was promised."""
        self._released[task.frame].discard(task.step.name)

    def lacking(self, task: Task) -> list[str]:
        """Parents of a task that are neither promised nor settled; there are some if one was withdrawn."""
        frame, step = task
        released = self._released[frame]
        parents = dict.fromkeys((*step.needs, *step.after))
        return [name for name in parents if name not in released and frame.plan[name].action == "run"]

    def put_back(self, task: Task) -> None:
        """Give a task again, as soon as it lacks no parent."""
        parents = self.lacking(task)
        self._wait(self._numbers[task.frame], task.frame.plan.steps.index(task.step), task, parents)

    def _update(self) -> None:
        run = self._run
        while run.opened:
            self._add(run.opened.pop())
        while run.done:
            self._release(run.done.pop())

    def _add(self, frame: Frame) -> None:
        self._frames -= 1  # later frames first
        number = self._numbers[frame] = self._frames
        self._released[frame] = set()
        running = {step.name for step in frame.plan.steps if step.action == "run"}
        for place, step in enumerate(frame.plan.steps):
            if step.action != "run":
                continue
            task = Task(frame, step)
            self._wait(number, place, task, running.intersection((*step.needs, *step.after)))

    def _wait(self, number: int, place: int, task: Task, parents: Collection[str]) -> None:
        for name in parents:
            self._dependents.setdefault((number, name), []).append((place, task))
        if parents:
            self._waiting[number, task.step.name] = len(parents)
        else:
            heappush(self._heap, (number, place, task))

    def _release(self, task: Task) -> None:
        if not task.frame.left:  # nobody in this frame waits any more
            self._numbers.pop(task.frame, None)
            self._released.pop(task.frame, None)
            return
        self._released[task.frame].add(task.step.name)
        number = self._numbers[task.frame]
        for place, dependent in self._dependents.pop((number, task.step.name), ()):
            key = number, dependent.step.name
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
                heappush(self._heap, (number, place, dependent))
