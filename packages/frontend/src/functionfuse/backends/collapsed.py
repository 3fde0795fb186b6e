"""Collapsed steps: several steps that one call makes, in the order of the plan, each with what is its own."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse.backends.calls import Call, Expansion, MemberOutcome, MemberOutcomes, Outcome, called
from functionfuse.backends.frames import CollapsedTask
from functionfuse.backends.options import NO_OPTIONS, StepOptions
from functionfuse.backends.performing import perform
from functionfuse.containers import Nest, rebuild
from functionfuse.decorator import target_called, workflow
from functionfuse.plan import Ref, Step, fill, refs_within

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from functionfuse.backends.frames import Frame, Task
    from functionfuse.decorator import Target


OUTSIDE = ""
"""The step of Refs to values that an engine sends besides."""


class Member(NamedTuple):
    """One step of a collapsed one.

    Attributes:
        name: of the step.
        call: its call; a `Ref`, or a `Nest` that holds some, stands for results of other members.
        parents: names of the members that it needs.
        instance: the step that made the stateful object that it is a call of, or makes.
        is_tolerated: whether the others go on when it fails.
    """

    name: str
    call: Call
    parents: tuple[str, ...]
    instance: str | None
    is_tolerated: bool


class Members:
    """What the call of a collapsed step takes.

    Args:
        members: in the order of the plan.
        taken: names of the members whose results others than members take.
        keeps_states: whether each call of a stateful object keeps the state after it, for a store.
        stops: whether a failure stops the others.

    Attributes:
        complete: called with a member and its outcome where the call was made; returns another one.
        outside: values of Refs of the step `OUTSIDE`, which stand for other than results of members.
    """

    def __init__(
        self,
        members: Sequence[Member],
        taken: Collection[str],
        *,
        keeps_states: bool,
        stops: bool,
    ) -> None:
        self.members = members
        self._taken = taken
        self._keeps_states = keeps_states
        self._stops = stops
        self.complete: Callable[[str, Outcome], Outcome] | None = None
        self.outside: Mapping[Ref, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Pickling an object takes ten times as long as pickling a tuple, and there may be thousands.
        return {**self.__dict__, "members": [(name, tuple(call), *rest) for name, call, *rest in self.members]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        members = [Member(name, Call._make(call), *rest) for name, call, *rest in state["members"]]
        self.__dict__ = {**state, "members": members}

    def perform(self) -> MemberOutcomes:
        """Make the calls of the members, in order; a member whose parent has no result is left out."""
        last = {member.instance: member.name for member in self.members}
        values: dict[str, Any] = {}
        objects: dict[str, Any] = {}
        ended: dict[str, MemberOutcome] = {}
        missing: set[str] = set()
        is_stopped = False
        for member in self.members:
            if is_stopped or not missing.isdisjoint(member.parents):
                missing.add(member.name)
                ended[member.name] = MemberOutcome(None)
                continue
            call = member.call
            try:
                call = self._filled(member, values, objects)
            except Exception as error:
                outcome = Outcome(None, None, error, 0.0)
            else:
                outcome = perform(call)
            if outcome.error is None and member.instance is not None:
                objects[member.instance] = outcome.instance
                if self._keeps_states and last[member.instance] != member.name:
                    outcome = outcome._replace(instance=_copied(outcome.instance))
            if self.complete is not None:
                outcome = self.complete(member.name, outcome)
            if outcome.error is not None or type(outcome.value) is Expansion:
                missing.add(member.name)
                is_stopped = self._stops and outcome.error is not None and not member.is_tolerated
            else:
                values[member.name] = outcome.value
            detail = "" if outcome.error is None else called(call, outcome.attempts)
            ended[member.name] = MemberOutcome(outcome, detail)
        needed = {parent for member in self.members if member.name in missing for parent in member.parents}
        return MemberOutcomes(ended).keeping(needed | set(self._taken))

    def _filled(self, member: Member, values: Mapping[str, Any], objects: Mapping[str, Any]) -> Call:
        call = member.call

        def value_of(ref: Ref) -> Any:
            if ref.step == OUTSIDE:
                return self.outside[ref]
            return ref.take(objects[ref.step] if ref.step in objects else values[ref.step])

        instance = call.instance if member.instance is None else objects.get(member.instance, call.instance)
        args = tuple([fill(value, value_of) for value in call.args])
        return call._replace(
            args=args, kwargs={key: fill(value, value_of) for key, value in call.kwargs.items()}, instance=instance
        )


class _NotCopied:
    """Stands for the state of a stateful object between two calls, which cannot be copied, and so is not stored."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __reduce__(self) -> Any:
        raise TypeError(self._reason)


def _copied(instance: Any) -> Any:
    try:
        return deepcopy(instance)
    except Exception as problem:
        return _NotCopied(f"it cannot be copied between the calls of a collapsed step: {problem}")


def perform_members(members: Members) -> MemberOutcomes:
    """Make the calls of a collapsed step."""
    return members.perform()


COLLAPSED: Target = target_called(workflow(perform_members))
"""What a collapsed step calls."""


def targets_of(call: Call) -> Iterable[Target]:
    """Return what a call calls; of a collapsed step, what its members call."""
    if call.target is not COLLAPSED:
        return (call.target,)
    return dict.fromkeys(member.call.target for member in call.args[0].members)


def with_refs(step: Step, value_of: Callable[[Ref], Any]) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return the arguments of a member, in which Refs may stay.

    Args:
        step: the member.
        value_of: returns what replaces a Ref: a value, or another Ref.
    """

    def filled(value: Any) -> Any:
        if type(value) is not Nest:
            return fill(value, value_of)
        taken = {ref: value_of(ref) for ref in refs_within(value)}
        content = rebuild(value.value, lambda item: taken[item] if type(item) is Ref else item)
        return Nest(content) if any(type(one) is Ref for one in taken.values()) else content

    return tuple(map(filled, step.args)), {key: filled(value) for key, value in step.kwargs.items()}


def collapsed_task(frame: Frame, members: Sequence[Task]) -> CollapsedTask:
    """Return the task of a collapsed step.

    Args:
        frame: of its members.
        members: its members that run, in the order of the plan.
    """
    first = members[0].step
    own = {member.step.name for member in members}
    needs = dict.fromkeys(name for member in members for name in (*member.step.needs, *member.step.after))
    outside = tuple(name for name in needs if name not in own)
    assert first.options.group is not None
    step = Step(
        first.options.group,
        COLLAPSED,
        (Nest([Ref(name) for name in outside]),) if outside else ((),),
        {},
        outside,
        (),
        options=shared_options([member.step.options for member in members]),
    )
    return CollapsedTask.of(frame, step, members)


def shared_options(options: Sequence[StepOptions]) -> StepOptions:
    """Return the options of a collapsed step: those of where its call is made, with the most that a member needs."""
    first = options[0]
    resources: dict[str, Any] = {}
    for one in {id(one): one for one in options}.values():
        for name, amount in one.resources.items():
            if name == "custom":
                custom = resources.setdefault("custom", {})
                resources["custom"] = {**custom, **{k: max(v, custom.get(k, 0)) for k, v in amount.items()}}
            else:
                resources[name] = amount if isinstance(amount, str) else max(amount, resources.get(name, 0))
    shared = StepOptions(
        resources=resources, image=first.image, packages=first.packages, tags=first.tags, engine=first.engine
    )
    return shared if shared.given() else NO_OPTIONS


def conflict_of(options: Sequence[StepOptions]) -> str:
    """Return in what members of a collapsed step differ that one call has; empty if in nothing."""
    first = options[0]
    for one in options:
        for name in ("image", "packages", "tags", "engine"):
            if getattr(one, name) != getattr(first, name):
                return name
        if one.resources.get("accelerator") != first.resources.get("accelerator"):
            return "accelerator"
    return ""
