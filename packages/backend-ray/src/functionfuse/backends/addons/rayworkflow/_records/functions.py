"""The functions of a workflow: stored once each, by their content, before what refers to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .references import Place

_kept_functions: set[tuple[str, str]] = set()


def keep_function(place: Place, sha: str, pickled: bytes) -> None:
    """Store a function, unless this process did."""
    if (place.run, sha) not in _kept_functions:
        place.journal.put(f"fn/{sha}", "function", pickled)
        _kept_functions.add((place.run, sha))
