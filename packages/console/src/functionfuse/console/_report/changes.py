"""What a live page is sent: the difference of two views of one run."""

from __future__ import annotations

from typing import Any

_WHOLE = ("run", "begins", "environment", "wanted", "capsules")


def changes_of(before: dict[str, Any], view: dict[str, Any]) -> dict[str, Any]:
    """Return what a page that shows one view needs to show another one; empty if they are alike.

    A live page takes these from an event source, one JSON object for each message::

        {
            "run", "begins", "environment", "wanted", "capsules": those that differ, whole
            "count": the number of nodes, if any of them differs
            "nodes": {column: {number of a node: value}}, of the values that differ, and of all values of new nodes
        }

    Args:
        before: the view that is shown.
        view: the view of the same run now.
    """
    changes: dict[str, Any] = {part: view[part] for part in _WHOLE if view[part] != before[part]}
    columns = {name: _differing(before["nodes"][name], column) for name, column in view["nodes"].items()}
    nodes = {name: values for name, values in columns.items() if values}
    count = len(view["nodes"]["name"])
    if nodes or count != len(before["nodes"]["name"]):
        changes |= {"count": count, "nodes": nodes}
    return changes


def _differing(before: list[Any], column: list[Any]) -> dict[int, Any]:
    if before == column:
        return {}
    known = len(before)
    return {number: value for number, value in enumerate(column) if number >= known or before[number] != value}
