"""Options of ``ray.remote``: those of tasks, those of actors, and the resources that they require of a machine."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import ray

from functionfuse.backends.secrets import without_secrets
from functionfuse.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functionfuse.backends.options import StepOptions

_OPTION_OF = {
    "cpus": "num_cpus",
    "gpus": "num_gpus",
    "memory": "memory",
    "accelerator": "accelerator_type",
    "custom": "resources",
}
_RESOURCE_OF = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
_ONE_OF_A_TYPE = 0.001  # what Ray asks of a machine for an accelerator of a type
_SEQUENTIAL = "calls of one stateful object run one after the other"
_NOTHING_ASKED = (None, -1)
_RESERVED = {
    "name": "tasks and actors have the names of their nodes; use set_name",
    "get_if_exists": "each run makes its own actors",
    "num_returns": "a node has one result; take its items with node[i]",
    "max_concurrency": _SEQUENTIAL,
    "concurrency_groups": _SEQUENTIAL,
    "allow_out_of_order_execution": _SEQUENTIAL,
    "max_pending_calls": "calls are submitted ahead; run(max_pending_tasks=...) limits them",
    "lifetime": "an object ends with its run; a store keeps its state",
    "namespace": "each run makes its own actors",
}


def check_remote_args(remote_args: Mapping[str, Any]) -> None:
    """Check that Ray's tasks, or its actors, take each option with its value.

    Raises:
        OptionError: they do not, or the option is reserved.
    """
    for name, value in remote_args.items():
        if name in _RESERVED and value not in _NOTHING_ASKED:
            raise OptionError(f"set_remote_args: {name!r} cannot be set: {_RESERVED[name]}")
        kind = (
            _PlaceholderActor
            if _takes(_PlaceholderActor, name) and not _takes(_placeholder_task, name)
            else _placeholder_task
        )
        refusal = _refusal(kind, name, value)
        if refusal is not None:
            raise OptionError(f"set_remote_args: {refusal}") from refusal


def options_of_tasks(options: StepOptions) -> dict[str, Any]:
    """Return the options of ``ray.remote`` for a step that runs as a task."""
    return _options_for(_placeholder_task, options)


def options_of_actors(options: StepOptions) -> dict[str, Any]:
    """Return the options of ``ray.remote`` for the actor that a constructor's step makes."""
    return _options_for(_PlaceholderActor, options)


def required_resources(options: Mapping[str, Any]) -> dict[str, float]:
    """Return what a machine must offer for tasks of these options of ``ray.remote``."""
    named = {resource: options.get(option) for option, resource in _RESOURCE_OF.items()}
    if options.get("accelerator_type"):
        named[f"accelerator_type:{options['accelerator_type']}"] = _ONE_OF_A_TYPE
    return {name: amount for name, amount in named.items() if amount} | dict(options.get("resources") or {})


def _options_for(kind: Any, options: StepOptions) -> dict[str, Any]:
    """Return a step's resources as options of Ray, overridden by those of its remote_args that this kind takes."""
    named = {_OPTION_OF[name]: amount for name, amount in options.resources.items()}
    remote_args = {name: value for name, value in options.engine.get("remote_args", {}).items() if _takes(kind, name)}
    environment: dict[str, Any] = {"pip": list(options.packages)} if options.packages else {}
    variables = without_secrets(options.environment)
    if variables:
        environment["env_vars"] = variables  # what a process has when it starts; each call sees all of them
    if environment:
        given = remote_args.get("runtime_env") or {}
        variables |= given.get("env_vars", {})
        remote_args["runtime_env"] = {**environment, **given, **({"env_vars": variables} if variables else {})}
    if "resources" in remote_args:
        remote_args["resources"] = {**named.get("resources", {}), **(remote_args["resources"] or {})}
    return {**named, **remote_args}


@cache
def _takes(kind: Any, name: str) -> bool:
    return "invalid option" not in str(_refusal(kind, name, None)).lower()


def _refusal(kind: Any, name: str, value: Any) -> Exception | None:
    """Return the error that Ray raises for an option of tasks or actors; None if it takes the option."""
    try:
        ray.remote(**{name: value})(kind)
    except (TypeError, ValueError) as error:
        return error
    return None


def _placeholder_task() -> None:
    """Do nothing; options are tried on it."""


class _PlaceholderActor:
    """An actor that options are tried on."""
