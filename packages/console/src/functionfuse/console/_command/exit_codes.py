"""What the command exits with, and how it says what went wrong."""

from __future__ import annotations

import click

from functionfuse.errors import (
    EngineError,
    EngineUnreachable,
    FunctionFuseError,
    NodeError,
    StorageError,
    WorkflowFailed,
)

DONE = 0
FAILED = 1
"""Nodes failed, runs differ, or a check found something."""
USAGE = 2
REFUSED = 3
"""Nothing was started."""
STORAGE = 4
TIME_OUT = 5
INTERRUPTED = 130


class Failure(click.ClickException):
    """What ends the command, in words.

    Args:
        exit_code: of the process.
        message: what failed, and what would work.
        kind: the name of the error, for documents in JSON.
    """

    def __init__(self, exit_code: int, message: str, kind: str = "Failure") -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # of the class only in the annotations of click
        self.kind = kind
        self.command = "functionfuse"
        """The command that it ends, with its verb, once that is known."""


def failure_of(error: FunctionFuseError) -> Failure:
    """Return how an error of Function Fuse ends the command."""
    is_of_engine = isinstance(error, EngineError) and not isinstance(error, EngineUnreachable)
    if isinstance(error, StorageError):
        code = STORAGE
    elif is_of_engine or isinstance(error, NodeError | WorkflowFailed):
        code = FAILED
    else:
        code = REFUSED
    return Failure(code, str(error), type(error).__name__)
