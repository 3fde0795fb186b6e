"""DataFrames: their text through Arrow, all else as it is.

pandas hands its numbers, dates, categories and Arrow-backed columns to a record without a copy, and comes
back exactly, with index, attributes and subclass. What it pickles one by one, at a tenth of the speed of a
disk, is arrays of string objects. They are what is kept as Arrow arrays here, wherever they occur: in
columns, indexes, Series, xarray, or on their own.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from functionfuse.storage._serialize.serializers import Serializer

if TYPE_CHECKING:
    from functionfuse.storage._store.transport import BlobReader, BlobWriter

_WORTH_IT = 1000  # elements
_PROBE = 100


class TextArraySerializer(Serializer):
    """Keeps NumPy arrays of string objects as Arrow's `large_string`: offsets and text, without a copy.

    Only arrays that come back exactly: of `str` proper, and at most one kind of missing value (`None`,
    `nan` or `pandas.NA`). Others, and those of less than 1000 elements, are pickled. Strings that were
    one object are equal objects afterwards.

    The layout is that of the Arrow columnar format, which every release of Arrow reads.
    """

    name = "arrow.text"
    version = 1
    types = ("numpy.ndarray",)
    requires = ("numpy", "pyarrow")

    def save(self, obj: Any, out: BlobWriter) -> Any:  # noqa: ARG002
        """Return shape, order, missing value, and Arrow's buffers.

        Args:
            obj: the array.
            out: makes files beside the record.
        """
        if obj.dtype.kind != "O" or obj.dtype.metadata or obj.size < _WORTH_IT:
            return NotImplemented
        order = "F" if obj.flags.f_contiguous and not obj.flags.c_contiguous else "C"
        flat = obj.ravel(order)
        missing = _missing_kind(flat)
        if missing is None:
            return NotImplemented
        array = _encoded(flat, missing)
        if array is None:
            return NotImplemented
        buffers = [None if one is None else pickle.PickleBuffer(one) for one in array.buffers()]
        return obj.shape, order, missing, buffers

    def load(self, state: Any, inp: BlobReader, version: int) -> Any:  # noqa: ARG002
        """Return the array again.

        Args:
            state: what `save` returned.
            inp: finds the files of the record.
            version: of the serializer that saved the object.
        """
        import math

        import pyarrow as pa

        shape, order, missing, buffers = state
        views = [None if one is None else pa.py_buffer(one) for one in buffers]
        array = pa.Array.from_buffers(pa.large_string(), math.prod(shape), views)
        flat = array.to_numpy(zero_copy_only=False)
        if missing != "None":
            flat[array.is_null().to_numpy(zero_copy_only=False)] = _missing_value(missing)
        return flat.reshape(shape, order=order)


def _missing_kind(flat: Any) -> str | None:
    """Return what stands for missing text; nothing for an array that is not of text."""
    if type(flat[0]) is not str and str not in map(type, flat[:_PROBE]):
        return None  # most arrays of other objects are known by their first elements
    kinds = set(map(type, flat)) - {str}
    if kinds <= {type(None)}:
        return "None"
    if kinds == {float}:
        return "nan" if all(item != item for item in flat if type(item) is float) else None
    [kind, *others] = kinds
    is_na = not others and kind.__module__.startswith("pandas.") and kind.__name__ == "NAType"
    return "NA" if is_na else None


def _missing_value(kind: str) -> Any:
    if kind == "nan":
        import numpy as np

        return np.nan
    import pandas as pd

    return pd.NA


def _encoded(flat: Any, missing: str) -> Any:
    """Return Arrow's array; nothing for text that has no UTF-8, such as half a surrogate pair."""
    import pyarrow as pa

    mask = None
    if missing != "None":
        import numpy as np

        mask = np.fromiter((type(item) is not str for item in flat), bool, len(flat))
    try:
        return pa.array(flat, type=pa.large_string(), mask=mask, from_pandas=False)
    except UnicodeEncodeError:
        return None
