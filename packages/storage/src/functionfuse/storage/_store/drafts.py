"""Names of drafts: whose they are, and whether the writer still runs."""

from __future__ import annotations

import os
import secrets
import socket
from functools import cache

DAY = 86400.0  # seconds

_MINUTE = 60.0  # a process may look ended from another container of the same host name
_HOST_LENGTH = 40


def new_draft_name() -> str:
    """Return the name of a new draft, which contains the host and the process that writes it."""
    return f"{secrets.token_hex(16)}-{_host()}-{os.getpid()}"


def is_live(name: str, age: float) -> bool:
    """Return True if a draft may still be being written.

    Args:
        name: of the draft.
        age: seconds since it was last written.
    """
    return age <= DAY and not has_ended(name)


def is_stale(name: str, age: float, grace: float) -> bool:
    """Return True if a draft can be deleted.

    Args:
        name: of the draft.
        age: seconds since it was last written.
        grace: seconds that the draft of an unknown writer is kept.
    """
    if has_ended(name):
        return age >= min(grace, _MINUTE)
    if _is_of_this_host(name):
        return age >= max(grace, DAY)  # its process runs, or another has got its number since
    return age >= grace


def has_ended(name: str) -> bool:
    """Return True if the writer of a draft was a process of this host that has ended."""
    number = name.rpartition("-")[2]
    # Elsewhere than on POSIX, os.kill with signal 0 would end the process.
    if os.name != "posix" or not _is_of_this_host(name) or not number.isdecimal():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _is_of_this_host(name: str) -> bool:
    _, _, rest = name.partition("-")
    return rest.rpartition("-")[0] == _host()


@cache
def _host() -> str:
    return socket.gethostname()[:_HOST_LENGTH].replace("/", "_")
