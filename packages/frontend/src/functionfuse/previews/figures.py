"""Previews of figures of matplotlib: small PNG files."""

from __future__ import annotations

import io
import pickle
import sys
from typing import Any

_WIDTHS = (480, 320, 200)  # pixels, the next one where the file is too large
_MOST_BYTES = 18 << 10


def figure_of(value: Any) -> Any:
    """Return a figure, or that of axes; None for another value.

    Args:
        value: of any type.
    """
    figures, axes = sys.modules.get("matplotlib.figure"), sys.modules.get("matplotlib.axes")
    if figures is not None and isinstance(value, figures.Figure):
        return value
    return value.get_figure() if axes is not None and isinstance(value, axes.Axes) else None


def figure_image(figure: Any) -> bytes | None:
    """Return a PNG file of a figure; None if even a small one is too large.

    Args:
        figure: of matplotlib. It is not changed: a copy is drawn.
    """
    copy = _copied(figure)
    width, height = copy.get_size_inches()
    for pixels in _WIDTHS:
        file = io.BytesIO()
        copy.savefig(file, format="png", dpi=pixels / max(width, height))
        if file.tell() <= _MOST_BYTES:
            return file.getvalue()
    return None


def _copied(figure: Any) -> Any:
    """Return a copy that pyplot does not know; drawing changes what a figure is pickled to."""
    state = dict(figure.__getstate__())
    state.pop("_restore_to_pylab", None)
    copy: Any = object.__new__(type(figure))
    copy.__setstate__(pickle.loads(pickle.dumps(state)))
    return copy
