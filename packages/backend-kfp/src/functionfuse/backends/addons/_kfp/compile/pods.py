"""Which steps run in which pod, and what travels between pods."""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse.backends.objects import states_of
from functionfuse.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from functionfuse.plan import Plan, Ref, Step

_LONGEST = 40
RESERVED = ("code", "verdict")
"""Names of the tasks that are no nodes."""


class Cargo(NamedTuple):
    """What a pod hands to others: the result of a step, or the state of an object after it.

    Attributes:
        step: who made it.
        instance: the object; None for a result.
    """

    step: str
    instance: str | None = None

    @property
    def known_as(self) -> str:
        """The name under which steps take it."""
        return self.instance or self.step


class Pod(NamedTuple):
    """Steps that run one after the other in one container.

    Attributes:
        key: the name of the task, of its folder in a local run, and of its part of the code.
        title: what the dashboard shows.
        steps: in plan order.
        stored: steps that do not run, whose stored results are read.
        inputs: what it takes from other pods, with the pod and the artifact that holds it.
        outputs: what it hands to others or to the user, with the artifact that holds it. All outputs of a group are
            in one artifact.
    """

    key: str
    title: str
    steps: Sequence[Step]
    stored: Sequence[Step]
    inputs: Mapping[Cargo, tuple[str, str]]
    outputs: Mapping[Cargo, str]

    @property
    def artifacts(self) -> list[str]:
        """The artifacts that it makes."""
        return list(dict.fromkeys(self.outputs.values()))

    @property
    def arguments(self) -> list[tuple[str, str]]:
        """The artifacts of other pods that it takes."""
        return list(dict.fromkeys(self.inputs.values()))

    @property
    def is_group(self) -> bool:
        """Whether it was asked for as a group, and so may have many steps."""
        return group_of(self.steps[0]) is not None


def pods_of(plan: Plan, wanted: Iterable[Ref], *, all_ends: bool = False) -> list[Pod]:
    """Distribute the steps of a plan that run over pods, in an order in which the pods could run.

    Args:
        plan: the plan.
        wanted: whose results are asked for.
        all_ends: whether results that nobody takes leave their pods too, so that no failure goes unnoticed.

    Raises:
        PlanError: a group would need its own results, by way of steps that are not in it.
    """
    members: dict[str, list[Step]] = {}
    home: dict[str, str] = {}
    for step in plan:
        if step.action == "run":
            group = group_of(step)
            home[step.name] = f"step {step.name}" if group is None else f"group {group}"
            members.setdefault(home[step.name], []).append(step)
    states = states_of(plan.steps).taken
    taken = {name: _taken(plan[name], states.get(name, {}), home) for name in home}
    leaving = {cargo for name, cargoes in taken.items() for cargo in cargoes if home[cargo.step] != home[name]}
    if all_ends:
        used = {cargo.step for cargoes in taken.values() for cargo in cargoes}
        leaving |= {cargo for name in home if name not in used for cargo in _outputs(plan[name], set())}
    leaving |= {cargo for cargo in wanted_cargo(plan, wanted) if cargo.step in home}
    order = _order(members, home, taken)
    keys = _keys({place: _title(place) for place in members})
    pods = [_pod(keys[place], _title(place), members[place], plan, taken, leaving) for place in order]
    made_by = {cargo: (pod.key, artifact) for pod in pods for cargo, artifact in pod.outputs.items()}
    return [pod._replace(inputs={cargo: made_by[cargo] for cargo in pod.inputs}) for pod in pods]


def wanted_cargo(plan: Plan, wanted: Iterable[Ref]) -> list[Cargo]:
    """What holds the results that a run was asked for."""
    last = states_of(plan.steps).last
    return [Cargo(last[ref.step], ref.step) if ref.step in last else Cargo(ref.step) for ref in wanted]


def group_of(step: Step) -> str | None:
    """Return the group that a query put a step in."""
    group: str | None = step.options.get("task_group")
    return group


def slug(name: str, longest: int = _LONGEST) -> str:
    """Return a name as Kubernetes takes it."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).replace("python3", "python-3")  # which kfp.local would replace
    return plain.strip("-")[:longest].strip("-") or "node"


def _taken(step: Step, states: Mapping[str, str], home: Mapping[str, str]) -> list[Cargo]:
    """What a step takes from steps that run; ``states`` says in which states it takes objects."""
    cargoes = [
        Cargo(states[name], name) if name in states else Cargo(name) for name in step.needs if name not in step.resumes
    ]
    return [cargo for cargo in cargoes if cargo.step in home]


def _order(members: Mapping[str, Any], home: Mapping[str, str], taken: Mapping[str, list[Cargo]]) -> list[str]:
    needs: dict[str, dict[str, None]] = {place: {} for place in members}
    for name, cargoes in taken.items():
        needs[home[name]].update(dict.fromkeys(home[cargo.step] for cargo in cargoes))
    for place, others in needs.items():
        others.pop(place, None)
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        groups = list(dict.fromkeys(place for place in error.args[1] if place.startswith("group ")))
        between = ", ".join(repr(_title(place)) for place in error.args[1] if place not in groups)
        raise PlanError(
            f"group {_title(groups[0])!r} would need its own results, by way of {between or 'another group'}; "
            "put that into the group too, or split it"
        ) from None


def _pod(
    key: str,
    title: str,
    steps: Sequence[Step],
    plan: Plan,
    taken: Mapping[str, list[Cargo]],
    leaving: set[Cargo],
) -> Pod:
    here = {step.name for step in steps}
    inputs: Any = dict.fromkeys(cargo for step in steps for cargo in taken[step.name] if cargo.step not in here)
    read = dict.fromkeys(name for step in steps for name in step.needs if name not in here)
    stored = [plan[name] for name in read if plan[name].action == "reuse"]
    outputs = _outputs(steps[0], leaving) if group_of(steps[0]) is None else _outputs_of_group(steps, leaving)
    return Pod(key, title, steps, stored, inputs, outputs)


def _outputs(step: Step, leaving: set[Cargo]) -> dict[Cargo, str]:
    """One step has its result for an output, whoever takes it, and the object's state if somebody does."""
    state = Cargo(step.name, step.instance)
    if step.target.kind == "constructor":
        return {state: "out"}
    return {Cargo(step.name): "out"} | ({state: "state"} if step.instance and state in leaving else {})


def _outputs_of_group(steps: Sequence[Step], leaving: set[Cargo]) -> dict[Cargo, str]:
    cargoes = [cargo for step in steps for cargo in _outputs(step, leaving)]
    return dict.fromkeys([cargo for cargo in cargoes if cargo in leaving] or cargoes[-1:], "out")


def _title(place: str) -> str:
    return place.partition(" ")[2]


def _keys(titles: Mapping[str, str]) -> dict[str, str]:
    """Short names for pods, unlike each other."""
    keys: dict[str, str] = {}
    used = set(RESERVED)
    for place, title in titles.items():
        key = base = slug(title)
        number = 2
        while key in used:
            key = f"{base[: _LONGEST - len(str(number)) - 1].rstrip('-')}-{number}"
            number += 1
        used.add(key)
        keys[place] = key
    return keys
