"""Arguments that a call changes in place, which others that take the same object see on some engines only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functionfuse.errors import UsageError
from functionfuse.fingerprint import Fingerprinter, Unfingerprintable

if TYPE_CHECKING:
    from collections.abc import Mapping


class ArgumentCheck:
    """The fingerprints of arguments before a call. What has none is not checked.

    Args:
        args: positional arguments.
        kwargs: keyword arguments.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._values = {**{f"argument {i}": value for i, value in enumerate(args)}, **_named(kwargs)}
        self._digests = {name: _digest(value) for name, value in self._values.items()}

    def refuse_changes(self) -> None:
        """Compare the arguments with what they were.

        Raises:
            UsageError: some were changed.
        """
        changed = [name for name, value in self._values.items() if _digest(value) != self._digests[name]]
        if changed:
            listed = ", ".join(f"{name} ({type(self._values[name]).__name__})" for name in changed)
            raise UsageError(
                f"{listed} was changed in place; whether other nodes that take the same object see that depends on the "
                "engine: change a copy, and return it"
            )


def _named(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {f"argument {name!r}": value for name, value in kwargs.items()}


def _digest(value: Any) -> bytes | None:
    try:
        return Fingerprinter().digest(value)
    except Unfingerprintable:
        return None
