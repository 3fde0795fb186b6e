"""The arguments of a call as they were given, for a further attempt."""

from __future__ import annotations

import io
import pickle
from hashlib import blake2b
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from functionfuse.containers import ATOMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_COPIED = 16 << 20  # bytes of a buffer up to which it is copied
_CONSTANT = (FunctionType, BuiltinFunctionType, type, ModuleType)


class NotAsGiven(Exception):  # noqa: N818  the reason why there is no further attempt
    """Arguments cannot be had as they were given."""


class Snapshot:
    """The stateful object and the arguments of a call, before its first attempt.

    They are pickled, but for the buffers of arrays: a small one is copied; of a large one the digest is taken, which
    shows whether an attempt changed it. Functions, classes and modules count as constant.

    Args:
        instance: the stateful object, for a method.
        args: positional arguments.
        kwargs: keyword arguments.
    """

    def __init__(self, instance: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._given = instance, args, kwargs
        self._is_constant = ATOMS.issuperset(map(type, (instance, *args, *kwargs.values())))
        if self._is_constant:
            return
        self._stream = io.BytesIO()
        self._constants: list[Any] = []
        self._buffers: list[_Buffer] = []
        self._reason = ""
        self._take()

    def restored(self) -> tuple[Any, tuple[Any, ...], Mapping[str, Any]]:
        """Return the object, the positional and the keyword arguments as they were.

        Raises:
            NotAsGiven: one cannot be pickled, or is large and was changed.
        """
        if self._is_constant:
            return self._given
        if self._reason:
            raise NotAsGiven(self._reason)
        buffers = [buffer.content() for buffer in self._buffers]
        self._stream.seek(0)
        unpickler = _SnapshotUnpickler(self._stream, self._constants, buffers)
        _, args, kwargs = self._given
        instance, *values = [unpickler.load() for _ in _parts(*self._given)]
        return instance, tuple(values[: len(args)]), dict(zip(kwargs, values[len(args) :], strict=True))

    def _take(self) -> None:
        found: list[pickle.PickleBuffer] = []
        pickler = _SnapshotPickler(self._stream, self._constants, found)  # what arguments share stays shared
        for name, value in _parts(*self._given):
            try:
                pickler.dump(value)
                self._buffers += [_Buffer(name, buffer) for buffer in found]
            except Exception as error:
                self._reason = (
                    f"{name} ({type(value).__name__}) may be changed by the attempt that failed, and cannot be copied "
                    f"before it ({type(error).__name__}); make it inside the function"
                )
                return
            found.clear()


class _Buffer:
    """The buffer of an array."""

    def __init__(self, name: str, buffer: pickle.PickleBuffer) -> None:
        self._name = name
        raw = buffer.raw()
        self._raw: memoryview | bytes = raw
        self._digest = b""
        if not raw.readonly and raw.nbytes <= _COPIED:
            self._raw = bytes(raw)
        elif not raw.readonly:
            self._digest = blake2b(raw).digest()

    def content(self) -> memoryview | bytearray:
        """Return the buffer, or a copy that may be changed."""
        if isinstance(self._raw, bytes):
            return bytearray(self._raw)
        if self._digest and blake2b(self._raw).digest() != self._digest:
            raise NotAsGiven(
                f"{self._name}, a large array, was changed by the attempt that failed; copy in the function what it "
                "changes"
            )
        return self._raw


class _SnapshotPickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, constants: list[Any], buffers: list[pickle.PickleBuffer]) -> None:
        super().__init__(file, 5, buffer_callback=buffers.append)
        self._constants = constants

    def persistent_id(self, value: Any) -> int | None:
        """Return the index of a constant."""
        if isinstance(value, _CONSTANT):
            self._constants.append(value)
            return len(self._constants) - 1
        return None


class _SnapshotUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, constants: list[Any], buffers: list[Any]) -> None:
        super().__init__(file, buffers=buffers)
        self.persistent_load = constants.__getitem__  # type: ignore[method-assign]


def _parts(instance: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the object and the arguments of a call, with what to call each."""
    yield "the object", instance
    for index, value in enumerate(args):
        yield f"argument {index}", value
    for key, value in kwargs.items():
        yield f"argument {key!r}", value
