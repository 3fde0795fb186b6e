"""The functions of a workflow: stored once each, by their content, before what refers to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .references import RecordLocation

_stored_functions: set[tuple[str, str]] = set()


def store_function(location: RecordLocation, sha: str, pickled: bytes) -> None:
    """Store a function, unless this process did.

    Args:
        location: where the records of the workflow are.
        sha: the sha256 of the pickle.
        pickled: the pickle of the function.
    """
    if (location.run, sha) not in _stored_functions:
        location.journal.put(f"fn/{sha}", "function", pickled)
        _stored_functions.add((location.run, sha))
