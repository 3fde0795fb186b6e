"""Whether some machine of the cluster can run a task at all; Ray itself would wait for one for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray

if TYPE_CHECKING:
    from collections.abc import Mapping

_OPTIONS = {"cpus": "num_cpus", "gpus": "num_gpus", "memory": "memory"}
_NAMED = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}


def remote_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of ``ray.remote`` for a step: its resources, and above them what Ray's own options say."""
    needed = options.get("resources") or {}
    named = {_OPTIONS[name]: amount for name, amount in needed.items()}
    return {**named, **(options.get("remote_args") or {})}


def wanted_resources(options: Mapping[str, Any]) -> dict[str, float]:
    """Return what a machine must offer for tasks of these options of ``ray.remote``."""
    named = {resource: options.get(option) for option, resource in _NAMED.items()}
    return {name: amount for name, amount in named.items() if amount} | dict(options.get("resources") or {})


def what_is_missing(options: Mapping[str, Any]) -> str:
    """Say what no machine of the cluster offers; nothing if some machine offers it all."""
    wanted = wanted_resources(options)
    if not wanted:
        return ""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(machine.get(name, 0) >= amount for name, amount in wanted.items()) for machine in machines):
        return ""
    offered = sorted({name for machine in machines for name in machine if not name.startswith("node:")})
    return f"no machine of the cluster offers {wanted!r}; {len(machines)} machines offer {', '.join(offered)}"
