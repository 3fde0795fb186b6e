"""Previews of values of any type."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse.backends.short_texts import text_of_value
from functionfuse.containers import CONTAINERS

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_LINES = 60
_MOST_ITEMS = 20  # of one container, each on a line
_MOST_DEPTH = 3
_MOST_REPR = 64 << 10  # characters that are looked at
_UNNAMED = ("builtins", "__main__", "__mp_main__")


class Shown(NamedTuple):
    """What is shown of a value: the fields of a `Preview`, before they are cut."""

    type: str
    shape: tuple[int, ...] = ()
    text: str = ""
    image: bytes | None = None


def shown(value: Any) -> Shown:
    """Return what is shown of a value.

    Args:
        value: of any type.
    """
    kind = type(value)
    name = type_name(value)
    if kind is str:
        return Shown(name, (len(value),), value[:_MOST_REPR])
    if kind in CONTAINERS:
        return Shown(name, (len(value),), _listed(_items(value), len(value)))
    of_library = _of_library(name, value)
    if of_library is not None:
        return of_library
    if hasattr(kind, "__dask_graph__"):
        return Shown(name, (), "(not computed)")
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        facts = [f"{key} {text}" for key in ("dtype", "device") if (text := _attribute(value, key))]
        lengths = tuple(length for length in shape if isinstance(length, int))
        return Shown(name, lengths if len(lengths) == len(shape) else (), ", ".join(facts) or f"shape {shape}")
    fields = _fields(value)
    if fields is not None:
        return Shown(name, (), _listed(fields, len(fields)))
    if kind in (int, bytes) or not _has_own_text(kind):
        return Shown(name, (), text_of_value("", value))
    return Shown(name, (), repr(value)[:_MOST_REPR])


def type_name(value: Any) -> str:
    """Return the name of the type of a value, with its module but for the language's own types and the program's."""
    kind = type(value)
    module = str(getattr(kind, "__module__", ""))
    name = kind.__qualname__[:200]
    return name if module in _UNNAMED else f"{module[:200]}.{name}"


def _of_library(name: str, value: Any) -> Shown | None:
    """Return what is shown of an object of a library that is known; None for another one."""
    np = sys.modules.get("numpy")
    if np is not None and isinstance(value, np.generic):
        return Shown(name, (), str(value)[:_MOST_REPR])
    if np is not None and isinstance(value, np.ndarray):
        from functionfuse.previews.arrays import array_image, array_text, is_in_file

        if is_in_file(value):
            return Shown(name, value.shape, f"dtype {value.dtype}, in a file")
        return Shown(name, value.shape, array_text(value), array_image(value))
    from functionfuse.previews.tables import table_of, table_text

    table = table_of(value)
    if table is not None:
        return Shown(name, table.shape, table_text(table))
    from functionfuse.previews.figures import figure_image, figure_of

    figure = figure_of(value)
    if figure is not None:
        width, height = figure.get_size_inches()
        return Shown(name, (), f"{width:.3g} x {height:.3g} inches", figure_image(figure))
    return None


def _has_own_text(kind: Any) -> bool:
    return bool(kind.__repr__ != object.__repr__)


def _attribute(value: Any, name: str) -> str:
    found = getattr(value, name, None)
    return "" if found is None or callable(found) else str(found)[:80]


def _fields(value: Any) -> list[tuple[str, Any]] | None:
    """Return the names and values of the fields of an object whose representation is that of Python; else None."""
    kind = type(value)
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        return list(zip(map(str, kind._fields), value, strict=False))
    names = getattr(kind, "__dataclass_fields__", None)
    if isinstance(names, dict):
        return [(name, getattr(value, name)) for name in names if hasattr(value, name)]
    if not _has_own_text(kind) and not isinstance(value, type) and getattr(value, "__dict__", None):
        return list(vars(value).items())
    return None


def _items(container: Any) -> Iterable[tuple[str, Any]]:
    """Return the items of a container, named by their keys; those without one have no names."""
    if type(container) is dict:
        return ((key if isinstance(key, str) else text_of_value("", key), item) for key, item in container.items())
    return (("", item) for item in container)


def _listed(items: Iterable[tuple[str, Any]], count: int) -> str:
    lines = _lines(items, count, "", _MOST_DEPTH)
    return "\n".join(lines if len(lines) <= _MOST_LINES else [*lines[:_MOST_LINES], "..."])


def _lines(items: Iterable[tuple[str, Any]], count: int, indent: str, depth: int) -> list[str]:
    """Return a line for each of the first items; containers that a line has no room for have lines of their own.

    Args:
        items: with their names, or "".
        count: how many there are.
        indent: what lines begin with.
        depth: how many levels of containers are shown.
    """
    lines: list[str] = []
    for name, item in islice(items, _MOST_ITEMS):
        text = text_of_value(name, item)
        lines.append(f"{indent}{name[:80]}: {text}" if name else f"{indent}{text}")
        if depth > 1 and len(lines) < _MOST_LINES and _is_summarized(item, text):
            within = list(islice(_items(item), _MOST_ITEMS)) if type(item) in CONTAINERS else _fields(item) or []
            length = len(item) if type(item) in CONTAINERS else len(within)
            lines += _lines(within, length, f"{indent}  ", depth - 1)
    return [*lines, f"{indent}... and {count - _MOST_ITEMS:,} more"] if count > _MOST_ITEMS else lines


def _is_summarized(item: Any, text: str) -> bool:
    """Return True if a text tells of the length of a container only, or of the type of an object with fields."""
    if type(item) in CONTAINERS:
        return text == f"{type(item).__name__} of length {len(item)}"
    return text == f"a {type(item).__name__}"
