"""Labels of the values of a sweep, and short texts of them for names of nodes."""

from __future__ import annotations

from hashlib import sha256

from functionfuse.containers import ATOMS
from functionfuse.errors import UsageError
from functionfuse.nodes import BoundMethod, Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from typing import Any

_NUMBERS = frozenset({int, float})
_LONGEST = 40  # characters of a value in a name
_MARKS = frozenset(",=[]'\"\\")  # which a name has around values, or which a text in quotes would have


def short_name(function: Any) -> str:
    """Return the qualified name of a function or class, without what it is defined in."""
    if isinstance(function, BoundMethod):
        function = function._method
    name = getattr(function, "qualname", None) or getattr(function, "__qualname__", None) or repr(function)
    return str(name).rpartition("<locals>.")[2]


def labels_of(name: str, values: list[Any], *, is_grid: bool) -> Sequence[Hashable]:
    """Return labels of the values of a parameter; in a grid they are all different.

    Args:
        name: of the parameter.
        values: its values.
        is_grid: whether each value goes with all of other parameters.

    Raises:
        UsageError: in a grid, one number or text comes twice.
    """
    kinds = set(map(type, values))
    labels = values if kinds <= ATOMS else [label_of(value, place) for place, value in enumerate(values)]
    if not is_grid or len(set(labels)) == len(labels):
        return labels
    known: set[Hashable] = set()
    for place, (label, value) in enumerate(zip(labels, values, strict=True)):
        if label in known:
            if not _is_made(label, value):
                raise UsageError(f"{name} has the value {label!r} twice; each combination is one node")
            labels[place] = f"{label}#{place}"  # different values may have one text, large arrays for example
        known.add(label)
    return labels


def label_of(value: Any, place: int) -> Hashable:
    """Return a number, text or date itself, and a text for any other value.

    Args:
        value: the value.
        place: of the value among those of its parameter.
    """
    kind = type(value)
    if kind in ATOMS or kind.__module__ == "datetime":
        return value  # type: ignore[no-any-return]
    if isinstance(value, Node):
        return value.get_name() or f"{short_name(value._target)}#{place}"
    if hasattr(kind, "dtype") and hasattr(kind, "item") and value.ndim == 0:  # a number of numpy
        number: Any = value.item()
        return number if type(number) in ATOMS else str(value)
    if hasattr(value, "__qualname__"):
        return short_name(value)
    text = " ".join(repr(value).split())
    return f"{kind.__qualname__}#{place}" if " at 0x" in text else _shortened(text)


def _is_made(label: object, value: object) -> bool:
    """Return True if a label is a text that stands for another value."""
    return isinstance(label, str) and not isinstance(value, str)


def texts_of(name: str, labels: Sequence[Hashable], values: Sequence[Any]) -> list[str]:
    """Return `name=label` for the labels of a parameter, with short texts that are as different as these.

    Args:
        name: of the parameter.
        labels: of its values.
        values: its values.
    """
    if labels is values and _are_plain(values):
        return [f"{name}={value}" for value in values]
    pairs = zip(labels, values, strict=True)
    texts = [f"{name}={label if _is_made(label, value) else _text(label)}" for label, value in pairs]
    if len(set(texts)) < len(set(labels)):  # as of 1 and "1"
        texts = [f"{name}={_shortened(repr(label))}" for label in labels]
    return texts


def _are_plain(values: Sequence[Any]) -> bool:
    """Return True for numbers, and for short texts that need no quotes in a name."""
    kinds = set(map(type, values))
    if kinds != {str}:
        return kinds <= _NUMBERS
    text, lengths = "".join(values), list(map(len, values))
    is_plain = text.isprintable() and _MARKS.isdisjoint(text) and list(map(str.strip, values)) == values
    return is_plain and min(lengths) > 0 and max(lengths) <= _LONGEST


def _text(label: Any) -> str:
    if isinstance(label, str) and _are_plain([label[:_LONGEST]]):
        return _shortened(label)
    return _shortened(repr(label) if isinstance(label, str | bytes) else str(label))


def _shortened(text: str) -> str:
    """Return a text as it is, or of a long one the beginning, and a part of its digest."""
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST - 11]}...{sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
