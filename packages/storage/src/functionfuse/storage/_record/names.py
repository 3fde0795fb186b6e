"""File names for workflow and task names: readable, reversible, and safe on every file system.

Kept are `A-Za-z0-9_-.,+()` and space, and letters and digits of the basic plane when the name is in
Unicode normal form C. Everything else becomes `=XX` per UTF-8 byte, so that `=` itself never stands
in an encoded name except as an escape, `==` (a long name, shortened) or `=-` (distinguished by case).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache

from functionfuse.errors import InvalidNameError

LIMIT = 180  # bytes; with the suffix well below the 255 of common file systems
_SHORTENED, _CASED = "==", "=-"
_DIGEST_LENGTH = 16

_KEPT = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.,+() ")
# Device names of Windows, with or without an extension, and the marker file beside the workflows.
_RESERVED = r"(?i:(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]) *(?:\.|\Z)|ffstore\.json)"
_IS_RESERVED = re.compile(_RESERVED)
# Names that are their own file names; nearly all are, and this is the fast way to know.
_PLAIN = re.compile(rf"(?!{_RESERVED})[A-Za-z0-9_,()][A-Za-z0-9_\-.,+() ]{{0,{LIMIT - 1}}}(?<![. ])")
_ESCAPE = re.compile(r"=([0-9A-F]{2})")


def encode(name: str, *, fold: bool = False) -> str:
    """Return the file name, without suffix, for a workflow or task name.

    Args:
        name: of a workflow or task.
        fold: tell names apart that differ only by case.

    Raises:
        InvalidNameError: the name is anything but a non-empty string.
    """
    check(name)
    return _encoded(name, fold)


@lru_cache(4096)
def _encoded(name: str, fold: bool) -> str:
    if not fold and _PLAIN.fullmatch(name):
        return name
    parts = _escaped(name)
    stem = "".join(parts)
    if fold and any(len(part) == 1 and _has_case(part) for part in parts):
        stem = f"{stem}{_CASED}{_digest(name)}"
    if len(stem.encode()) > LIMIT:
        return f"{_start(parts)}{_SHORTENED}{_digest(name)}"
    return stem


def decode(stem: str, *, fold: bool = False) -> str | None:
    """Return the name that `encode` made a file name from.

    None when the file name was not made by it, or was shortened: then only the record knows the name.

    Args:
        stem: the file name, without suffix.
        fold: as for `encode`.
    """
    if not fold and _PLAIN.fullmatch(stem):
        return stem
    text = unicodedata.normalize("NFC", stem)  # some file systems list what was NFC as NFD
    if _SHORTENED in text:
        return None
    pieces = _ESCAPE.split(text.partition(_CASED)[0])
    raw = b"".join(bytes([int(p, 16)]) if i % 2 else p.encode() for i, p in enumerate(pieces))
    try:
        name = raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None
    return name if name and encode(name, fold=fold) == text else None


def is_shortened(stem: str) -> bool:
    """Return True if only the record knows the name behind this file name."""
    return _SHORTENED in stem


def literal_prefix(pattern: str) -> str:
    """Return what every name that matches a glob must start with."""
    return re.split(r"[*?\[]", pattern, maxsplit=1)[0]


def check(name: object) -> None:
    """Check that an object can be a name.

    Raises:
        InvalidNameError: the name is anything but a non-empty string.
    """
    if not isinstance(name, str) or not name:
        raise InvalidNameError(f"a workflow or task name must be a non-empty string, got {name!r}")


def _escaped(name: str) -> list[str]:
    """Encode every character on its own."""
    composed = name.isascii() or unicodedata.is_normalized("NFC", name)
    parts = [
        c if c in _KEPT or (composed and not c.isascii() and c.isalnum() and ord(c) < 0x10000) else _escape(c)
        for c in name
    ]
    # Hidden files, options of commands, what shells and Windows strip, and devices.
    if name[0] in ".- +" or _IS_RESERVED.match(name):
        parts[0] = _escape(name[0])
    if name[-1] in ". ":
        parts[-1] = _escape(name[-1])
    return parts


def _escape(character: str) -> str:
    return "".join(f"={byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def _start(parts: list[str]) -> str:
    """Return as many encoded characters as leave room for the digest."""
    room = LIMIT - len(_SHORTENED) - _DIGEST_LENGTH
    kept: list[str] = []
    for part in parts:
        room -= len(part.encode())
        if room < 0:
            break
        kept.append(part)
    return "".join(kept)


def _has_case(character: str) -> bool:
    """Return True if some file system could take another character for this one."""
    return not character == character.lower() == character.casefold() == character.upper().lower()


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_LENGTH]
