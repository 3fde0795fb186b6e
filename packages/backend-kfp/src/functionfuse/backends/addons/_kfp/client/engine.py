"""The thread in which `kfp.local` runs a pipeline."""

from __future__ import annotations

import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

# Of images, display names and deadlines, which have no effect under kfp.local.
_IGNORED_WARNINGS = ("You may be attemping to run", ".* no effect in the current local runner")


class LocalEngine(threading.Thread):
    """The thread in which `kfp.local` runs a pipeline, as a context manager that waits for its end.

    Attributes:
        error: what the pipeline raised.

    Args:
        pipeline: runs the pipeline when it is called.
        log: a text file that gets what the thread prints; None leaves it on standard output.
    """

    def __init__(self, pipeline: Callable[[], object], log: Any) -> None:
        super().__init__(name="kfp.local", daemon=True)
        self._pipeline = pipeline
        self._log = log
        self.error: BaseException | None = None

    def run(self) -> None:
        """Run the pipeline; what it raises is kept as `error`."""
        try:
            with warnings.catch_warnings():
                for message in _IGNORED_WARNINGS:
                    warnings.filterwarnings("ignore", message)
                self._pipeline()
        except BaseException as error:
            self.error = error

    def __enter__(self) -> Self:
        if self._log is not None:
            self._stdout = sys.stdout
            sys.stdout = _ThreadOutput(self._stdout, self, self._log)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.join()
        if self._log is not None:
            sys.stdout = self._stdout


class _ThreadOutput:
    """Standard output that goes to another file in one thread."""

    def __init__(self, stdout: Any, thread: threading.Thread, file: Any) -> None:
        self._stdout, self._thread, self._file = stdout, thread, file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file if threading.current_thread() is self._thread else self._stdout, name)
