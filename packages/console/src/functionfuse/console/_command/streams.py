"""Where text goes: results to standard output, all else to standard error."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator


def write(text: str) -> bool:
    """Write a result to standard output; return False if nobody reads it any more."""
    try:
        click.echo(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it exits
        return False
    return True


def note(text: str) -> None:
    """Write what is no result to standard error."""
    click.echo(text, err=True)


@contextmanager
def prints_to_stderr() -> Iterator[None]:
    """Let what code of users prints go to standard error, also that of libraries in C and of processes it starts."""
    sys.stdout.flush()
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # a file in memory, of a test for example
        with redirect_stdout(sys.stderr):
            yield
        return
    kept = os.dup(descriptor)
    try:
        os.dup2(2, descriptor)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, descriptor)
        os.close(kept)
