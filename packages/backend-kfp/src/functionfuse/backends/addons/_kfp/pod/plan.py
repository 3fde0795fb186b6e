"""One pod's part of the plan, as it travels with the code.

This module travels with the code of a workflow, and every pod imports it when it starts: it imports little.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from functionfuse.backends.spec import RunSpec
    from functionfuse.plan import Step

    from .artifacts import OutputKey

    ReadEntry = Callable[[str], bytes]

FORMAT = 1
"""Version of what the zip of a workflow's code holds; a release reads its own only."""

POD_VARIABLE = "FUNCTIONFUSE_KFP_POD"
"""Environment variable that is set in pods, to the pod's key."""

CHECK_FAILURES = "check-failures"
"""Key of the task that looks for failures, and ends the run as failed, where steps run after a failure."""


class PodConfig(NamedTuple):
    """What every pod of a workflow has to know.

    Attributes:
        spec: the run, without steps; its options and its store are entries of the zip.
        lost: by step: why a stored result is made again.
        names: of steps of the workflow itself that look like those of dynamic graphs.
        tolerated: names of the steps without which the run goes on.
        has_store: whether the zip has a store.
        has_driver_state: whether it has what the driver's modules have in memory, unlike their files.
    """

    spec: RunSpec
    lost: Mapping[str, str]
    names: Sequence[str]
    tolerated: Sequence[str]
    has_store: bool
    has_driver_state: bool


class PodPlan(NamedTuple):
    """One pod's part of the plan.

    Attributes:
        steps: the steps in plan order, without their targets.
        targets: the number of each step's target.
        stored: steps whose stored results are read; each has the kind of its target instead of the target.
        states: by step, by object: the step after which it takes the object's state.
        inputs: what comes from other pods, with the index of the argument that holds its path.
        outputs: what other pods or the user take, with the name of its artifact.
        results: names of steps of other pods whose stored results it takes.
        is_group: whether all outputs are in one artifact.
    """

    steps: Sequence[Step]
    targets: Sequence[int]
    stored: Sequence[Step]
    states: Mapping[str, Mapping[str, str]]
    inputs: Mapping[OutputKey, int]
    outputs: Mapping[OutputKey, str]
    results: Sequence[str]
    is_group: bool


def load_pod_plan(data: bytes, config: PodConfig, read: ReadEntry) -> PodPlan:
    """Deserialize a pod's part of the plan, and put the targets of its steps back.

    Args:
        data: the serialized part.
        config: what every pod has to know.
        read: reads an entry of the zip.

    Raises:
        Exception: whatever unpickling raises, such as ModuleNotFoundError.
    """
    pod_plan = PodPlan(*pickle.loads(data))
    if config.has_driver_state:
        pickle.loads(read("driver_state")).take_over(())
    targets = {number: pickle.loads(read(f"targets/{number}")) for number in set(pod_plan.targets)}
    steps = [
        step._replace(target=targets[number]) for step, number in zip(pod_plan.steps, pod_plan.targets, strict=True)
    ]
    stored = [step._replace(target=_StoredTarget(step.target)) for step in pod_plan.stored]  # type: ignore[arg-type]
    return pod_plan._replace(steps=steps, stored=stored)


class _StoredTarget:
    """Stands for the target of a step that does not run."""

    function = None

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.qualname = kind
