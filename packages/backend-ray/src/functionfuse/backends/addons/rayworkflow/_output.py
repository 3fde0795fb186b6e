"""Outputs on their way to the user: fetched where they are unpickled, from memory or else from the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError, RayTaskError

from functionfuse.backends.addons.rayworkflow._objects import remote
from functionfuse.backends.addons.rayworkflow._task import recall_output

if TYPE_CHECKING:
    from functionfuse.backends.addons.rayworkflow._objects import Place
    from functionfuse.backends.addons.rayworkflow._pickles import Reference


class Output:
    """Stands for a value, and becomes it when it is unpickled.

    Args:
        reference: to the value in the cluster, if it is there.
        place: where the records of the workflow are.
        key: under which the value is stored.
    """

    def __init__(self, reference: Reference | None, place: Place, key: str) -> None:
        self.reference = reference
        self.place = place
        self.key = key

    def __reduce__(self) -> tuple[Any, ...]:
        return fetched, (self.reference, self.place, self.key)


def fetched(reference: Reference | None, place: Place, key: str) -> Any:
    """Return the value of an output."""
    if reference is not None:
        try:
            return ray.get(reference)
        except RayTaskError:
            raise
        except RayError:
            pass  # whoever had it in memory is gone
    return ray.get(remote(recall_output).remote(place, key))
