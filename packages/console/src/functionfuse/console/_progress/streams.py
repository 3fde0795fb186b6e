"""The streams of this process, behind what stands for them while something is recorded."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def terminals() -> Iterator[Any]:
    """Yield the streams of this process that are terminals."""
    for stream in (sys.stdout, sys.stderr):
        found = original(stream)
        with suppress(AttributeError, ValueError):
            if found.isatty():
                yield found


def original(stream: Any) -> Any:
    """Return the stream behind those that record what is written to them."""
    while hasattr(stream, "original"):
        stream = stream.original
    return stream
