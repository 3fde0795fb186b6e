"""Previews of NumPy arrays: shape, statistics, first values, and an image of two-dimensional ones."""

from __future__ import annotations

import mmap
import struct
import sys
import zlib
from typing import Any

from functionfuse.backends.short_texts import text_of_value

_MOST_VALUES = 1 << 18  # that statistics are made of
_MOST_SHOWN = 20
_MOST_CELLS = 10  # of a row or column of a small matrix
_SMALLEST_SIDE, _LARGEST_SIDE = 6, 96  # of an image
_SCALE = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))  # matplotlib's viridis


def is_in_file(array: Any) -> bool:
    """Return True for an array that is mapped from a file, whose values would have to be read.

    Args:
        array: of NumPy.
    """
    np = sys.modules["numpy"]
    while array is not None:
        if isinstance(array, np.memmap | mmap.mmap):
            return True
        array = array.obj if isinstance(array, memoryview) else getattr(array, "base", None)
    return False


def array_text(array: Any) -> str:
    """Return the dtype, statistics and first values of an array.

    Args:
        array: of NumPy.
    """
    dtype = str(array.dtype)[:200]
    if array.dtype.fields is not None or not array.size:
        return f"dtype {dtype}"
    return "\n".join(filter(None, (f"dtype {dtype}", _statistics(array), _values(array))))


def array_image(array: Any) -> bytes | None:
    """Return an image of a two-dimensional array of numbers as PNG, coloured from its least to its greatest value.

    Args:
        array: of NumPy.
    """
    np = sys.modules["numpy"]
    if array.ndim != 2 or array.dtype.kind not in "biuf" or min(array.shape) < _SMALLEST_SIDE:
        return None
    steps = [-(-length // _LARGEST_SIDE) for length in array.shape]
    sampled = array[:: steps[0], :: steps[1]]
    values = np.ma.filled(np.ma.asarray(sampled, dtype=np.float64), np.nan)
    known = np.isfinite(values)
    if not known.any():
        return None
    low, high = float(values[known].min()), float(values[known].max())
    span = (high / 2 - low / 2) or 1.0  # halves, as the difference may be too large
    scaled = np.where(known, (np.where(known, values, low) / 2 - low / 2) / span, 0.0)
    indices = np.where(known, 1 + np.round(254 * scaled), 0).astype(np.uint8)
    return _png([row.tobytes() for row in indices], _palette())


def _statistics(array: Any) -> str:
    """Return minimum, mean and maximum, and how many values are missing."""
    np = sys.modules["numpy"]
    kind = array.dtype.kind
    if kind not in "biufcmM":
        return ""
    sample = _sample(array)
    values = np.ma.compressed(sample) if np.ma.isMaskedArray(sample) else sample.reshape(-1)
    missing = sample.size - values.size
    if kind in "fc":
        missing += int(np.isnan(values).sum())
        values = values[np.isfinite(values)]
    elif kind in "mM":
        missing += int(np.isnat(values).sum())
        values = values[~np.isnat(values)]
    facts = []
    if values.size and kind != "c":
        facts.append(f"min {_number(values.min())}")
        if kind not in "mM":
            with np.errstate(all="ignore"):  # of a sum that is too large
                mean = values.mean(dtype=np.float64)
            facts += [f"mean {_number(mean)}"] if np.isfinite(mean) else []
        facts.append(f"max {_number(values.max())}")
    facts += [f"{missing:,} missing"] if missing else []
    of_some = f", of {sample.size:,} values" if facts and array.size > _MOST_VALUES else ""
    return ", ".join(facts) + of_some


def _sample(array: Any) -> Any:
    """Return an array, or of a large one some of it."""
    while array.size > _MOST_VALUES:
        axis = max(range(array.ndim), key=array.shape.__getitem__)
        step = min(array.shape[axis], -(-array.size // _MOST_VALUES))
        array = array[(slice(None),) * axis + (slice(None, None, step),)]
    return array


def _values(array: Any) -> str:
    if array.ndim == 0:
        return _cell(array[()])
    if array.ndim == 2 and max(array.shape) <= _MOST_CELLS:
        return "\n".join("  ".join(_cell(value) for value in row) for row in array)
    first = array.flat[:_MOST_SHOWN] if array.ndim > 1 else array[:_MOST_SHOWN]
    return ", ".join(map(_cell, first)) + (", ..." if array.size > _MOST_SHOWN else "")


def _cell(value: Any) -> str:
    np = sys.modules["numpy"]
    if value is np.ma.masked:
        return "missing"
    return _number(value) if isinstance(value, np.generic) else text_of_value("", value)


def _number(value: Any) -> str:
    return f"{value:.6g}" if value.dtype.kind == "f" else str(value)[:80]


def _palette() -> bytes:
    """Return 256 colours: the first stands for missing values."""
    colours = [(0, 0, 0)]
    last = len(_SCALE) - 1
    for n in range(255):
        at = n / 254 * last
        left = min(int(at), last - 1)
        pairs = zip(_SCALE[left], _SCALE[left + 1], strict=True)
        colours.append(tuple(round(a + (b - a) * (at - left)) for a, b in pairs))  # type: ignore[arg-type]
    return bytes(part for colour in colours for part in colour)


def _png(rows: list[bytes], palette: bytes) -> bytes:
    """Return a PNG file.

    Args:
        rows: the indices of colours, from above.
        palette: red, green and blue of each colour; the first is transparent.
    """
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 3, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = ((b"IHDR", header), (b"PLTE", palette), (b"tRNS", b"\0"), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )
