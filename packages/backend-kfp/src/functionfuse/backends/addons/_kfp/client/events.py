"""Receiving the events of a local run, through a Unix socket that its pods connect to."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from ..pod.messages import receive_events

if TYPE_CHECKING:
    from collections.abc import Callable

    from .outcomes import StepOutcomes

_ACCEPT_TIMEOUT = 0.05  # seconds between checks that kfp.local still runs


class EventServer:
    """Receives the events of pods; for POSIX systems only.

    Attributes:
        last_pod: key of the pod that started last.

    Args:
        address: path of the socket.
        outcomes: receives the outcomes of steps.
    """

    def __init__(self, address: str, outcomes: StepOutcomes) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(address)
        self._listener.listen()
        self._listener.settimeout(_ACCEPT_TIMEOUT)
        self._outcomes = outcomes
        self._pid = 0
        self.last_pod = ""

    def receive_while(self, is_alive: Callable[[], bool], is_interrupted: Callable[[], bool]) -> None:
        """Receive events until the engine has ended.

        Args:
            is_alive: returns True while the engine runs.
            is_interrupted: returns True when pods that start now are to be refused; raises when all are to end.
        """
        while is_alive():
            if is_interrupted():
                self._listener.close()
                time.sleep(_ACCEPT_TIMEOUT)
                continue
            with suppress(TimeoutError):
                self._serve(self._listener.accept()[0])
        is_interrupted()

    def stop(self) -> None:
        """Kill the pod that runs, and refuse the connections of later ones."""
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self._listener.close()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            connection.settimeout(None)
            for kind, *details in receive_events(stream, connection):
                if kind == "pod_started":
                    self.last_pod, self._pid = details
                else:
                    self._outcomes.receive(kind, *details)
            self._pid = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
