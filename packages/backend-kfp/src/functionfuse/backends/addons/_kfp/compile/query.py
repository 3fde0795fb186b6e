"""Queries of a workflow on Kubeflow Pipelines: which settings of tasks there are, and which values they take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from functionfuse.backends.query import Query
from functionfuse.errors import OptionError
from functionfuse.original import takes_original_names

if TYPE_CHECKING:
    from collections.abc import Callable

_TOLERATION = {"key", "operator", "value", "effect", "toleration_seconds"}


class KFPQuery(Query):
    """Nodes whose names match a pattern, with the settings of tasks of Kubeflow Pipelines."""

    engine_section = ("kfp", "set_task_args")

    @takes_original_names
    def set_task_args(self, task_args: Mapping[str, Any]) -> Self:
        """Set what the tasks of the chosen nodes need on the cluster.

        Args:
            task_args: any of

                - ``cpu``: cores, like ``2``, ``"0.5"`` or ``"500m"``; requested, and the limit too
                - ``memory``: like ``"4Gi"``; requested, and the limit too
                - ``accelerator``, ``accelerator_count``: like ``"nvidia.com/gpu"`` and 1
                - ``retries``, ``backoff``: how often a pod that fails is started again, and seconds before it
                - ``timeout``: seconds that a pod may take, its start included
                - ``env``: environment variables by name; everybody who reads the pipeline reads them
                - ``secret_env``: by name of a Secret, by key in it: the environment variable
                - ``secret_volume``: by name of a Secret: the folder that it appears in
                - ``node_selector``, ``labels``: values by label
                - ``tolerations``: a list of mappings with key, operator, value, effect, toleration_seconds
                - ``image``: instead of the workflow's
                - ``packages``: what pip installs before the node runs
                - ``caching``: whether Kubeflow Pipelines may take an earlier result

        Raises:
            OptionError: a setting is unknown, or does not take the value.
        """
        for key, value in dict(task_args).items():
            if key not in SETTINGS:
                raise OptionError(f"set_task_args has no setting {key!r}; known: {', '.join(SETTINGS)}")
            is_valid, expected = SETTINGS[key]
            if not is_valid(value):
                raise OptionError(f"set_task_args: {key!r} takes {expected}, got {value!r}")
        return self._set(engine={key: _copy(value) for key, value in dict(task_args).items()})


def _copy(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, list | tuple) else value


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: not isinstance(value, bool) and re.fullmatch(pattern, str(value)) is not None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_non_empty_str(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_str_mapping(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(text, str) for pair in value.items() for text in pair)


def _is_secret_env(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        _is_non_empty_str(name) and _is_str_mapping(keys) for name, keys in value.items()
    )


def _is_tolerations(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(one, Mapping) and one and set(one) <= _TOLERATION for one in value
    )


_STR_MAPPING = 'a mapping of strings, like {"NAME": "value"}'
SETTINGS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "cpu": (_matches(r"([0-9]*[.])?[0-9]+m?"), 'a number of cores, like 2 or "500m"'),
    "memory": (_matches(r"[0-9]+(E|Ei|P|Pi|T|Ti|G|Gi|M|Mi|K|Ki)?"), 'an amount like "4Gi", or bytes'),
    "accelerator": (_is_non_empty_str, 'a kind of device, like "nvidia.com/gpu"'),
    "accelerator_count": (_is_count, "a whole number"),
    "retries": (_is_count, "a whole number of further attempts"),
    "backoff": (_is_count, "a whole number of seconds"),
    "timeout": (lambda value: _is_count(value) and value > 0, "a whole number of seconds above 0"),
    "env": (_is_str_mapping, _STR_MAPPING),
    "secret_env": (_is_secret_env, 'a mapping like {"secret": {"key": "VARIABLE"}}'),
    "secret_volume": (_is_str_mapping, 'a mapping like {"secret": "/folder"}'),
    "node_selector": (_is_str_mapping, _STR_MAPPING),
    "tolerations": (_is_tolerations, f"a list of mappings with {', '.join(sorted(_TOLERATION))}"),
    "labels": (_is_str_mapping, _STR_MAPPING),
    "image": (_is_non_empty_str, 'an image, like "python:3.11"'),
    "packages": (
        lambda value: isinstance(value, list | tuple) and all(map(_is_non_empty_str, value)),
        'a list of requirements, like ["numpy>=2"]',
    ),
    "caching": (lambda value: isinstance(value, bool), "True or False"),
}
