"""Whether some machine of the cluster can run a task at all; Ray itself would wait for one for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray

from .options import wanted_resources

if TYPE_CHECKING:
    from collections.abc import Mapping


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


def may_grow() -> bool:
    """Whether machines may be added to the cluster: an autoscaler watches over it."""
    try:
        return bool(ray._private.state.state.get_cluster_config())
    except Exception:  # through a client, only Ray's public functions are there
        return False
