"""Which steps run in which pod, and which outputs pods pass to each other."""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse.backends.objects import states_of
from functionfuse.errors import PlanError

from ..pod.plan import CHECK_FAILURES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from functionfuse.plan import Plan, Ref, Step

_MAX_KEY_LENGTH = 40
CODE_TASK = "code"
RESERVED_KEYS = (CODE_TASK, CHECK_FAILURES)
"""Keys of the tasks that are no nodes."""


class PodOutput(NamedTuple):
    """What other pods or the user take from a pod: the result of a step, or the state of a stateful object after it.

    Attributes:
        step: the step that makes it.
        instance: the stateful object; None for a result.
    """

    step: str
    instance: str | None = None

    @property
    def taken_as(self) -> str:
        """The name under which steps take it."""
        return self.instance or self.step


class Pod(NamedTuple):
    """Steps that run one after the other in one container.

    Attributes:
        key: the name of the task, of its folder in a local run, and of its part of the code.
        title: what the dashboard shows.
        steps: in plan order.
        stored: steps that do not run, whose stored results are read.
        inputs: what it takes from other pods, with the key of the pod and the artifact that holds it.
        outputs: what others or the user take from it, with the artifact that holds it. All outputs of a group are in
            one artifact.
    """

    key: str
    title: str
    steps: Sequence[Step]
    stored: Sequence[Step]
    inputs: Mapping[PodOutput, tuple[str, str]]
    outputs: Mapping[PodOutput, str]

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
        """True if it is a collapsed step, which may have many members."""
        return self.steps[0].options.group is not None


def pods_of(plan: Plan, wanted: Iterable[Ref], *, keep_all: bool = False) -> list[Pod]:
    """Distribute the steps of a plan that run over pods.

    Args:
        plan: the plan.
        wanted: the results that the user asked for.
        keep_all: whether results that no step takes are outputs too, so that every failure is found in an artifact.

    Returns:
        The pods, in an order in which they could run.

    Raises:
        PlanError: a group would need its own results, through steps that are not in it.
    """
    members: dict[str, list[Step]] = {}
    owner: dict[str, str] = {}  # of each step: the group, or the step itself
    for step in plan:
        if step.may_run:
            group = step.options.group
            owner[step.name] = f"step {step.name}" if group is None else f"group {group}"
            members.setdefault(owner[step.name], []).append(step)
    states = states_of(plan.steps).taken
    taken = {name: _taken(plan[name], states.get(name, {}), owner) for name in owner}
    passed = {output for name, outputs in taken.items() for output in outputs if owner[output.step] != owner[name]}
    if keep_all:
        used = {output.step for outputs in taken.values() for output in outputs}
        passed |= {output for name in owner if name not in used for output in _outputs(plan[name], set())}
    passed |= {output for output in wanted_outputs(plan, wanted) if output.step in owner}
    order = _order(members, owner, taken)
    keys = _keys({name: _title(name) for name in members})
    pods = [_pod(keys[name], _title(name), members[name], plan, taken, passed) for name in order]
    made_by = {output: (pod.key, artifact) for pod in pods for output, artifact in pod.outputs.items()}
    return [pod._replace(inputs={output: made_by[output] for output in pod.inputs}) for pod in pods]


def wanted_outputs(plan: Plan, wanted: Iterable[Ref]) -> list[PodOutput]:
    """Return the outputs that hold the results which the user asked for.

    Args:
        plan: the plan.
        wanted: the results that the user asked for.
    """
    last = states_of(plan.steps).last
    return [PodOutput(last[ref.step], ref.step) if ref.step in last else PodOutput(ref.step) for ref in wanted]


def slug(name: str, max_length: int = _MAX_KEY_LENGTH) -> str:
    """Return a name that Kubernetes accepts.

    Args:
        name: any name.
        max_length: in characters.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).replace("python3", "python-3")  # which kfp.local would replace
    return plain.strip("-")[:max_length].strip("-") or "node"


def _taken(step: Step, states: Mapping[str, str], owner: Mapping[str, str]) -> list[PodOutput]:
    """Return what a step takes from steps that run; ``states`` has the step after which it takes each object."""
    outputs = [
        PodOutput(states[name], name) if name in states else PodOutput(name)
        for name in step.needs
        if name not in step.resumes
    ]
    return [output for output in outputs if output.step in owner]


def _order(members: Mapping[str, Any], owner: Mapping[str, str], taken: Mapping[str, list[PodOutput]]) -> list[str]:
    needs: dict[str, dict[str, None]] = {name: {} for name in members}
    for step, outputs in taken.items():
        needs[owner[step]].update(dict.fromkeys(owner[output.step] for output in outputs))
    for name, others in needs.items():
        others.pop(name, None)
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        groups = list(dict.fromkeys(name for name in error.args[1] if name.startswith("group ")))
        between = ", ".join(repr(_title(name)) for name in error.args[1] if name not in groups)
        raise PlanError(
            f"group {_title(groups[0])!r} would need its own results, through {between or 'another group'}; "
            "put that into the group too, or split the group"
        ) from None


def _pod(
    key: str,
    title: str,
    steps: Sequence[Step],
    plan: Plan,
    taken: Mapping[str, list[PodOutput]],
    passed: set[PodOutput],
) -> Pod:
    own = {step.name for step in steps}
    inputs: Any = dict.fromkeys(output for step in steps for output in taken[step.name] if output.step not in own)
    read = dict.fromkeys(name for step in steps for name in step.needs if name not in own)
    stored = [plan[name] for name in read if plan[name].action == "reuse"]
    outputs = _outputs(steps[0], passed) if steps[0].options.group is None else _outputs_of_group(steps, passed)
    return Pod(key, title, steps, stored, inputs, outputs)


def _outputs(step: Step, passed: set[PodOutput]) -> dict[PodOutput, str]:
    """Return the outputs of one step: its result always, the object's state if it is taken."""
    state = PodOutput(step.name, step.instance)
    if step.target.kind == "constructor":
        return {state: "out"}
    return {PodOutput(step.name): "out"} | ({state: "state"} if step.instance and state in passed else {})


def _outputs_of_group(steps: Sequence[Step], passed: set[PodOutput]) -> dict[PodOutput, str]:
    outputs = [output for step in steps for output in _outputs(step, passed)]
    return dict.fromkeys([output for output in outputs if output in passed] or outputs[-1:], "out")


def _title(name: str) -> str:
    return name.partition(" ")[2]


def _keys(titles: Mapping[str, str]) -> dict[str, str]:
    """Return a short unique key for each title."""
    keys: dict[str, str] = {}
    used = set(RESERVED_KEYS)
    for name, title in titles.items():
        key = base = slug(title)
        number = 2
        while key in used:
            key = f"{base[: _MAX_KEY_LENGTH - len(str(number)) - 1].rstrip('-')}-{number}"
            number += 1
        used.add(key)
        keys[name] = key
    return keys
