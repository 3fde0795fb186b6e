"""What the machines of the cluster offer; Ray itself would wait for a machine for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray

from .options import required_resources

if TYPE_CHECKING:
    from collections.abc import Mapping


def missing_resources(options: Mapping[str, Any]) -> str:
    """Return a message about what no machine of the cluster offers; an empty one if some machine offers it all."""
    required = required_resources(options)
    if not required:
        return ""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(machine.get(name, 0) >= amount for name, amount in required.items()) for machine in machines):
        return ""
    offered = sorted({name for machine in machines for name in machine if not name.startswith("node:")})
    return (
        f"no machine of the cluster offers {required!r}: the resources of its {len(machines)} machines are "
        f"{', '.join(offered)}; change the node's options, or start a machine that offers them"
    )


def has_autoscaler() -> bool:
    """Return True if an autoscaler may add machines to the cluster."""
    try:
        return bool(ray._private.state.state.get_cluster_config())
    except Exception:  # through a client, only Ray's public functions are there
        return False
