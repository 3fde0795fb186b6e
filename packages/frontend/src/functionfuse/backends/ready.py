"""The tasks of a run that can start now, for engines that run several at a time."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from functionfuse.backends.collapsed import collapsed_task
from functionfuse.backends.frames import CollapsedTask, Task

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
        """Take a task that can start now; None when there is none at the moment, or the run is interrupted."""
        if self._run.interrupted():
            return None
        self._update()
        while self._heap:
            number, index = heappop(self._heap)
            waiting = self._waiting[number]
            frame, members = waiting.frame, waiting.groups.pop(index, None)
            if members is not None:
                runnable = [Task(frame, frame.plan.steps[member]) for member in members]
                if frame.failed:
                    runnable = [member for member in runnable if not self._run.skip(member)]
                if runnable:
                    return collapsed_task(frame, runnable)
            else:
                task = frame.task(frame.plan.steps[index])
                is_done = frame.failed and self._run.skip(task)
                if not (is_done or (task.step.action == "check" and self._run.reuses(task))):
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
        indices = [waiting.indices[member.step.name] for member in task.members]
        if isinstance(task, CollapsedTask):
            waiting.groups[indices[0]] = indices
        parents = [index for index in waiting.parents(task.step) if not waiting.released[index]]
        self._wait(number, indices[0], parents)

    def _update(self) -> None:
        run = self._run
        while run.opened:
            self._add(run.opened.pop())
        while run.done:
            self._release(run.done.pop(), is_promise=False)
        while run.promised:
            self._release(run.promised.pop(), is_promise=True)
        while run.postponed:
            self.put_back(run.postponed.pop())

    def _add(self, frame: Frame) -> None:
        self._frames -= 1  # later frames first
        number = self._numbers[frame] = self._frames
        waiting = self._waiting[number] = _Waiting(frame)
        members = waiting.members()
        for index in waiting.indices.values():
            step = frame.plan.steps[index]
            group = step.options.group
            if group is None:
                self._wait(number, index, waiting.parents(step))
            elif members[group][0] == index:
                waiting.groups[index] = members[group]
                own = set(members[group])
                parents = {parent for member in own for parent in waiting.parents(frame.plan.steps[member])}
                self._wait(number, index, sorted(parents - own))

    def _wait(self, number: int, index: int, parents: list[int]) -> None:
        waiting = self._waiting[number]
        for parent in parents:
            waiting.dependents.setdefault(parent, []).append(index)
        waiting.missing[index] = len(parents)
        if not parents:
            heappush(self._heap, (number, index))

    def _release(self, task: Task, *, is_promise: bool) -> None:
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
            if is_promise and waiting.needs_results(index):
                waiting.dependents.setdefault(done, []).append(index)  # it runs whatever becomes of the promise
                continue
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
        groups: collapsed steps that are not taken, as the indices of their members, by the first of these.
    """

    __slots__ = ("dependents", "frame", "groups", "indices", "missing", "released")

    def __init__(self, frame: Frame) -> None:
        steps = frame.plan.steps
        self.frame = frame
        self.indices = {step.name: index for index, step in enumerate(steps) if step.may_run}
        self.dependents: dict[int, list[int]] = {}
        self.missing = [0] * len(steps)
        self.released = bytearray(len(steps))
        self.groups: dict[int, list[int]] = {}

    def members(self) -> dict[str, list[int]]:
        """Return the indices of the members of collapsed steps, in order."""
        members: dict[str, list[int]] = {}
        for index in self.indices.values():
            group = self.frame.plan.steps[index].options.group
            if group is not None:
                members.setdefault(group, []).append(index)
        return members

    def needs_results(self, index: int) -> bool:
        """Return True if a step, or a collapsed one that begins with it, waits for its parents to end."""
        step = self.frame.plan.steps[index]
        return index in self.groups or step.action == "check" or step.options.failed_inputs is not None

    def parents(self, step: Step) -> list[int]:
        """Return the indices of the steps that run before this one."""
        if not step.needs and not step.after:
            return []
        indices = self.indices
        return list({indices[name] for name in (*step.needs, *step.after) if name in indices})
