"""Which tasks may run at a time: as many as the resources that they need are there, and as limits of tags allow."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from functionfuse.backends.frames import Frame, Task

Amounts = tuple[tuple[str, float], ...]


class Admission:
    """Holds tasks back until there is room for them.

    Args:
        offered: amounts of resources that the tasks of a run share; what is not among them is not counted.
        limits: by tag, how many tasks with it run at a time.
        also: returns what a task needs of the offered resources besides what its options say.
    """

    def __init__(
        self,
        offered: Mapping[str, float],
        limits: Mapping[str, int],
        also: Callable[[Task], Mapping[str, float]] | None = None,
    ) -> None:
        self._also = also
        self._free = {**offered, **{_tagged(tag): limit for tag, limit in limits.items()}}
        self._held: dict[Amounts, deque[Task]] = {}
        self._taken: dict[tuple[Frame, str], Amounts] = {}

    def admit(self, task: Task) -> bool:
        """Return whether a task may run now; if not it is held, and `next` returns it later."""
        options = task.step.options
        if self._also is None and not options.resources and not options.tags:
            return True
        amounts = self._amounts(task)
        if amounts in self._held or not self._has(amounts):
            self._held.setdefault(amounts, deque()).append(task)
            return False
        self._take(task, amounts)
        return True

    def next(self) -> Task | None:
        """Return a task that was held and may run now."""
        for amounts, tasks in self._held.items():
            if self._has(amounts):
                task = tasks.popleft()
                if not tasks:
                    del self._held[amounts]
                self._take(task, amounts)
                return task
        return None

    def release(self, task: Task) -> None:
        """Take back what a task had."""
        for name, amount in self._taken.pop((task.frame, task.step.name), ()):
            self._free[name] += amount

    def _has(self, amounts: Amounts) -> bool:
        return all(self._free[name] >= amount for name, amount in amounts)

    def _take(self, task: Task, amounts: Amounts) -> None:
        for name, amount in amounts:
            self._free[name] -= amount
        self._taken[task.frame, task.step.name] = amounts

    def _amounts(self, task: Task) -> Amounts:
        options = task.step.options
        needs = {name: need for name, need in options.needs.items() if name in self._free}
        needs |= {tag: 1 for tag in map(_tagged, options.tags) if tag in self._free}
        if self._also is not None:
            needs |= self._also(task)
        return tuple(sorted(needs.items()))


def _tagged(tag: str) -> str:
    return f"tag {tag}"
