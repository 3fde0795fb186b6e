"""Pickling of stateful objects: with a reference to their class, not with a copy of it.

A decorated class stands under the name of the plain one, so that pickling by name does not find the plain one;
by value, every process would have a class of its own.
"""

from __future__ import annotations

import io
import pickle
from collections import ChainMap
from copyreg import dispatch_table
from typing import TYPE_CHECKING, Any

import ray.util
from ray import cloudpickle

from functionfuse.decorator import reduce_class

if TYPE_CHECKING:
    from collections.abc import Callable

_registered: set[type] = set()


def register_class(cls: type) -> None:
    """Let Ray pickle objects of a class in this process, and in every process that receives one."""
    if cls not in _registered and reduce_class(cls) is not None:
        _registered.add(cls)
        ray.util.register_serializer(cls, serializer=_dumps, deserializer=_loads)


class _StatefulObjectPickler(cloudpickle.Pickler):  # type: ignore[misc]  # without types
    def __init__(self, file: io.BytesIO, buffer_callback: Callable[[pickle.PickleBuffer], Any]) -> None:
        own = {cls: reduce for cls, reduce in cloudpickle.Pickler.dispatch_table.items() if cls not in _registered}
        self.dispatch_table = ChainMap(own, dispatch_table)
        super().__init__(file, protocol=5, buffer_callback=buffer_callback)

    def reducer_override(self, obj: Any) -> Any:
        return reduce_class(obj) or super().reducer_override(obj)


def _dumps(obj: Any) -> tuple[bytes, list[pickle.PickleBuffer]]:
    file = io.BytesIO()
    buffers: list[pickle.PickleBuffer] = []
    _StatefulObjectPickler(file, buffers.append).dump(obj)
    return file.getvalue(), buffers


def _loads(dumped: tuple[bytes, list[pickle.PickleBuffer]]) -> Any:
    obj = pickle.loads(dumped[0], buffers=dumped[1])
    register_class(type(obj))
    return obj
