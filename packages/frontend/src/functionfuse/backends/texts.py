"""Errors and values as text for messages, whatever their own methods do."""

from __future__ import annotations

from typing import Any


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

    try:
        return "".join(traceback.format_exception(error))
    except Exception as problem:  # a property of the error that raises, which Python does not expect
        trace = "".join(traceback.format_tb(error.__traceback__))
        return f"{trace}{described(error)}\n(its traceback cannot be shown in full: {described(problem)})\n"
