"""Digests of the code of functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray.remote_function import RemoteFunction

from functionfuse.fingerprint import Fingerprinter, Unfingerprintable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from functionfuse.plan import Step

_HEX = 32  # 128 bits of a SHA-256, as in recipes


class _Codes(Fingerprinter):
    def stand_in(self, value: Any) -> Any:
        return value._function if isinstance(value, RemoteFunction) else super().stand_in(value)


def code_of(function: object) -> str:
    """Return a digest of the code of a function, and of all code of the project that it uses; "" if there is none."""
    try:
        return _Codes().digest(function).hex()[:_HEX]
    except Unfingerprintable:
        return ""


def codes_of(steps: Sequence[Step]) -> dict[str, str]:
    """Return digests of the code of a graph's nodes, by name."""
    targets = {id(step.target): step.target for step in steps}
    codes = {key: code_of(target) for key, target in targets.items()}
    return {step.name: codes[id(step.target)] for step in steps}
