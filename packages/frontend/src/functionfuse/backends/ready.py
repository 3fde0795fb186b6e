"""The tasks of a run that can start now, for engines that run several at a time."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from functionfuse.backends.frames import Task

if TYPE_CHECKING:
    from functionfuse.backends.execution import Run
    from functionfuse.backends.frames import Frame
    from functionfuse.plan import Step


class Ready:
    """The tasks of a run that can start now.

    Tasks of inner frames come first, and within a frame the plan's order decides, so that results are used
    up soon after they are made.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._heap: list[tuple[int, int]] = []  # numbers of frames, and indices in their plans
        self._frames = 0
        self._numbers: dict[Frame, int] = {}
        self._waiting: dict[int, _Waiting] = {}

    def pop(self) -> Task | None:
        """Take a task that can start now; None when there is none at the moment."""
        self._update()
        while self._heap:
            number, index = heappop(self._heap)
            frame = self._waiting[number].frame
            task = Task(frame, frame.plan.steps[index])
            if not (frame.failed and self._run.skip(task)):
                return task
            self._update()
        return None

    def withdraw(self, task: Task) -> None:
        """Take back that a task was promised."""
        waiting = self._waiting[self._numbers[task.frame]]
        waiting.released[waiting.indices[task.step.name]] = False

    def missing_parents(self, task: Task) -> list[str]:
        """Parents of a task that are neither promised nor settled; there are some if one was withdrawn."""
        waiting = self._waiting[self._numbers[task.frame]]
        steps = task.frame.plan.steps
        return [steps[index].name for index in waiting.parents(task.step) if not waiting.released[index]]

    def put_back(self, task: Task) -> None:
        """Give a task again, as soon as none of its parents is missing."""
        number = self._numbers[task.frame]
        waiting = self._waiting[number]
        parents = [index for index in waiting.parents(task.step) if not waiting.released[index]]
        self._wait(number, waiting.indices[task.step.name], parents)

    def _update(self) -> None:
        run = self._run
        while run.opened:
            self._add(run.opened.pop())
        while run.done:
            self._release(run.done.pop())

    def _add(self, frame: Frame) -> None:
        self._frames -= 1  # later frames first
        number = self._numbers[frame] = self._frames
        waiting = self._waiting[number] = _Waiting(frame)
        for index in waiting.indices.values():
            self._wait(number, index, waiting.parents(frame.plan.steps[index]))

    def _wait(self, number: int, index: int, parents: list[int]) -> None:
        waiting = self._waiting[number]
        for parent in parents:
            waiting.dependents.setdefault(parent, []).append(index)
        waiting.missing[index] = len(parents)
        if not parents:
            heappush(self._heap, (number, index))

    def _release(self, task: Task) -> None:
        frame = task.frame
        number = self._numbers.get(frame)
        if number is None:
            return
        if not frame.left:  # nobody in this frame waits any more
            del self._numbers[frame], self._waiting[number]
            return
        waiting = self._waiting[number]
        done = waiting.indices[task.step.name]
        waiting.released[done] = True
        for index in waiting.dependents.pop(done, ()):
            waiting.missing[index] -= 1
            if not waiting.missing[index]:
                heappush(self._heap, (number, index))


class _Waiting:
    """The steps of a frame that run, by their indices in its plan; memory for many of them is kept small.

    Attributes:
        indices: of the steps, by name.
        dependents: who waits for a step.
        missing: how many parents each step still waits for.
        released: whether each step is promised or settled.
    """

    __slots__ = ("dependents", "frame", "indices", "missing", "released")

    def __init__(self, frame: Frame) -> None:
        steps = frame.plan.steps
        self.frame = frame
        self.indices = {step.name: index for index, step in enumerate(steps) if step.action == "run"}
        self.dependents: dict[int, list[int]] = {}
        self.missing = [0] * len(steps)
        self.released = bytearray(len(steps))

    def parents(self, step: Step) -> list[int]:
        """Return the indices of the steps that run before this one."""
        if not step.needs and not step.after:
            return []
        indices = self.indices
        return list({indices[name] for name in (*step.needs, *step.after) if name in indices})
