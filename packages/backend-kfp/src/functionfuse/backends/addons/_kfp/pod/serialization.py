"""Values and errors as bytes.

This module travels with the code of a workflow, and every pod imports it when it starts: it imports little.
"""

from __future__ import annotations

import io
import pickle
from typing import IO, TYPE_CHECKING, Any

from functionfuse.backends.calls import RemoteError, traceback_text
from functionfuse.backends.shipping import by_name
from functionfuse.errors import NodeError, NodeTimeoutError

if TYPE_CHECKING:
    from collections.abc import Mapping


class _NamePickler(pickle.Pickler):
    def reducer_override(self, obj: object) -> Any:
        found = by_name(obj)
        return NotImplemented if found is None else found


def serialize_to(value: object, file: IO[bytes]) -> None:
    """Write a value to a file.

    What travels by value needs cloudpickle, which takes long to import: it is imported only when pickle fails.

    Args:
        value: the value.
        file: a file that can be read from its beginning again.

    Raises:
        Exception: whatever pickling the value raises.
    """
    try:
        _NamePickler(file, protocol=5).dump(value)
    except Exception:
        import cloudpickle

        class ByValuePickler(cloudpickle.Pickler):  # type: ignore[misc]  # without types
            def reducer_override(self, obj: Any) -> Any:
                return by_name(obj) or super().reducer_override(obj)

        file.seek(0)
        file.truncate()
        ByValuePickler(file, protocol=5).dump(value)


def serialize(value: object) -> bytes:
    """Return a value as bytes."""
    stream = io.BytesIO()
    serialize_to(value, stream)
    return stream.getvalue()


def serialize_error(error: NodeError) -> bytes:
    """Return the error of a step as bytes that any process can read, also without the class of its cause."""
    cause = error.__cause__ or error
    text = traceback_text(cause)
    facts = (isinstance(error, NodeTimeoutError), str(error), error.name, error.function)
    try:
        serialized = serialize(cause)
        pickle.loads(serialized)  # some exceptions can be pickled but not unpickled
    except Exception:
        serialized = serialize(RemoteError(f"{type(cause).__qualname__}: {cause}"))
    return pickle.dumps((*facts, serialized, text))


def deserialize_error(data: bytes) -> NodeError:
    """Return the error of a step, with what its function raised as the cause."""
    is_timeout, message, name, function, cause, text = pickle.loads(data)
    failure = (NodeTimeoutError if is_timeout else NodeError)(message, name=name, function=function)
    try:
        raised = pickle.loads(cause)
    except Exception as error:
        raised = RemoteError(f"the exception of the pod cannot be unpickled here: {error}")
    raised.add_note(f"in the pod:\n{text}")
    failure.__cause__ = raised
    return failure


def error_of_first(failures: Mapping[str, bytes]) -> NodeError:
    """Return an error with the name of the first step of serialized failures, which caused the others."""
    name = next(iter(failures))
    return NodeError(f"node {name!r} failed", name=name)
