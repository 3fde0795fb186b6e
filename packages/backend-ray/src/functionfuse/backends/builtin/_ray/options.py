"""Options of ``ray.remote``: which ones tasks take, which ones actors take, and what a machine must offer for them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import ray

from functionfuse.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

_OPTIONS = {"cpus": "num_cpus", "gpus": "num_gpus", "memory": "memory"}
_NAMED = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
_ONE_BY_ONE = "calls of one object take place one after the other"
_OURS = {
    "name": "tasks and actors have the names of their nodes; use set_name",
    "get_if_exists": "each run makes actors of its own",
    "num_returns": "a node has one result; take its items with node[i]",
    "max_concurrency": _ONE_BY_ONE,
    "concurrency_groups": _ONE_BY_ONE,
    "allow_out_of_order_execution": _ONE_BY_ONE,
}


def check_remote_args(remote_args: Mapping[str, Any]) -> None:
    """Raise OptionError unless Ray's tasks, or its actors, take each option with its value."""
    for name, value in remote_args.items():
        if name in _OURS:
            raise OptionError(f"set_remote_args: {name!r} cannot be set: {_OURS[name]}")
        kind = _Anything if _takes(_Anything, name) and not _takes(_anything, name) else _anything
        refusal = _refusal(kind, name, value)
        if refusal is not None:
            raise OptionError(f"set_remote_args: {refusal}") from refusal


def options_of_tasks(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of ``ray.remote`` for a step that runs as a task."""
    return _options_for(_anything, options)


def options_of_actors(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of ``ray.remote`` for the actor that a constructor's step makes."""
    return _options_for(_Anything, options)


def wanted_resources(options: Mapping[str, Any]) -> dict[str, float]:
    """Return what a machine must offer for tasks of these options of ``ray.remote``."""
    named = {resource: options.get(option) for option, resource in _NAMED.items()}
    return {name: amount for name, amount in named.items() if amount} | dict(options.get("resources") or {})


def _options_for(kind: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a step's resources, and above them what Ray's own options say, as far as they are for this kind."""
    needed = options.get("resources") or {}
    named = {_OPTIONS[name]: amount for name, amount in needed.items()}
    remote_args = options.get("remote_args") or {}
    return {**named, **{name: value for name, value in remote_args.items() if _takes(kind, name)}}


@cache
def _takes(kind: Any, name: str) -> bool:
    return "invalid option" not in str(_refusal(kind, name, None)).lower()


def _refusal(kind: Any, name: str, value: Any) -> Exception | None:
    """Return what Ray says to an option of tasks or actors."""
    try:
        ray.remote(**{name: value})(kind)
    except (TypeError, ValueError) as error:
        return error
    return None


def _anything() -> None:
    """A task."""


class _Anything:
    """An actor."""
