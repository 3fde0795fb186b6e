"""Previews of results, made where the results are: short texts, first rows of tables, small images.

Nothing is computed, read or moved for them: no iterator is consumed, no lazy array is loaded, and what is on another
device stays there. Libraries are recognized by the modules that are imported already.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from functionfuse.backends.limits import TimeLimitReached
from functionfuse.backends.texts import HIDDEN, looks_secret, masked

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_BYTES = 20 << 10  # of one preview
_MOST_TEXT = 8 << 10  # bytes
_LONGEST_WORD = 1000  # characters; a shorter one is left out as a whole where a text is cut
_NUMBERS = frozenset({int, float, bool, type(None)})
_LARGE = 1 << 63
_TEXTS = frozenset({int, float, complex, bool, str, bytes, list, tuple, dict, set, frozenset})


@dataclass(frozen=True)
class Preview:
    """What is shown of a result.

    Attributes:
        type: the name of its type, such as "list" or "pandas.DataFrame".
        shape: its lengths along each axis; of a container its length; empty for other values.
        text: any number of lines.
        image: the bytes of a PNG file; None without one.
    """

    type: str
    shape: tuple[int, ...] = ()
    text: str = ""
    image: bytes | None = None


def as_data(preview: Preview) -> dict[str, Any]:
    """Return a preview as data for JSON: without what is empty, the image in base 64.

    Args:
        preview: of a value.
    """
    data: dict[str, Any] = {"type": preview.type, "text": preview.text}
    if preview.shape:
        data["shape"] = preview.shape
    if preview.image is not None:
        data["image"] = b2a_base64(preview.image, newline=False).decode("ascii")
    return data


def from_data(data: Mapping[str, Any]) -> Preview:
    """Return a preview from what `as_data` made of it.

    Args:
        data: of JSON.
    """
    image = data.get("image")
    return Preview(
        data["type"], tuple(data.get("shape", ())), data["text"], None if image is None else a2b_base64(image)
    )


def preview_of(value: Any, *names: str) -> Preview:
    """Return a preview of a value; where none can be made, it says why.

    Args:
        value: the value.
        names: of what made it. If one looks secret, texts, numbers and containers are not shown.
    """
    kind = type(value)
    is_secret = kind in _TEXTS and any(map(looks_secret, names))
    if kind in _NUMBERS and not is_secret and (kind is not int or -_LARGE < value < _LARGE):
        return Preview(kind.__name__, (), repr(value))
    from functionfuse.previews.values import Shown, shown, type_name  # which takes time to import

    try:
        type_, shape, text, image = Shown(type_name(value), (), HIDDEN) if is_secret else shown(value)
    except (KeyboardInterrupt, TimeLimitReached):
        raise
    except BaseException as problem:  # of the methods of a class of the user's
        return Preview(type_name(value), (), f"(no preview: {type(problem).__name__})")
    if image is not None and len(image) > MOST_BYTES - 2 * len(type_):
        image = None
    room = MOST_BYTES - len(image or b"") - 2 * len(type_)
    return Preview(type_, shape, cut(masked(text), min(_MOST_TEXT, room)), image)


def cut(text: str, most: int) -> str:
    """Return the beginning of a text, which ends with a whole word, as a secret that is cut is not recognized.

    Args:
        text: the text.
        most: bytes that it may have in UTF-8.
    """
    encoded = text[:most].encode("utf-8", "surrogatepass")
    if len(encoded) <= most and len(text) <= most:
        return text
    end = "\n..."
    begin = encoded[: max(0, most - len(end))].decode("utf-8", "ignore")
    whole = begin.rstrip() if begin[-1:].isspace() else begin[:-_LONGEST_WORD] + _whole_words(begin[-_LONGEST_WORD:])
    return whole + end


def _whole_words(text: str) -> str:
    """Return a text without its last word; one word as it is."""
    words = text.rsplit(None, 1)
    return words[0] if len(words) == 2 else text
