"""What pods and the driver say to each other: artifacts, failures, and messages of a local run.

This module travels with the code of a workflow. It imports the frontend only, and not much of Python: each pod waits
for that. So it has no pathlib.
"""

# ruff: noqa: PTH103, PTH120, PTH123

from __future__ import annotations

import binascii
import functools
import io
import os
import pickle
from typing import IO, TYPE_CHECKING, Any

from functionfuse.backends.calls import RemoteError, traceback_text
from functionfuse.backends.shipping import by_name
from functionfuse.errors import NodeError, NodeTimeoutError

if TYPE_CHECKING:
    from collections.abc import Mapping

    Source = tuple[str, str | None]  # a step, for its result; or with an object, for the state of that after it

FORMAT = 1
"""Of what the zip of a workflow's code holds; another one is read by another release only."""

ADDRESS = "FUNCTIONFUSE_KFP_DRIVER"
"""Variable with the socket of the driver, in a local run."""

IN_POD = "FUNCTIONFUSE_KFP_POD"
"""Variable that is set in pods, to the pod's key."""

FAILED = "functionfuse failed: "
LOST = "functionfuse lost: "
"""How lines of a pod's log begin that are meant for the driver."""

_MARK = b"!"  # begins what stands for a failure; no pickle begins so
_BUNDLE = b"#"  # begins an artifact with several results
_HEAD = 8  # bytes


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: object) -> Any:
        found = by_name(obj)
        return NotImplemented if found is None else found


def _write(value: object, file: IO[bytes]) -> None:
    """Pickle a value; what has to travel by value makes cloudpickle necessary, which takes long to import."""
    try:
        _Pickler(file, protocol=5).dump(value)
    except Exception:
        import cloudpickle

        class ByValue(cloudpickle.Pickler):  # type: ignore[misc]  # without types
            def reducer_override(self, obj: Any) -> Any:
                return by_name(obj) or super().reducer_override(obj)

        file.seek(0)
        file.truncate()
        ByValue(file, protocol=5).dump(value)


def dumps(value: object) -> bytes:
    """Pickle a value."""
    stream = io.BytesIO()
    _write(value, stream)
    return stream.getvalue()


def open_new(path: str) -> IO[bytes]:
    """Open a file to be written, in a folder that may not be there yet."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    return open(path, "wb")


def packed(value: object) -> bytes:
    """Return a value as an artifact's bytes. TypeError, naming its type, when it cannot be pickled."""
    stream = io.BytesIO()
    _pack(value, stream)
    return stream.getvalue()


def dump(value: object, path: str) -> None:
    """Write a value to an artifact's file. TypeError, naming its type, when it cannot be pickled."""
    with open_new(path) as file:
        _pack(value, file)


def _pack(value: object, file: IO[bytes]) -> None:
    if isinstance(value, Marked):
        file.write(_MARK + pickle.dumps(value.failures))
        return
    try:
        _write(value, file)
    except Exception as error:
        kind = type(value)
        raise TypeError(f"the result, a {kind.__module__}.{kind.__qualname__}, cannot be pickled: {error}") from error


def write_bundle(parts: Mapping[Source, bytes], path: str) -> None:
    """Write all that a group hands out to one artifact's file."""
    with open_new(path) as file:
        file.write(_BUNDLE + pickle.dumps(dict(parts), protocol=5))


def load(path: str, source: Source) -> Any:
    """Read a value from an artifact's file."""
    with _content(path, source) as file:
        return pickle.load(file)


def _content(path: str, source: Source) -> IO[bytes]:
    file = open(path, "rb")  # noqa: SIM115  whoever asked closes it
    if file.read(1) != _BUNDLE:
        file.seek(0)
        return file
    file.close()
    return io.BytesIO(_parts(path)[source])


@functools.cache
def _parts(path: str) -> dict[Source, bytes]:
    with open(path, "rb") as file:
        file.seek(1)
        parts: dict[Source, bytes] = pickle.load(file)
        return parts


# -- failures: by the step's name, packed


def pack_error(error: NodeError) -> bytes:
    """Return the error of a step as bytes that can be unpacked anywhere."""
    cause = error.__cause__ or error
    text = traceback_text(cause)
    facts = (isinstance(error, NodeTimeoutError), str(error), error.name, error.function)
    try:
        packed = dumps(cause)
        pickle.loads(packed)  # some exceptions can be pickled but not unpickled
    except Exception:
        packed = dumps(RemoteError(f"{type(cause).__qualname__}: {cause}"))
    return pickle.dumps((*facts, packed, text))


def unpack_error(packed: bytes) -> NodeError:
    """Return the error of a step, with what its function raised as the cause."""
    is_timeout, message, name, function, cause, text = pickle.loads(packed)
    failure = (NodeTimeoutError if is_timeout else NodeError)(message, name=name, function=function)
    try:
        raised = pickle.loads(cause)
    except Exception as error:
        raised = RemoteError(f"what was raised cannot be unpickled here: {error}")
    raised.add_note(f"in the pod:\n{text}")
    failure.__cause__ = raised
    return failure


class Marked:
    """Failures in the place of a result; the first one is to blame."""

    def __init__(self, failures: dict[str, bytes]) -> None:
        self.failures = failures


def failures_in(path: str, source: Source | None = None) -> dict[str, bytes]:
    """Read the failures that stand in the place of a result, or of any in an artifact's file."""
    with open(path, "rb") as file:
        is_bundle = file.read(1) == _BUNDLE
    if is_bundle and source is None:
        found = [failures_in(path, part) for part in _parts(path)]
        return {name: failure for failures in found for name, failure in failures.items()}
    with _content(path, source or ("", None)) as file:
        failures: dict[str, bytes] = pickle.load(file) if file.read(1) == _MARK else {}
        return failures


def as_line(head: str, value: object) -> str:
    """Return a line of a log that the driver can read."""
    return head + binascii.b2a_base64(pickle.dumps(value), newline=False).decode()


def from_line(head: str, log: str) -> Any:
    """Return what the last such line of a log says; None when there is none."""
    lines = [line.strip() for line in log.splitlines() if line.strip().startswith(head)]
    return pickle.loads(binascii.a2b_base64(lines[-1][len(head) :])) if lines else None


# -- messages of a local run


class Channel:
    """A pod's way to the driver of a local run; elsewhere nobody listens."""

    def __init__(self) -> None:
        self._socket: Any = None
        address = os.environ.get(ADDRESS)
        if address:
            import _socket  # importing socket takes longer than all of the talking

            self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            self._socket.connect(address)

    def tell(self, *message: Any) -> None:
        """Send a message and wait until it was taken in; when the run is over, the process ends."""
        if self._socket is None:
            return
        data = pickle.dumps(message)
        data = len(data).to_bytes(_HEAD, "big") + data
        while data:
            data = data[self._socket.send(data) :]
        if self._socket.recv(1) != b"+":
            os._exit(1)


def messages(stream: IO[bytes]) -> Any:
    """Yield the messages of one pod, in the driver."""
    while len(head := stream.read(_HEAD)) == _HEAD:
        yield pickle.loads(stream.read(int.from_bytes(head, "big")))
