"""Large values in the arguments of nodes, which Ray stores once for each run, however many nodes take them."""

from __future__ import annotations

import sys
from typing import Any

import ray

from functionfuse.containers import ATOMS

from .unchanged import unchanged

LARGE = 1 << 20  # bytes
_SMALL = ATOMS - {str, bytes}


class LargeLiterals:
    """The large values of one run."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, Any]] = {}  # by id: the value, so that its id lasts, and the reference

    def given(self, value: Any) -> Any:
        """Return what to give Ray for a value in the arguments of a node: a reference if it is large."""
        reference = self.reference(value)
        return unchanged(value) if reference is None else reference

    def reference(self, value: Any) -> Any:
        """Return a reference to a large value; None for others."""
        if type(value) in _SMALL or isinstance(value, ray.ObjectRef) or _size(value) < LARGE:
            return None
        if id(value) not in self._known:
            self._known[id(value)] = value, ray.put(unchanged(value))
        return self._known[id(value)][1]


def _size(value: Any) -> int:
    """Return how many bytes a value has at least; what a container holds does not count."""
    size = getattr(value, "nbytes", 0)
    try:
        return max(size if isinstance(size, int) else 0, sys.getsizeof(value))
    except Exception:  # an object whose own method fails
        return 0
