"""Texts of users as a page shows them: nothing invisible, nothing that turns other text around."""

from __future__ import annotations

import re
import unicodedata

# ECMA-48: control sequences (colours, moves of the cursor), and strings such as titles of windows and links.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[]PX^_].*?(?:\x07|\x1b\\|$)|\x1b[ -/]*[0-Z\\-~]", re.DOTALL
)
_LINE_ENDS = re.compile(r"\r\n?")
_KEPT = frozenset("\n\t")
_REPLACEMENT = "\ufffd"


def visible(text: str) -> str:
    """Return a text with control and format characters as their numbers, such as "⟨202E⟩".

    Args:
        text: any; lone surrogates in it, which UTF-8 cannot express, become the replacement character.
    """
    return text if text.isprintable() else "".join(map(_visible_character, text))


def plain_output(text: str) -> str:
    """Return what was printed without escape sequences of terminals, with line feeds as line ends.

    Args:
        text: as it was captured.
    """
    if text.isprintable():
        return text
    return visible(_LINE_ENDS.sub("\n", _ESCAPES.sub("", text)))


def _visible_character(character: str) -> str:
    if character.isprintable() or character in _KEPT:
        return character
    category = unicodedata.category(character)
    if category == "Zs":
        return character
    return _REPLACEMENT if category == "Cs" else f"⟨{ord(character):04X}⟩"
