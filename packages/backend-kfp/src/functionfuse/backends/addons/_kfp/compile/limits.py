"""Limits of Linux, Kubernetes and Kubeflow Pipelines, checked before anything is submitted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf import json_format

from functionfuse._warning import warn_user
from functionfuse.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .pods import Pod

MAX_CODE_SIZE = 120 * 1024
"""Bytes of code that a command line holds: Linux takes 128 KiB for one argument, in which the rest of it is, too."""

_MAX_ARGUMENT_SIZE = 128 * 1024  # MAX_ARG_STRLEN of Linux
_MAX_ETCD_SIZE = 1536 * 1024  # the default of etcd's --max-request-bytes
_MAX_INPUTS = 150
_HINT = "edit().collapse(pattern, name=...).done() puts many nodes in one pod"


class Sizes(NamedTuple):
    """How large a pipeline is, in bytes, next to what it may be.

    Attributes:
        nodes: how many nodes run.
        pods: in how many pods.
        code: the code, as text for a command line; 0 if it is not on one.
        command: the longest command line of a node.
        root: the root component as JSON, which servers before 2.16 pass as one argument.
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
            f"{self.nodes} nodes in {self.pods} pods; code {self.code:,} of {MAX_CODE_SIZE:,} bytes, longest command "
            f"{self.command:,} of {_MAX_ARGUMENT_SIZE:,}, root component {self.root:,} of {_MAX_ARGUMENT_SIZE:,} "
            f"(before 2.16), pipeline {self.pipeline:,} of {_MAX_ETCD_SIZE:,}"
        )


def measure(pipeline: Any, pods: Sequence[Pod], code: int, *, check: bool) -> Sizes:
    """Measure a pipeline, and check its limits; warn of what some servers refuse.

    Args:
        pipeline: what ``dsl.pipeline`` made.
        pods: its pods.
        code: bytes of code on a command line.
        check: whether limits are checked.

    Raises:
        PlanError: it is larger than Linux or etcd allow.
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
    message = f"the pipeline takes {sizes.pipeline:,} bytes, and etcd takes {_MAX_ETCD_SIZE:,} for one object; {_HINT}"
    if sizes.pipeline > _MAX_ETCD_SIZE:
        raise PlanError(message)
    if sizes.pipeline > _MAX_ETCD_SIZE // 2:
        warn_user(message)
    if sizes.root > _MAX_ARGUMENT_SIZE:
        warn_user(
            f"the root component takes {sizes.root:,} bytes of JSON, and servers before Kubeflow Pipelines 2.16 take "
            f"{_MAX_ARGUMENT_SIZE:,}; {_HINT}"
        )


def _commands(spec: Any) -> dict[str, int]:
    """Return the bytes of the command line of each pod, by its key, in JSON, as one argument of its driver."""
    executors = spec.deployment_spec["executors"]
    found = {}
    for name, component in spec.components.items():
        if component.executor_label and "container" in executors[component.executor_label]:
            container = executors[component.executor_label]["container"]
            parts = [*container["command"], *container["args"]]
            found[name.removeprefix("comp-")] = len(json.dumps(parts, ensure_ascii=False).encode())
    return found


def _check_pod(pod: Pod, command: int) -> None:
    if len(pod.arguments) > _MAX_INPUTS:
        warn_user(
            f"node {pod.title!r} takes {len(pod.arguments)} results of other pods; above {_MAX_INPUTS} it may not "
            "start, because their paths are on its command line; combine them in steps, or put nodes in groups"
        )
    if command > _MAX_ARGUMENT_SIZE:
        raise PlanError(
            f"the command line of node {pod.title!r} takes {command:,} bytes, and Linux takes "
            f"{_MAX_ARGUMENT_SIZE:,}; {_HINT}"
        )
