"""What the machines of the cluster offer; Ray itself would wait for a machine for ever."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import ray
from ray.util.placement_group import placement_group_table

from .options import required_resources

if TYPE_CHECKING:
    from collections.abc import Mapping

_ALTERNATIVES = re.compile(r"in\((.*)\)")  # in label selectors


def missing_on_machines(options: Mapping[str, Any]) -> str:
    """Return a message about what no machine of the cluster offers; an empty one if some machine offers it all.

    Args:
        options: of ``ray.remote``.
    """
    required, labels = required_resources(options), dict(options.get("label_selector") or {})
    if not required and not labels:
        return ""
    machines = [node for node in ray.nodes() if node["Alive"]]
    if any(_has(node["Resources"], required) and _fits(node["Labels"], labels) for node in machines):
        return ""
    offered = sorted({name for node in machines for name in node["Resources"] if not name.startswith("node:")})
    wanted = " and ".join([*[f"{required!r}"] * bool(required), *[f"labels {labels!r}"] * bool(labels)])
    known = sorted({f"{key}={value}" for node in machines for key, value in node["Labels"].items()}) if labels else []
    return (
        f"no machine of the cluster offers {wanted}: the resources of its {len(machines)} machines are "
        f"{', '.join(offered)}{', their labels ' * bool(known)}{', '.join(known)}; change the node's options, or start "
        "a machine that offers them"
    )


def removed_placement_group(options: Mapping[str, Any]) -> str:
    """Return a message about a placement group that is not there any more; an empty one if all is well.

    Args:
        options: of ``ray.remote``.
    """
    group = getattr(options.get("scheduling_strategy"), "placement_group", None) or options.get("placement_group")
    if group is None or not hasattr(group, "id"):
        return ""
    state = placement_group_table(group).get("state")
    if state in ("CREATED", "PENDING", "RESCHEDULING"):
        return ""
    return f"its placement group {group.id.hex()} was removed; make another one, with ray.util.placement_group(...)"


def has_autoscaler() -> bool:
    """Return True if an autoscaler may add machines to the cluster."""
    try:
        return bool(ray._private.state.state.get_cluster_config())
    except Exception:  # through a client, only Ray's public functions are there
        return False


def _has(resources: Mapping[str, float], required: Mapping[str, float]) -> bool:
    return all(resources.get(name, 0) >= amount for name, amount in required.items())


def _fits(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    """Return True if a machine has the labels of a selector: ``value``, ``!value``, ``in(a, b)`` or ``!in(a, b)``."""
    return all(_is_selected(labels.get(key), condition) for key, condition in selector.items())


def _is_selected(label: str | None, condition: str) -> bool:
    wanted = condition.removeprefix("!")
    alternatives = _ALTERNATIVES.fullmatch(wanted)
    values = [value.strip() for value in alternatives[1].split(",")] if alternatives else [wanted]
    return (label in values) != condition.startswith("!")
