"""Read checked chunks of an HDF5 file, past HDF5."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from functionfuse.errors import CorruptRecord
from functionfuse.storage._record.checksum import crc32

from .blocks import BlockReader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from functionfuse.storage._store.transport import RangeReader


class ChunkReader(BlockReader):
    """Reads checked chunks of a file by a table of their offsets.

    Args:
        file: the HDF5 file.
        state: what `write` returned, with `shape` and `dtype`.
    """

    def __init__(self, file: RangeReader, state: Mapping[str, Any]) -> None:
        super().__init__(file.location, state["shape"], state["dtype"])
        self._chunk: tuple[int, ...] = state["chunk"]
        self._offsets: np.ndarray[Any, Any] = state["offsets"]
        self._crcs: np.ndarray[Any, Any] = state["crcs"]
        self._file = file

    def box(self, spans: Sequence[tuple[int, int]]) -> np.ndarray[Any, Any]:
        """Return the elements of a box: from the first to before the last along each axis.

        Raises:
            CorruptRecord: a chunk is damaged or missing.
        """
        cells = [range(low // step, -(-high // step)) for (low, high), step in zip(spans, self._chunk, strict=True)]
        if all(len(row) == 1 for row in cells):
            return self._part(tuple(row[0] for row in cells), spans)[1]
        out = np.empty([high - low for low, high in spans], self.dtype)
        for cell in itertools.product(*cells):
            target, part = self._part(cell, spans)
            out[target] = part
        return out

    def _part(
        self, cell: tuple[int, ...], spans: Sequence[tuple[int, int]]
    ) -> tuple[tuple[slice, ...], np.ndarray[Any, Any]]:
        """Return what a selection takes of a chunk, after where it goes in the selection."""
        target, inside = [], []
        for number, step, (low, high) in zip(cell, self._chunk, spans, strict=True):
            start, stop = max(low, number * step), min(high, (number + 1) * step)
            target.append(slice(start - low, stop - low))
            inside.append(slice(start - number * step, stop - number * step))
        return tuple(target), self._read(cell)[tuple(inside)]

    def _read(self, cell: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """Return a checked chunk."""
        length = math.prod(self._chunk) * self.dtype.itemsize
        data = self._file.read(int(self._offsets[cell]), length)
        if crc32(data) != self._crcs[cell]:
            raise CorruptRecord(f"{self.location!r}: chunk {cell!r} is damaged: checksum mismatch")
        return np.frombuffer(data, np.uint8).view(self.dtype).reshape(self._chunk)
