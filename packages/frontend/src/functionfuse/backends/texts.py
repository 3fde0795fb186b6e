"""Errors and values as text for messages, whatever their own methods do."""

from __future__ import annotations

import sys
import time
from typing import Any

from functionfuse.backends.tracebacks import hide_own_frames
from functionfuse.containers import CONTAINERS

_ATTEMPTS = 5
_MOST_ITEMS = 10  # of a container that is shown
HIDDEN = "(left out: its name looks secret)"
"""Stands for the value of a name that `looks_secret`."""

_SECRETS = ("password", "passwd", "passphrase", "secret", "token", "credential", "apikey", "accesskey", "privatekey")


def looks_secret(name: str) -> bool:
    """Return True for the name of a variable or parameter whose value is not shown."""
    plain = name.lower().replace("_", "")
    return any(word in plain for word in _SECRETS)


def masked(text: str) -> str:
    """Return a text without the values of environment variables that steps took, and whose names look secret."""
    files = sys.modules.get("functionfuse.files")
    for value in files.secret_values if files is not None else ():
        text = text.replace(value, HIDDEN)
    return text


def mask_message(error: Exception) -> None:
    """Leave the values out of the message of an error, its first argument, that `masked` leaves out."""
    error.args = (masked(str(error)), *error.args[1:])


def text_of(error: BaseException) -> str:
    """Return the text of an error."""
    try:
        return str(error)
    except Exception as problem:
        return f"(no text, as its __str__ raised {type(problem).__name__})"


def has_text(error: BaseException) -> bool:
    """Return True if the text and the representation of an error can be had."""
    try:
        str(error), repr(error)
    except Exception:
        return False
    return True


def described(error: BaseException) -> str:
    """Return type and text of an error: ``ValueError: no such item``."""
    text = text_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def shown(value: Any) -> str:
    """Return the representation of a value; that of `object` where its own fails."""
    try:
        return repr(value)
    except Exception:
        return object.__repr__(value)


def traceback_text(error: BaseException) -> str:
    """Return the traceback of an error as text, which unlike the traceback itself can leave the process."""
    import traceback  # which takes long to import, and is needed after a failure only

    hide_own_frames(error)
    try:
        return _formatted(error)
    except Exception as problem:  # a property of the error that raises, which Python does not expect
        trace = "".join(traceback.format_tb(error.__traceback__))
        return f"{trace}{described(error)}\n(its traceback cannot be shown in full: {described(problem)})\n"


def _formatted(error: BaseException) -> str:
    from traceback import format_exception

    for _ in range(_ATTEMPTS - 1):
        try:
            return "".join(format_exception(error))
        except SystemError:  # of Python 3.11, when two threads parse source lines for it
            time.sleep(0)
    return "".join(format_exception(error))


def describe_named(name: str, value: Any, limit: int = 60) -> str:
    """Return the value of a variable or parameter as its shape, its size, or a short representation; a secret as none.

    Args:
        name: of the variable or parameter.
        value: the value.
        limit: characters of a representation.
    """
    if looks_secret(name):
        return HIDDEN
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", "")
    if isinstance(shape, tuple):
        return f"{type(value).__name__}(shape={shape}{f', dtype={dtype}' if dtype else ''})"
    if isinstance(value, CONTAINERS) and len(value) > _MOST_ITEMS:
        return f"{type(value).__name__} of {len(value)} items"
    if isinstance(value, str | bytes) and len(value) > limit:
        return f"{type(value).__name__} of {len(value)}: {value[: limit // 2]!r}..."
    text = shown(_without_secrets(value))
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


class _Hidden:
    def __repr__(self) -> str:
        return HIDDEN


def _without_secrets(value: Any, depth: int = 3) -> Any:
    """Return a container without the values of names that look secret, down to some depth."""
    if not depth or type(value) not in (dict, list, tuple) or len(value) > _MOST_ITEMS:
        return value
    if type(value) is dict:
        return {
            key: _Hidden() if isinstance(key, str) and looks_secret(key) else _without_secrets(item, depth - 1)
            for key, item in value.items()
        }
    return type(value)(_without_secrets(item, depth - 1) for item in value)
