"""Settings of tasks: which there are, what they take, and how Kubeflow Pipelines gets them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from kfp import kubernetes

from functionfuse.backends.calls import Retry
from functionfuse.backends.query import Query
from functionfuse.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kfp import dsl

    from functionfuse.plan import Step

    from .pods import Pod

_STARTUP = 600  # seconds that a pod may take to be scheduled and to pull its image
_TOLERATION = {"key", "operator", "value", "effect", "toleration_seconds"}


class KFPQuery(Query):
    """Nodes whose names match a pattern, with the settings of tasks of Kubeflow Pipelines."""

    def set_task_args(self, task_args: Mapping[str, Any]) -> Self:
        """Set what the tasks of nodes need on the cluster.

        Args:
            task_args: any of

                - ``cpu``: cores, like ``2``, ``"0.5"`` or ``"500m"``; requested, and the limit too
                - ``memory``: like ``"4Gi"``; requested, and the limit too
                - ``accelerator``, ``accelerator_count``: like ``"nvidia.com/gpu"`` and 1
                - ``retries``, ``backoff``: how often a pod that fails is started again, and seconds before it
                - ``timeout``: seconds that a pod may take, with all that belongs to its start
                - ``env``: variables by name; they can be read by whoever reads the pipeline
                - ``secret_env``: by name of a Secret, by key in it: the variable
                - ``secret_volume``: by name of a Secret: the folder that it appears in
                - ``node_selector``, ``labels``: values by label
                - ``tolerations``: a list of mappings with key, operator, value, effect, toleration_seconds
                - ``image``: in the place of the workflow's
                - ``packages``: what pip installs before the node runs
                - ``caching``: whether an earlier result of Kubeflow Pipelines may be taken
                - ``group``: a name; all nodes with this one share a pod

        Raises:
            OptionError: an unknown setting, or a value that it does not take.
        """
        for key, value in dict(task_args).items():
            if key not in _SETTINGS:
                raise OptionError(f"set_task_args knows no {key!r}; known: {', '.join(_SETTINGS)}")
            fits, wanted = _SETTINGS[key]
            if not fits(value):
                raise OptionError(f"set_task_args: {key!r} takes {wanted}, got {value!r}")
        return self._set(**{f"task_{key}": _copy(value) for key, value in dict(task_args).items()})


def _copy(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, list | tuple) else value


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: not isinstance(value, bool) and re.fullmatch(pattern, str(value)) is not None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_texts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(item, str) for pair in value.items() for item in pair)


def _is_secret_env(value: Any) -> bool:
    return isinstance(value, Mapping) and all(_is_text(name) and _is_texts(keys) for name, keys in value.items())


def _is_tolerations(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(i, Mapping) and i and set(i) <= _TOLERATION for i in value
    )


_TEXTS = 'a mapping of texts, like {"NAME": "value"}'
_SETTINGS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "cpu": (_matches(r"([0-9]*[.])?[0-9]+m?"), 'a number of cores, like 2 or "500m"'),
    "memory": (_matches(r"[0-9]+(E|Ei|P|Pi|T|Ti|G|Gi|M|Mi|K|Ki)?"), 'an amount like "4Gi", or bytes'),
    "accelerator": (_is_text, 'a kind of device, like "nvidia.com/gpu"'),
    "accelerator_count": (_is_count, "a whole number"),
    "retries": (_is_count, "a whole number of further attempts"),
    "backoff": (_is_count, "a whole number of seconds"),
    "timeout": (lambda value: _is_count(value) and value > 0, "a whole number of seconds above 0"),
    "env": (_is_texts, _TEXTS),
    "secret_env": (_is_secret_env, 'a mapping like {"secret": {"key": "VARIABLE"}}'),
    "secret_volume": (_is_texts, 'a mapping like {"secret": "/folder"}'),
    "node_selector": (_is_texts, _TEXTS),
    "tolerations": (_is_tolerations, f"a list of mappings with {', '.join(sorted(_TOLERATION))}"),
    "labels": (_is_texts, _TEXTS),
    "image": (_is_text, 'an image, like "python:3.11"'),
    "packages": (
        lambda value: isinstance(value, list | tuple) and all(map(_is_text, value)),
        'a list of requirements, like ["numpy>=2"]',
    ),
    "caching": (lambda value: isinstance(value, bool), "True or False"),
    "group": (_is_text, "a name"),
}


def settings_of(steps: Sequence[Step]) -> dict[str, Any]:
    """Return the settings of a pod: those of its steps together.

    Raises:
        OptionError: steps of one group disagree, or ask for a part of a GPU.
    """
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for step in steps:
        for key, value in _settings_of(step).items():
            if isinstance(value, dict):
                merged[key] = {**merged.get(key, {}), **value}
            elif merged.setdefault(key, value) != value:
                raise OptionError(
                    f"nodes {origin[key]!r} and {step.name!r} share a pod, but have different settings for {key!r}: "
                    f"{merged[key]!r} and {value!r}"
                )
            origin.setdefault(key, step.name)
    return merged


def _settings_of(step: Step) -> dict[str, Any]:
    needs = step.options.get("resources", {})
    settings: dict[str, Any] = {}
    if "cpus" in needs:
        settings["cpu"] = f"{math.ceil(needs['cpus'] * 1000)}m"
    if "memory" in needs:
        settings["memory"] = str(needs["memory"])
    if needs.get("gpus"):
        if needs["gpus"] != int(needs["gpus"]):
            raise OptionError(f"node {step.name!r} asks for {needs['gpus']} GPUs; a pod takes whole ones")
        settings |= {"accelerator": "nvidia.com/gpu", "accelerator_count": int(needs["gpus"])}
    given = {key: step.options[f"task_{key}"] for key in _SETTINGS if f"task_{key}" in step.options}
    return {**settings, **given}


def apply_settings(task: dsl.PipelineTask, settings: Mapping[str, Any]) -> None:
    """Give a task its settings."""
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
    """Let a task see the Secrets of the cluster that its settings name."""
    for secret, variables in settings.get("secret_env", {}).items():
        kubernetes.use_secret_as_env(task, secret, variables)
    for secret, folder in settings.get("secret_volume", {}).items():
        kubernetes.use_secret_as_volume(task, secret, mount_path=folder)


def engine_retry(pod: Pod) -> Retry | None:
    """Return the retries of a pod that Kubeflow Pipelines can do: those of one step, after any exception.

    It knows no exceptions, and no steps within a pod; else the attempts are made in the pod.
    """
    retry: Retry | None = None if pod.is_group else pod.steps[0].options.get("retry")
    return retry if retry is not None and Exception in retry.exceptions else None


def apply_retry(task: dsl.PipelineTask, retry: Retry) -> None:
    """Let Kubeflow Pipelines start a pod again that failed."""
    task.set_retry(retry.times, backoff_duration=f"{math.ceil(retry.delay)}s", backoff_factor=retry.backoff)


def apply_deadline(task: dsl.PipelineTask, pod: Pod) -> None:
    """End a pod whose time limits must all have passed, even if its code never returns to Python."""
    if not all("timeout" in step.options for step in pod.steps):
        return
    seconds = 0.0
    for step in pod.steps:
        retry: Retry = Retry(0) if engine_retry(pod) else step.options.get("retry", Retry(0))
        pauses = (retry.delay * retry.backoff**number for number in range(retry.times))
        seconds += step.options["timeout"] * (retry.times + 1) + sum(pauses)
    kubernetes.set_timeout(task, math.ceil(seconds) + _STARTUP)
