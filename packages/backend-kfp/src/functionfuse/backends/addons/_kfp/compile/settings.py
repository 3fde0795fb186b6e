"""Settings of a pod: those of its steps together, and how Kubeflow Pipelines gets them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from kfp import kubernetes

from functionfuse.backends.collapsed import shared_options
from functionfuse.backends.options import Retry, merge
from functionfuse.backends.secrets import Secret, without_secrets
from functionfuse.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kfp import dsl

    from functionfuse.plan import Step

    from .pods import Pod

_STARTUP_SECONDS = 600  # that a pod may take to be scheduled and to pull its image


def settings_of(steps: Sequence[Step]) -> dict[str, Any]:
    """Return the settings of a pod, merged from those of its steps.

    Raises:
        OptionError: steps of one group have different values for a setting, or a step asks for a part of a GPU.
    """
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    resources = shared_options([step.options for step in steps]).resources
    for step in [step._replace(options=step.options._replace(resources=resources)) for step in steps]:
        for key, value in _settings_of(step, is_alone=len(steps) == 1).items():
            if isinstance(value, dict):
                merged[key] = {**merged.get(key, {}), **value}
            elif merged.setdefault(key, value) != value:
                raise OptionError(
                    f"nodes {origin[key]!r} and {step.name!r} share a pod, but have different settings for {key!r}: "
                    f"{merged[key]!r} and {value!r}"
                )
            origin.setdefault(key, step.name)
    return merged


def _settings_of(step: Step, *, is_alone: bool) -> dict[str, Any]:
    """Return the settings of a pod for one of its steps; without what each call sees for itself if it is not alone."""
    resources = step.options.resources
    settings: dict[str, Any] = {}
    if "cpus" in resources:
        settings["cpu"] = f"{math.ceil(resources['cpus'] * 1000)}m"
    if "memory" in resources:
        settings["memory"] = str(resources["memory"])
    gpus = resources.get("gpus", 1 if "accelerator" in resources else 0)
    if gpus:
        if gpus != int(gpus):
            raise OptionError(f"node {step.name!r} asks for {gpus} GPUs; a pod takes whole ones")
        settings |= {"accelerator": resources.get("accelerator", "nvidia.com/gpu"), "accelerator_count": int(gpus)}
    if step.options.image is not None:
        settings["image"] = step.options.image
    if step.options.packages:
        settings["packages"] = step.options.packages
    settings["env"] = without_secrets(step.options.environment) if is_alone else {}
    settings["secret_env"] = _secrets_of_kubernetes(step)
    merge(settings, step.options.engine)
    return {key: value for key, value in settings.items() if value != {}}


def _secrets_of_kubernetes(step: Step) -> dict[str, dict[str, str]]:
    """Return by name of a Secret, by key in it: the environment variable."""
    variables: dict[str, dict[str, str]] = {}
    for variable, value in step.options.environment.items():
        if isinstance(value, Secret) and value.source == "k8s":
            secret, _, key = value.name.partition("/")
            if not secret or not key:
                raise OptionError(f"node {step.name!r} takes the secret {value}; one of Kubernetes is k8s:secret/key")
            variables.setdefault(secret, {})[key] = variable
    return variables


def apply_settings(task: dsl.PipelineTask, settings: Mapping[str, Any]) -> None:
    """Apply settings to a task.

    Args:
        task: the task of a pod.
        settings: what `settings_of` returned for the pod.
    """
    if "cpu" in settings:
        task.set_cpu_request(str(settings["cpu"])).set_cpu_limit(str(settings["cpu"]))
    if "memory" in settings:
        task.set_memory_request(str(settings["memory"])).set_memory_limit(str(settings["memory"]))
    if "accelerator" in settings:
        task.set_accelerator_type(settings["accelerator"]).set_accelerator_limit(settings.get("accelerator_count", 1))
    if "retries" in settings:
        task.set_retry(settings["retries"], backoff_duration=f"{settings.get('backoff', 0)}s")
    if "timeout" in settings:
        kubernetes.set_timeout(task, settings["timeout"])
    for name, value in settings.get("env", {}).items():
        task.set_env_variable(name, value)
    for name, value in settings.get("node_selector", {}).items():
        kubernetes.add_node_selector(task, name, value)
    for name, value in settings.get("labels", {}).items():
        kubernetes.add_pod_label(task, name, value)
    for toleration in settings.get("tolerations", ()):
        kubernetes.add_toleration(task, **toleration)
    apply_secrets(task, settings)


def apply_secrets(task: dsl.PipelineTask, settings: Mapping[str, Any]) -> None:
    """Give a task access to the Secrets of the cluster that its settings name.

    Args:
        task: the task.
        settings: what `settings_of` returned for the pod.
    """
    for secret, variables in settings.get("secret_env", {}).items():
        kubernetes.use_secret_as_env(task, secret, variables)
    for secret, folder in settings.get("secret_volume", {}).items():
        kubernetes.use_secret_as_volume(task, secret, mount_path=folder)


def engine_retry(pod: Pod) -> Retry | None:
    """Return the retries of a pod that Kubeflow Pipelines makes; None when attempts are made in the pod.

    Kubeflow Pipelines starts a whole pod again, after any failure. So it retries a pod of one step, after any
    exception.
    """
    retry = None if pod.is_group else pod.steps[0].options.retry
    return retry if retry is not None and Exception in retry.exceptions else None


def apply_retry(task: dsl.PipelineTask, retry: Retry) -> None:
    """Let Kubeflow Pipelines start a failed pod again.

    Args:
        task: the task of the pod.
        retry: how often, and after how long.
    """
    task.set_retry(retry.times, backoff_duration=f"{math.ceil(retry.delay)}s", backoff_factor=retry.backoff)


def apply_deadline(task: dsl.PipelineTask, pod: Pod) -> None:
    """Set a deadline after which all time limits in a pod have passed, for code that never returns to Python.

    Args:
        task: the task of the pod.
        pod: the pod.
    """
    seconds = 0.0
    for step in pod.steps:
        if step.options.timeout is None:
            return
        retry = Retry(0) if engine_retry(pod) else step.options.retry or Retry(0)
        pauses = (retry.delay * retry.backoff**number for number in range(retry.times))
        seconds += step.options.timeout * (retry.times + 1) + sum(pauses)
    kubernetes.set_timeout(task, math.ceil(seconds) + _STARTUP_SECONDS)
