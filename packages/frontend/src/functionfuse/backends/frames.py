"""Frames: plans being executed, with the results that somebody still needs."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse.backends.texts import described
from functionfuse.errors import EngineError, NodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from functionfuse.errors import StorageError
    from functionfuse.plan import Plan, Ref, Step


class StoredResultLost(Exception):  # noqa: N818  a signal to plan again, not an error for the user
    """A result that the plan wanted to reuse cannot be read any more."""

    def __init__(self, name: str, cause: StorageError) -> None:
        super().__init__(name)
        self.name = name
        self.cause = cause


class Frame:
    """One plan being executed: the workflow's own, or that of the graph which a dynamic step returned.

    Attributes:
        plan: the steps.
        parent: the dynamic step that it runs instead of.
        result: what becomes the result of that step, with Refs in it.
        values: results by step, while somebody still needs them; a stateful object's is its present state.
        uses: how often each result will still be taken.
        stateless: stateful objects whose state cannot be stored.
        failed: the steps that failed or were skipped, with the error behind it.
        left: how many steps are not done yet.
    """

    __slots__ = (
        "__weakref__",
        "_read",
        "failed",
        "instance",
        "left",
        "parent",
        "plan",
        "result",
        "started",
        "stateless",
        "uses",
        "values",
        "wanted",
    )

    def __init__(
        self, plan: Plan, wanted: Iterable[Ref], parent: Task | None, result: Any, read: Callable[[Frame, str], Any]
    ) -> None:
        self._read = read
        self.plan = plan
        self.result = result
        self.parent = parent
        self.values: dict[str, Any] = {}
        self.failed: dict[str, NodeError] = {}
        self.stateless: set[str] = set()
        self.left = 0
        self.started = time.perf_counter()
        self.instance: Any = None  # of the parent, when that is a call of a method
        self.wanted = tuple(wanted)
        uses = self.uses = dict(Counter(ref.step for ref in self.wanted))
        for step in plan.steps:
            if step.action == "run":
                self.left += 1
                for name in step.needs:
                    uses[name] = uses.get(name, 0) + 1

    def take(self, ref: Ref) -> Any:
        """The value behind a Ref; a reused one is read when it is first needed."""
        name = ref.step
        try:
            value = self.values[name]
        except KeyError:
            value = self.values[name] = self._read(self, name)
        return ref.take(value) if ref.path else value

    def take_for_user(self, ref: Ref) -> Any:
        """The value behind a Ref that a run was asked for."""
        try:
            return self.take(ref)
        except (StoredResultLost, EngineError):
            raise
        except Exception as error:
            function = self.plan[ref.step].target.qualname
            raise NodeError(
                f"the result of node {ref.step!r} has no item {ref.items}: {described(error)}",
                name=ref.step,
                function=function,
            ) from error

    def full_name(self, name: str) -> str:
        """The name as seen from outside: ``parent/child``."""
        parts = [name]
        task = self.parent
        while task is not None:
            parts.append(task.step.name)
            task = task.frame.parent
        return "/".join(reversed(parts))


class Task(NamedTuple):
    """A step of one frame."""

    frame: Frame
    step: Step

    @property
    def name(self) -> str:
        """The step's full name."""
        return self.frame.full_name(self.step.name)
