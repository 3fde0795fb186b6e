"""Stateful objects in a plan: which of their calls run again, and from which stored state.

A state is named by the step that made it: the constructor, or a call of a method. With a store, each state is
kept beside the results, so that a run resumes in the middle of an object's calls. "Object" means such a stateful
object in this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from functionfuse.plan import Action, Step


class Verdict(NamedTuple):
    """What a plan does with a step, and why.

    Attributes:
        action: what it does.
        reason: why.
        changed: parts of the recipe that are not as they were when the stored result was made.
        stored: the parts of the recipe that it was made from.
    """

    action: Action
    reason: str
    changed: Sequence[str] = ()
    stored: Mapping[str, str] = {}


class States(NamedTuple):
    """Which states the steps of a plan take.

    Attributes:
        taken: for a step, by object: the step that made the state it takes. A call of a method takes its
            object's state too.
        last: by object: the step that made its last state.
    """

    taken: Mapping[str, Mapping[str, str]]
    last: Mapping[str, str]


def states_of(steps: Sequence[Step]) -> States:
    """Return the states that steps take.

    Args:
        steps: in plan order, which is the order of an object's calls.
    """
    taken: dict[str, dict[str, str]] = {}
    last: dict[str, str] = {}
    for step in steps:
        objects = {name: last[name] for name in step.needs if name in last}
        if objects:
            taken[step.name] = objects
        if step.instance is not None:
            last[step.instance] = step.name
    return States(taken, last)


def run_what_is_needed(
    steps: Sequence[Step],
    states: States,
    verdicts: dict[str, Verdict],
    wanted: Collection[str],
    is_kept: Callable[[Step], bool],
) -> None:
    """Let those calls run again whose states are needed and not kept.

    Args:
        steps: in plan order.
        states: which states they take.
        verdicts: by step; changed where a step has to run.
        wanted: names of the steps whose results the workflow returns.
        is_kept: returns True if the state after a step is in the store.
    """
    by_name = {step.name: step for step in steps}
    needed = [
        (state, f"{name!r} runs, and needs the object")
        for name, objects in states.taken.items()
        if verdicts[name].action == "run"
        for state in objects.values()
    ]
    needed += [(states.last[name], "the object itself is returned") for name in wanted if name in states.last]
    while needed:
        name, why = needed.pop()
        if verdicts[name].action == "run" or is_kept(by_name[name]):
            continue
        verdicts[name] = Verdict("run", why)
        needed += [(state, f"{name!r} runs, and needs the object") for state in states.taken.get(name, {}).values()]


def resumed(steps: Sequence[Step], states: States) -> list[Step]:
    """Return the steps with the kept states that they take, ordered around the calls that do not run.

    Args:
        steps: in plan order, with their actions.
        states: which states they take.
    """
    action = {step.name: step.action for step in steps}
    changes: dict[str, str] = {}  # by object: the last call to run
    since: dict[str, list[str]] = {}  # and the steps that take its state since
    result = []
    for step in steps:
        if step.action != "run" or not (step.instance or step.name in states.taken):
            result.append(step)
            continue
        taken = states.taken.get(step.name, {})
        before: list[str] = []
        for name in taken:
            if name == step.instance:
                before += since.get(name) or ([changes[name]] if name in changes else [])
            elif name in changes:
                before.append(changes[name])
                since.setdefault(name, []).append(step.name)
            else:
                since.setdefault(name, []).append(step.name)
        if step.instance is not None:
            changes[step.instance] = step.name
            since[step.instance] = []
        if any(action[name] == "reuse" for name in (*step.after, *taken.values())):
            kept = {name: state for name, state in taken.items() if action[state] == "reuse"}
            step = step._replace(after=tuple(dict.fromkeys((*step.after, *before))), resumes=kept)
        result.append(step)
    return result
