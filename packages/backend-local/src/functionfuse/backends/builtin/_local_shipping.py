"""Calls and outcomes as bytes, for executors whose workers are other processes."""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any

import cloudpickle

from functionfuse.backends.builtin._local_pace import in_turn
from functionfuse.backends.calls import Call, Outcome, RemoteError, perform, traceback_text
from functionfuse.backends.sending import cannot_be_sent, reduce_by_name

if TYPE_CHECKING:
    from collections.abc import Sequence


def pack(call: Call, name: str) -> bytes:
    """Pickle a call; functions that a worker cannot import travel by value.

    Raises:
        NodeError: naming the argument that cannot be pickled.
    """
    try:
        return _dumps(call)
    except Exception as error:
        others = {"the object": call.instance, "the plugin's function": call.initialize}
        raise cannot_be_sent(name, call.target, call.args, call.kwargs, others, _dumps, error) from error


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
        return _packed_error(Outcome(None, None, error, 0.0))
    outcome = perform(call)
    if outcome.error is not None:
        return _packed_error(outcome)
    try:
        return _dumps((outcome, ""))
    except Exception as error:
        kind = type(outcome.value)
        problem = TypeError(f"the result, a {kind.__module__}.{kind.__qualname__}, cannot be pickled: {error}")
        return _packed_error(outcome._replace(value=None, instance=None, error=problem))


def unpack(packed: bytes) -> Outcome:
    """Return the outcome that a worker sent; what cannot be unpickled is an error."""
    outcome: Outcome
    try:
        outcome, text = pickle.loads(packed)
    except Exception as error:
        error.add_note("while the result of a worker was unpickled")
        return Outcome(None, None, error, 0.0)
    if outcome.error is not None:
        outcome.error.add_note(f"in the worker:\n{text}")
    return outcome


def _packed_error(outcome: Outcome) -> bytes:
    error = outcome.error
    assert error is not None
    text = traceback_text(error)  # a traceback itself cannot leave its process, and notes do not always
    try:
        packed = _dumps((outcome, text))
        pickle.loads(packed)  # some exceptions can be pickled but not unpickled
    except Exception:
        stand_in = RemoteError(f"{type(error).__qualname__}: {error}")
        return _dumps((outcome._replace(error=stand_in), text))
    return packed


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    def reducer_override(self, obj: Any) -> Any:
        return reduce_by_name(obj) or super().reducer_override(obj)


def _dumps(value: object) -> bytes:
    stream = io.BytesIO()
    _Pickler(stream).dump(value)
    return stream.getvalue()
