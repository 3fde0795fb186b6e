"""Warnings that point at the user's program."""

from __future__ import annotations

import sys
import warnings


def warn_user(message: str) -> None:
    """Warn at the line of the user's program that called the library, however deep in the library this is called."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "functionfuse":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
