"""Values that Ray would change on the way."""

from __future__ import annotations

from typing import Any

import ray.util.client

_CHANGED = frozenset({list, dict, bytearray})


class Unchanged:
    """Makes Ray pickle a value, which arrives as it was.

    What Ray serializes in a format of its own does not: a ``bytearray`` arrives as ``bytes``, and an object that a
    list or dict holds twice as two objects.

    Args:
        value: the value.
    """

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __reduce__(self) -> tuple[Any, ...]:
        is_client = ray.util.client.ray.is_connected()  # whose server sends the value on
        return Unchanged if is_client else _itself, (self._value,)


def unchanged(value: Any) -> Any:
    """Return what to give Ray for a value: as an argument, as a result, or to be put."""
    return Unchanged(value) if type(value) in _CHANGED else value


def _itself(value: Any) -> Any:
    return value
