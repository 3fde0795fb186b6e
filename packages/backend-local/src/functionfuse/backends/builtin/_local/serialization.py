"""Calls and outcomes as bytes, for executors whose workers are other processes."""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any

import cloudpickle

from functionfuse.backends import shipping
from functionfuse.backends.calls import Call, Outcome, perform

from .throttle import in_turn

if TYPE_CHECKING:
    from collections.abc import Sequence

unpack = shipping.unpack_outcome


def pack(call: Call, name: str) -> bytes:
    """Pickle a call. NodeError names the argument that cannot be pickled."""
    return shipping.pack(call, name, _dumps)


def perform_packed(packed: Sequence[bytes], batch_id: str) -> list[bytes]:  # noqa: ARG001
    """Run pickled calls where this is called, and return the pickled outcomes; see :func:`in_turn`.

    The ``batch_id`` makes every batch another one for executors that give equal calls one result, as Dask's does.
    """
    return in_turn(packed, _perform_packed)


def _perform_packed(packed: bytes) -> bytes:
    try:
        call = pickle.loads(packed)
    except Exception as error:
        error.add_note("while a worker unpickled the function and its arguments")
        return shipping.pack_outcome(Outcome(None, None, error, 0.0), _dumps)
    return shipping.pack_outcome(perform(call), _dumps)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    def reducer_override(self, obj: Any) -> Any:
        return shipping.by_name(obj) or super().reducer_override(obj)


def _dumps(value: object) -> bytes:
    stream = io.BytesIO()
    _Pickler(stream).dump(value)
    return stream.getvalue()
