"""Objects in a plan: which of their calls run again, and from which state they go on.

A state is named by the step that made it: the constructor, or a call of a method. With a store, each state is
kept beside the results, so that a run resumes in the middle of an object's calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from functionfuse.plan import Action, Step


class Verdict(NamedTuple):
    """Whether a step runs, and why."""

    action: Action
    reason: str


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
    """Find the states that steps take, in plan order, which is the order of an object's calls."""
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
    """Let those calls run again whose states are needed and not kept."""
    by_name = {step.name: step for step in steps}
    needed = [
        (state, f"{name!r} runs, and needs the object")
        for name, objects in states.taken.items()
        if verdicts[name].action == "run"
        for state in objects.values()
    ]
    needed += [(states.last[name], "the object itself is asked for") for name in wanted if name in states.last]
    while needed:
        name, why = needed.pop()
        if verdicts[name].action == "run" or is_kept(by_name[name]):
            continue
        verdicts[name] = Verdict("run", why)
        needed += [(state, f"{name!r} runs, and needs the object") for state in states.taken.get(name, {}).values()]


def resumed(steps: Sequence[Step], states: States) -> list[Step]:
    """Tell steps that run which kept states they take, and keep them in order around the calls that do not run."""
    action = {step.name: step.action for step in steps}
    changes: dict[str, str] = {}  # by object: the last call to run
    since: dict[str, list[str]] = {}  # and who runs with its state since
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
