"""Amounts of memory and disk, as users write and read them."""

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


def readable_size(size: float) -> str:
    """Return a number of bytes as a text: "1.5 MiB".

    Args:
        size: the number.
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"
