"""Amounts of memory and disk, as users write them."""

from __future__ import annotations

import re

from functionfuse.errors import OptionError

_AMOUNT = re.compile(r"([0-9]+(?:[.][0-9]+)?) *([KMGT]?)(i?)B?", re.IGNORECASE)


def bytes_of(amount: int | str) -> int:
    """Return a number of bytes.

    Args:
        amount: the number, or text with a unit: `"4 GiB"`, `"500 MB"`.

    Raises:
        OptionError: it is neither.
    """
    if isinstance(amount, int) and not isinstance(amount, bool) and amount >= 0:
        return amount
    found = _AMOUNT.fullmatch(amount) if isinstance(amount, str) else None
    if found is None:
        raise OptionError(f"an amount of memory is a number of bytes, or text like '4 GiB' or '500 MB', got {amount!r}")
    number, prefix, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** " KMGT".index(prefix.upper() or " "))
