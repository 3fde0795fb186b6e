"""Values that Ray would change on the way, or that its workers could not deserialize."""

from __future__ import annotations

import pickle
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import ray.util.client
from ray import cloudpickle

from functionfuse.backends.surroundings import project_path
from functionfuse.containers import ATOMS
from functionfuse.fingerprint.project import class_in_project
from functionfuse.iterators import types_in

if TYPE_CHECKING:
    from collections.abc import Sequence

_CHANGED = frozenset({list, dict, bytearray})


def unchanged(value: Any) -> Any:
    """Return what to give Ray for a value: as an argument, as a result, or to be put."""
    kind: Any = type(value)
    return Unchanged(value) if kind in _CHANGED or (kind not in ATOMS and _is_of_project(kind)) else value


class Unchanged:
    """Makes Ray pickle a value, which arrives as it was.

    What Ray serializes in a format of its own does not: a ``bytearray`` arrives as ``bytes``, and an object that a
    list or dict holds twice as two objects. Ray deserializes arguments before a worker takes over from the driver
    where modules are searched; objects of the project's classes bring that with them.

    Args:
        value: the value.
    """

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __reduce__(self) -> tuple[Any, ...]:
        is_client = ray.util.client.ray.is_connected()  # whose server sends the value on
        if not any(map(_is_of_project, types_in(self._value))):
            return Unchanged if is_client else _itself, (self._value,)
        buffers: list[pickle.PickleBuffer] = []
        data = cloudpickle.dumps(self._value, protocol=5, buffer_callback=buffers.append)
        return _Pickled if is_client else _opened, (data, buffers, project_path())


class _Pickled:
    """A pickled value in a process that does not use it."""

    __slots__ = ("_parts",)

    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, self._parts


@lru_cache(maxsize=1000)
def _is_of_project(kind: type) -> bool:
    return class_in_project(kind)


def _itself(value: Any) -> Any:
    return value


def _opened(data: bytes, buffers: Sequence[Any], path: Sequence[str]) -> Any:
    sys.path[:0] = [entry for entry in path if entry not in sys.path]
    return pickle.loads(data, buffers=buffers)
