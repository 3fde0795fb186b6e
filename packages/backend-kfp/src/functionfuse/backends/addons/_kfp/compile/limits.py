"""Limits of Linux, Kubernetes and Kubeflow Pipelines, checked before anything is submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf import json_format

from functionfuse._warning import warn_user
from functionfuse.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .pods import Pod

LONGEST_CODE = 96 * 1024
"""Bytes of code that go on a command line: Linux takes 128 KiB for one argument, and JSON adds to it."""

_ARGUMENT = 128 * 1024  # MAX_ARG_STRLEN of Linux
_ETCD = 1536 * 1024  # --max-request-bytes of etcd, as it comes
_MOST_INPUTS = 150
_GROUP = 'query(...).set_task_args({"group": name}) puts many nodes in one pod'


class Sizes(NamedTuple):
    """How large a pipeline is, in bytes, next to what it may be.

    Attributes:
        nodes: how many nodes run.
        pods: in how many pods.
        code: the code, as text for a command line; 0 where it is somewhere else.
        command: the longest command line of a node.
        root: the root component as JSON, which servers before 2.16 pass on as one argument.
        pipeline: the whole pipeline as JSON, which is kept in one object of etcd.
    """

    nodes: int
    pods: int
    code: int
    command: int
    root: int
    pipeline: int

    def __str__(self) -> str:
        return (
            f"{self.nodes} nodes in {self.pods} pods; code {self.code:,} of {LONGEST_CODE:,} bytes, longest command "
            f"{self.command:,} of {_ARGUMENT:,}, root component {self.root:,} of {_ARGUMENT:,} (before 2.16), "
            f"pipeline {self.pipeline:,} of {_ETCD:,}"
        )


def measure(pipeline: Any, pods: Sequence[Pod], code: int, *, check: bool) -> Sizes:
    """Measure a pipeline; when it is checked too, warn of what some servers refuse.

    Raises:
        PlanError: Linux or etcd cannot take it.
    """
    spec = pipeline.pipeline_spec
    commands = _commands(spec)
    sizes = Sizes(
        nodes=sum(len(pod.steps) for pod in pods),
        pods=len(pods),
        code=code,
        command=max((commands[pod.key] for pod in pods), default=0),
        root=len(json_format.MessageToJson(spec.root, indent=None)),
        pipeline=len(json_format.MessageToJson(spec, indent=None)),
    )
    if check:
        for pod in pods:
            _check_pod(pod, commands[pod.key])
        _check_whole(sizes)
    return sizes


def _check_whole(sizes: Sizes) -> None:
    said = f"the pipeline takes {sizes.pipeline:,} bytes, and etcd takes {_ETCD:,} for one object; {_GROUP}"
    if sizes.pipeline > _ETCD:
        raise PlanError(said)
    if sizes.pipeline > _ETCD // 2:
        warn_user(said)
    if sizes.root > _ARGUMENT:
        warn_user(
            f"the root component takes {sizes.root:,} bytes of JSON, and servers before Kubeflow Pipelines 2.16 take "
            f"{_ARGUMENT:,}; {_GROUP}"
        )


def _commands(spec: Any) -> dict[str, int]:
    """Bytes of the command line of each pod, by its key."""
    executors = spec.deployment_spec["executors"]
    found = {}
    for name, component in spec.components.items():
        if component.executor_label and "container" in executors[component.executor_label]:
            container = executors[component.executor_label]["container"]
            parts = [*container["command"], *container["args"]]
            found[name.removeprefix("comp-")] = sum(len(part.encode()) + 1 for part in parts)
    return found


def _check_pod(pod: Pod, command: int) -> None:
    if len(pod.arguments) > _MOST_INPUTS:
        warn_user(
            f"node {pod.title!r} takes {len(pod.arguments)} results of other pods; above {_MOST_INPUTS} it may not "
            "start, because they are passed on its command line; join them in steps, or put nodes in groups"
        )
    if command > _ARGUMENT:
        raise PlanError(
            f"the command line of node {pod.title!r} takes {command:,} bytes, and Linux takes {_ARGUMENT:,}; {_GROUP}"
        )
