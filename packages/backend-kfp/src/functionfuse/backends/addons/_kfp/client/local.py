"""A run under ``kfp.local``: the same pipeline, each pod a process of this machine."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import warnings
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kfp import local

from ..pod.wire import ADDRESS, messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .outcomes import Outcomes

_ONE_AT_A_TIME = threading.Lock()  # kfp.local has one configuration for the whole process
_KNOWN_WELL = ("You may be attemping to run", ".* no effect in the current local runner")  # images, names, deadlines
_PATIENCE = 0.05  # seconds between looks whether kfp.local has ended


class Death(NamedTuple):
    """The end of a run of which no pod said a word.

    Attributes:
        pod: that had begun last; "" when none had.
        said: what was printed last.
    """

    pod: str
    said: str


def run_locally(make_pipeline: Callable[[], Any], outcomes: Outcomes, folder: Path, *, verbose: bool) -> Death | None:
    """Run a pipeline under ``kfp.local``, and take in what its pods say as soon as they say it.

    Args:
        make_pipeline: makes the pipeline; as soon as kfp.local is configured, that has effects in other threads.
        outcomes: takes in what becomes of steps.
        folder: for artifacts.
        verbose: whether the log of kfp.local, and what nodes print, is shown.

    Returns:
        How it ended, if it ended without a word of its pods.
    """
    with _ONE_AT_A_TIME, ExitStack() as stack:
        pipeline = make_pipeline()
        room = Path(tempfile.mkdtemp(prefix="ff-"))  # short: the path of a socket has at most 107 characters
        stack.callback(shutil.rmtree, room, ignore_errors=True)
        log = stack.enter_context((room / "log").open("w", encoding="utf-8"))
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(str(room / "driver"))
        listener.listen()
        listener.settimeout(_PATIENCE)
        stack.enter_context(_variable(ADDRESS, str(room / "driver")))
        stack.enter_context(_variable("PYTHONUNBUFFERED", "1"))
        local.init(
            runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(folder), workspace_root=str(room / "work")
        )
        engine = _Engine(pipeline, None if verbose else log)
        driver = _Driver(listener, outcomes)
        stack.enter_context(engine)
        try:
            driver.listen_while(engine.is_alive)
        except BaseException:
            driver.stop()
            engine.join()
            raise
        log.flush()
        if engine.error is None or outcomes.explained:
            return None
        lines = (room / "log").read_text(encoding="utf-8").splitlines()[-20:]
        return Death(driver.current, "\n".join([str(engine.error), *lines]))


class _Engine(threading.Thread):
    """The thread in which ``kfp.local`` runs; what is printed there goes to a log."""

    def __init__(self, pipeline: Any, log: Any) -> None:
        super().__init__(name="kfp.local", daemon=True)
        self._pipeline = pipeline
        self._log = log
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with warnings.catch_warnings():
                for said in _KNOWN_WELL:
                    warnings.filterwarnings("ignore", said)
                self._pipeline()
        except BaseException as error:
            self.error = error

    def __enter__(self) -> None:
        if self._log is not None:
            self._shown = sys.stdout
            sys.stdout = _ByThread(self._shown, self, self._log)
        self.start()

    def __exit__(self, *_: object) -> None:
        self.join()
        if self._log is not None:
            sys.stdout = self._shown


class _ByThread:
    """Standard output that goes elsewhere in one thread."""

    def __init__(self, usual: Any, thread: threading.Thread, other: Any) -> None:
        self._usual, self._thread, self._other = usual, thread, other

    def __getattr__(self, name: str) -> Any:
        return getattr(self._other if threading.current_thread() is self._thread else self._usual, name)


class _Driver:
    """Listens to pods."""

    def __init__(self, listener: socket.socket, outcomes: Outcomes) -> None:
        self._listener = listener
        self._outcomes = outcomes
        self._pid = 0
        self._stopped = threading.Event()
        self.current = ""  # the pod that spoke last

    def listen_while(self, is_alive: Callable[[], bool]) -> None:
        """Take in messages until kfp.local has ended."""
        while is_alive():
            with suppress(TimeoutError):
                self._serve(self._listener.accept()[0])

    def stop(self) -> None:
        """End the pod that runs, and let no other start."""
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self._listener.close()  # who calls now is refused

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            connection.settimeout(None)
            for kind, *said in messages(stream):
                if kind == "begun":
                    self.current, self._pid = said
                else:
                    self._outcomes.take_in(kind, *said)
                connection.sendall(b"+")
            self._pid = 0


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set a variable of the environment, for the processes that are started meanwhile."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
