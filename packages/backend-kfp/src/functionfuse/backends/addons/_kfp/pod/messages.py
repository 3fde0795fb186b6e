"""Messages from pods to the client: events of a local run, and lines of a pod's log.

This module travels with the code of a workflow, and every pod imports it when it starts: it imports little.
"""

from __future__ import annotations

import binascii
import os
import pickle
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDRESS_VARIABLE = "FUNCTIONFUSE_KFP_CLIENT"
"""Environment variable with the path of the client's Unix socket, in a local run."""

FAILED = "functionfuse failed: "
LOST = "functionfuse lost: "
FINISHED = "functionfuse finished: "
"""How the lines of a pod's log begin that the client reads: failures by step, a stored result that is lost, or names of
steps that finished."""

_ACCEPTED = b"+"
_HEADER_SIZE = 8  # bytes that hold the length of a message


class PodConnection:
    """Sends events of a pod to the client of a local run; does nothing in a cluster."""

    def __init__(self) -> None:
        self._socket: Any = None
        address = os.environ.get(ADDRESS_VARIABLE)
        if address:
            import _socket  # importing socket takes longer than all messages of a pod

            self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            self._socket.connect(address)

    @property
    def is_open(self) -> bool:
        """True in a local run."""
        return self._socket is not None

    def send(self, kind: str, *details: Any) -> None:
        """Send an event and wait until the client accepted it; exit the process when the client ended the run.

        Args:
            kind: "pod_started", "started", "finished", "reused", "failed", "skipped" or "lost".
            details: what belongs to an event of this kind; the name of the step first.
        """
        if self._socket is None:
            return
        data = pickle.dumps((kind, *details))
        data = len(data).to_bytes(_HEADER_SIZE, "big") + data
        while data:
            data = data[self._socket.send(data) :]
        if self._socket.recv(1) != _ACCEPTED:
            os._exit(1)


def receive_events(stream: IO[bytes], connection: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the events of one pod, in the client; each is accepted when the next one is asked for.

    Args:
        stream: reads from the connection.
        connection: the socket of the pod.
    """
    while len(header := stream.read(_HEADER_SIZE)) == _HEADER_SIZE:
        yield pickle.loads(stream.read(int.from_bytes(header, "big")))
        connection.sendall(_ACCEPTED)


def format_log_line(prefix: str, value: object) -> str:
    """Return a value as a line of a log.

    Args:
        prefix: how the line begins: `FAILED`, `FINISHED` or `LOST`.
        value: any value that can be pickled.
    """
    return prefix + binascii.b2a_base64(pickle.dumps(value), newline=False).decode()


def parse_log(prefix: str, log: str) -> Any:
    """Return the value of the last line of a log that begins so; None when there is no such line.

    Args:
        prefix: how the line begins: `FAILED`, `FINISHED` or `LOST`.
        log: the log of a pod.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip().startswith(prefix)]
    return pickle.loads(binascii.a2b_base64(lines[-1][len(prefix) :])) if lines else None
