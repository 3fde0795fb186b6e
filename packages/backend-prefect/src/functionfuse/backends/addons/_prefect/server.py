"""Prefect's server: the temporary one, which Ctrl-C in a terminal does not reach, and the last calls to a server."""

from __future__ import annotations

import signal
import time
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

from prefect.client.base import ServerType, determine_server_type
from prefect.client.orchestration import get_client

if TYPE_CHECKING:
    from collections.abc import Callable

LAST_SECONDS = 2.0  # for all calls to the server together, once a run is interrupted


def start_temporary_server() -> None:
    """Start Prefect's temporary server if it is needed, so that Ctrl-C in a terminal does not reach it.

    It would end with the run, which has to tell it what became of its task runs. A process that is started while a
    signal is blocked does not receive that signal.
    """
    if hasattr(signal, "pthread_sigmask") and determine_server_type() == ServerType.EPHEMERAL:
        _in_thread(_start_without_interrupts)


def _start_without_interrupts() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # in this thread, and what it starts
    get_client(sync_client=True)


class ServerCalls:
    """The calls of a run to the server, which are bounded when the run is interrupted: the server may have ended too.

    Args:
        client: of the flow run.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._until: float | None = None

    def bound(self, interrupt: BaseException) -> None:
        """Give all further calls a few seconds together; also the one with which Prefect ends the flow run.

        Args:
            interrupt: what the flow run raises, whether or not the server hears of it.
        """
        self._until = time.monotonic() + LAST_SECONDS
        attributes = vars(self._client)
        set_state = self._client.set_flow_run_state

        def set_last_state(*args: Any, **kwargs: Any) -> Any:
            attributes.pop("set_flow_run_state", None)
            try:
                return self.make(partial(set_state, *args, **kwargs))
            except Exception:
                raise interrupt from None

        attributes["set_flow_run_state"] = set_last_state

    def make(self, call: Callable[[], Any]) -> Any:
        """Make a call, and return its result.

        Args:
            call: a function that calls the server.

        Raises:
            TimeoutError: the calls are bounded, and the time is up.
        """
        return call() if self._until is None else _in_thread(call, max(0.0, self._until - time.monotonic()))


def _in_thread(call: Callable[[], Any], seconds: float | None = None) -> Any:
    """Return the result of a call, which is abandoned when time is up, or Ctrl-C is pressed."""
    ended: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

    def work() -> None:
        try:
            ended.put((call(), None))
        except BaseException as error:
            ended.put((None, error))

    Thread(target=copy_context().run, args=(work,), daemon=True, name="functionfuse-prefect-server").start()
    try:
        value, error = ended.get(timeout=seconds)
    except Empty:
        raise TimeoutError("Prefect's server did not respond in time") from None
    if error is not None:
        raise error
    return value
