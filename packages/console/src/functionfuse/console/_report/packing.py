"""Columns as a page holds them: a value that occurs often is written once."""

from __future__ import annotations

from typing import Any


def packed(columns: dict[str, list[Any]]) -> dict[str, Any]:
    """Return columns in the shortest of three forms.

    These are `{"same": value}` where all values are alike, `{"values": [...], "index": [...]}` where texts occur
    more than once, and the list itself.

    Args:
        columns: by name.
    """
    return {name: _packed(column) for name, column in columns.items()}


def _packed(column: list[Any]) -> list[Any] | dict[str, Any]:
    if not column:
        return column
    if column.count(column[0]) == len(column):
        return {"same": column[0]}
    if not isinstance(column[0], str):
        return column
    numbers: dict[str, int] = {}
    index = [numbers.setdefault(text, len(numbers)) for text in column]
    return {"values": list(numbers), "index": index} if 2 * len(numbers) < len(column) else column
