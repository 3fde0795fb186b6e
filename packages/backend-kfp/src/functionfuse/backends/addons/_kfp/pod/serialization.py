"""Values and errors as bytes.

This module travels with the code of a workflow, and every pod imports it when it starts: it imports little.
"""

from __future__ import annotations

import functools
import io
import pickle
from typing import IO, TYPE_CHECKING, Any

from functionfuse.backends.serialization import Serializer, by_name, deserialized_error
from functionfuse.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Mapping


class _NamePickler(pickle.Pickler):
    def reducer_override(self, obj: object) -> Any:
        found = by_name(obj)
        return NotImplemented if found is None else found


@functools.cache
def _by_value() -> Serializer:
    """Return what pickles by value; cloudpickle takes long to import, and is imported only here."""
    import cloudpickle

    return Serializer(cloudpickle.Pickler)


def serialize_to(value: object, file: IO[bytes]) -> None:
    """Write a value to a file; by value what pickle refuses.

    Args:
        value: the value.
        file: a file that can be read from its beginning again.

    Raises:
        Exception: whatever pickling the value raises.
    """
    try:
        _NamePickler(file, protocol=5).dump(value)
    except Exception:
        file.seek(0)
        file.truncate()
        _by_value().dump(value, file)


def serialize(value: object) -> bytes:
    """Return a value as bytes."""
    stream = io.BytesIO()
    serialize_to(value, stream)
    return stream.getvalue()


def serialize_error(error: NodeError) -> bytes:
    """Return the error of a step as bytes that any process can read, also without the classes of its causes."""
    kind = next(kind for kind in type(error).__mro__ if kind.__module__ == NodeError.__module__)
    raised = _by_value().error(error.__cause__ or error)
    notes = getattr(error, "__notes__", ())
    return pickle.dumps((kind, str(error), error.name, error.function, notes, error.__cause__ is not None, raised))


def deserialize_error(data: bytes) -> NodeError:
    """Return the error of a step, with what its function raised as the cause."""
    kind, message, name, function, notes, has_cause, serialized = pickle.loads(data)
    raised = deserialized_error(serialized, "in the pod")
    if isinstance(raised, NodeError) and not has_cause:
        return raised
    failure: NodeError = kind(message, name=name, function=function)
    failure.__cause__ = raised
    for note in notes:
        failure.add_note(note)
    return failure


def first_error(failures: Mapping[str, bytes]) -> NodeError:
    """Return the error of the first step of serialized failures, which caused the others."""
    return deserialize_error(next(iter(failures.values())))
