"""Values that workers load after they took over what these use of the driver's modules."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from functionfuse.backends.worker_state import reloads

if TYPE_CHECKING:
    from functionfuse.backends.worker_state import WorkerState


class Carried:
    """A value that is pickled by the driver, and loaded where it is used.

    An engine that deserializes functions by itself gets the ones of the worker's modules, which may be old.

    Args:
        data: the pickled value.
        state: what the worker takes over before it loads the value.
    """

    __slots__ = ("_data", "_loaded", "_reloads", "_state")

    def __init__(self, data: bytes, state: WorkerState) -> None:
        self._data = data
        self._state = state
        self._loaded: Any = None
        self._reloads = -1  # of modules, before the value was loaded

    def __reduce__(self) -> tuple[Any, ...]:
        return Carried, (self._data, self._state)

    def load(self, *values: Any) -> tuple[Any, ...]:
        """Return the value, and others that came with it and were deserialized before.

        Args:
            values: the others.

        Raises:
            WorkerOutdated: this process cannot have code or values of a module as the driver has them.
        """
        values = self._state.take_over(values)
        if self._reloads != reloads():
            self._loaded = pickle.loads(self._data)
            self._reloads = reloads()
        return self._loaded, *values
