"""Values whose description changes without them, so that nothing made from them is ever found again."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from functionfuse.containers import ATOMS, CONTAINERS
from functionfuse.fingerprint.encoding import short
from functionfuse.fingerprint.values import Fingerprinter

if TYPE_CHECKING:
    from collections.abc import Iterable


def unstable_value(values: Iterable[Any]) -> str:
    """Return words for the first value whose copy has another fingerprint; "" if there is none.

    Args:
        values: literal arguments; items of containers are looked at one by one.
    """
    for value in values:
        if type(value) in ATOMS:
            continue
        if isinstance(value, CONTAINERS):
            found = unstable_value([*value, *value.values()] if isinstance(value, dict) else value)
            if found:
                return found
        elif _differs_from_copy(value):
            return short(value)
    return ""


def _differs_from_copy(value: Any) -> bool:
    try:
        return Fingerprinter().digest(value) != Fingerprinter().digest(pickle.loads(pickle.dumps(value)))
    except Exception:  # what cannot be copied is not judged
        return False
