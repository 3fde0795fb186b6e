"""Documents in JSON, as `schema.json` describes them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .streams import write

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 1
"""Of the documents: raised when a field changes its meaning, or goes."""


def write_document(verb: str, fields: Mapping[str, Any]) -> None:
    """Write a document to standard output.

    Args:
        verb: whose document it is.
        fields: what it says.
    """
    write(json.dumps({"format": FORMAT, "verb": verb, **fields}, allow_nan=False, default=str))


def plain(value: Any) -> Any:
    """Return a value as JSON has it; None for one that JSON cannot hold."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return None
