"""Frames: plans being executed, with the results that somebody still needs."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse.backends.failed_inputs import allows_failure_of
from functionfuse.backends.texts import described
from functionfuse.errors import EngineError, NodeError
from functionfuse.plan import TO_RUN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from functionfuse.backends.recording import CallRecord
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
        attempts: numbers of the attempts of steps that need more with each, but for first ones.
        without_recipe: the steps that took failed inputs, or results of such steps: a recipe does not tell of that.
        reused: steps that were to be checked, and are reused.
        left: how many steps are not done yet.
        numbers: of the steps in the record of the run, if there is one.
    """

    __slots__ = (
        "__weakref__",
        "_read",
        "attempts",
        "failed",
        "instance",
        "left",
        "numbers",
        "parent",
        "plan",
        "record",
        "result",
        "reused",
        "started",
        "stateless",
        "uses",
        "values",
        "wanted",
        "without_recipe",
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
        self.without_recipe: set[str] = set()
        self.reused: set[str] = set()
        self.attempts: dict[str, int] = {}
        self.left = 0
        self.numbers: Mapping[str, int] = {}
        self.started = time.perf_counter()
        self.instance: Any = None  # of the parent, when that is a call of a method
        self.record: CallRecord | None = None  # of the call of the parent
        self.wanted = tuple(wanted)
        uses = self.uses = dict(Counter(ref.step for ref in self.wanted))
        for step in plan.steps:
            if step.action in TO_RUN:
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

    def failed_inputs(self, step: Step) -> dict[str, NodeError]:
        """Return the inputs of a step that failed or were skipped, each with the error behind it.

        A stateful object whose last call failed is one of them, too.
        """
        failed = self.failed
        found = {name: failed[name] for name in step.needs if name in failed}
        for name in step.after:
            if name in failed:
                found[self._object_of(name) or name] = failed[name]
        return found

    def failure_of_needed(self, step: Step) -> NodeError | None:
        """Return the error because of which a step cannot run; None if it can."""
        failed = self.failed
        for name in (*step.needs, *step.after):
            error = failed.get(name)
            if error is not None and not allows_failure_of(name, step, self._object_of(name)):
                return error
        return None

    def _object_of(self, name: str) -> str | None:
        """Return the step that made the stateful object of another one; that may belong to another part of the plan."""
        step = self.plan.by_name.get(name)
        return None if step is None else step.instance

    def has_recipe(self, step: Step) -> bool:
        """Whether the recipe of a step tells what its result is made from: no input failed, of it or before it."""
        if not self.failed and not self.without_recipe:
            return True
        parents = (*step.needs, *step.after)
        if self.failed.keys().isdisjoint(parents) and self.without_recipe.isdisjoint(parents):
            return step.name not in self.without_recipe
        self.without_recipe.add(step.name)
        return False

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

    def task(self, step: Step) -> Task:
        """Return the task of a step; of one that needs more with each attempt, that of the next attempt."""
        if step.options.resources and step.options.grows:
            step = step._replace(options=step.options.at_attempt(self.attempts.get(step.name, 1)))
        return Task(self, step)

    def full_name(self, name: str) -> str:
        """The name as seen from outside: ``parent/child``."""
        task = self.parent
        if task is None:
            return name
        parts = [name]
        while task is not None:
            parts.append(task.step.name)
            task = task.frame.parent
        return "/".join(reversed(parts))


class Task(NamedTuple):
    """A step of one frame."""

    frame: Frame
    step: Step

    @property
    def members(self) -> Sequence[Task]:
        """The tasks that are settled with it: itself, or the members of a collapsed step."""
        return (self,)

    @property
    def name(self) -> str:
        """The step's full name."""
        return self.frame.full_name(self.step.name)


class CollapsedTask(Task):
    """Several steps of one frame that one call makes."""

    _members: Sequence[Task]

    @classmethod
    def of(cls, frame: Frame, step: Step, members: Sequence[Task]) -> CollapsedTask:
        """Return a task.

        Args:
            frame: of the steps.
            step: what engines take for the step of the call.
            members: the steps, in the order of the plan.
        """
        task = cls(frame, step)
        task._members = members
        return task

    @property
    def members(self) -> Sequence[Task]:
        return self._members
