"""The files that writers work on before they publish: whose they are, and whether the writer still lives."""

from __future__ import annotations

import os
import secrets
import socket
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .disk import POSIX, telling, unlink_quietly

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = 86400.0
_MINUTE = 60.0  # a process may look dead from another container of the same host name
_HOST_LENGTH = 40


def draft_name() -> str:
    """Return the name of a new draft, which says who writes it."""
    return f"{secrets.token_hex(16)}-{_host()}-{os.getpid()}"


def has_live_drafts(folder: str) -> bool:
    """Whether somebody may be writing one of the drafts in a folder."""
    return any(is_live(name, age) for name, age in _drafts(folder))


def sweep_drafts(folder: str, grace: float) -> list[str]:
    """Delete the drafts of dead writers, and those of unknown ones that are older than ``grace`` seconds."""
    swept = []
    for name, age in _drafts(folder):
        if is_stale(name, age, grace):
            path = str(Path(folder, name))
            with telling("remove", path):
                unlink_quietly(path)
            swept.append(name)
    return swept


def is_live(name: str, age: float) -> bool:
    """Whether somebody may be writing the draft of this name, last written ``age`` seconds ago."""
    return age <= DAY and not is_dead(name)


def is_stale(name: str, age: float, grace: float) -> bool:
    """Whether a draft can be deleted."""
    if is_dead(name):
        return age >= min(grace, _MINUTE)
    if _is_ours(name):
        return age >= max(grace, DAY)  # its process lives, or another has got its number since
    return age >= grace


def is_dead(name: str) -> bool:
    """Whether the writer of a draft was a process of this host that has ended."""
    number = name.rpartition("-")[2]
    if not POSIX or not _is_ours(name) or not number.isdecimal():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _drafts(folder: str) -> Iterator[tuple[str, float]]:
    """Yield each draft with the seconds since it was last written."""
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        with suppress(FileNotFoundError):  # just published
            yield entry.name, max(0.0, time.time() - entry.stat(follow_symlinks=False).st_mtime)


def _is_ours(name: str) -> bool:
    """Whether a draft was written on this host."""
    _, _, rest = name.partition("-")
    return rest.rpartition("-")[0] == _host()


@cache
def _host() -> str:
    return socket.gethostname()[:_HOST_LENGTH].replace("/", "_")
