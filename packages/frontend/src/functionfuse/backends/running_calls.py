"""Which calls run now, as reported where they are made: in threads of this process, or in others of this machine.

Only while somebody looks. A call in this process is an item of a dict, one in another process a file of a folder: both
cost the driver nothing until it looks. A worker on another machine has not the folder: it reports through what
its engine has for that, or not at all.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

_of_this_process: dict[str, dict[str, float]] = {}  # by location: calls by name, with their start
elsewhere: Callable[[str, str], AbstractContextManager[None]] | None = None
"""Reports that a call runs, as `running` does, in a worker on another machine; its engine sets it there."""


class RunningCalls:
    """The calls of one run that run now, as long as its context is open.

    Attributes:
        location: by which calls find it; see `running`.
        others: what an engine knows of further calls, returned as `started` does.
    """

    def __init__(self) -> None:
        self.location = tempfile.mkdtemp(prefix="functionfuse-running-")
        self.others: list[Callable[[], Mapping[str, float]]] = []
        self._here = _of_this_process[self.location] = {}

    def began(self, name: str) -> None:
        """Take in that a call runs, from an engine that knows it.

        Args:
            name: the full name of the node.
        """
        self._here[name] = time.time()

    def started(self) -> dict[str, float]:
        """Return by name when each call that runs was started, in seconds since the epoch."""
        found = self._here.copy()
        with suppress(OSError), os.scandir(self.location) as files:
            for file in files:
                with suppress(OSError, ValueError):  # it has just ended, or is being written
                    started, name = Path(file).read_bytes().decode("utf-8", "surrogatepass").split("\n", 1)
                    found[name] = float(started)
        for started_elsewhere in self.others:
            found.update(started_elsewhere())
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _of_this_process.pop(self.location, None)
        rmtree(self.location, ignore_errors=True)


@contextmanager
def running(location: str, name: str) -> Iterator[None]:
    """Report that a call runs as long as the context is open; how it goes does not depend on whether that succeeds.

    Args:
        location: of the `RunningCalls`.
        name: the full name of the node.
    """
    here = _of_this_process.get(location)
    if here is not None:
        here[name] = time.time()
        try:
            yield
        finally:
            here.pop(name, None)
        return
    path = f"{location}/{os.getpid()}-{threading.get_ident()}"
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError:  # this machine has no such folder
        with nullcontext() if elsewhere is None else elsewhere(location, name):
            yield
        return
    with suppress(OSError):
        os.write(file, f"{time.time()}\n{name}".encode("utf-8", "surrogatepass"))
    os.close(file)
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(path)  # noqa: PTH108  a path would be made for each call
