"""The values of ObjectRefs: stored once each, by their content, before what refers to them."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import ray

from .._dag.serialization import pack, unpack
from .journal import Journal, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._dag.serialization import Reference


class Place(NamedTuple):
    """Where the records of a workflow are, for workers."""

    store: bytes
    workflow_id: str
    run: str

    @property
    def journal(self) -> Journal:
        """The records."""
        return Journal(opened(self.store), self.workflow_id, self.run)


def keep_all(place: Place, references: Sequence[Reference]) -> list[str]:
    """Store the values of references, in the workers that are next to them; return their sha256."""
    shas: list[str] = ray.get([remote(keep).remote(place, [reference]) for reference in references])
    return shas


def keep(place: Place, boxed: list[Reference]) -> str:
    """Store the value of one reference."""
    packed = pack(ray.get(boxed[0]))
    inner = keep_all(place, packed.references) if packed.references else []
    sha = hashlib.sha256(packed.data + "".join(inner).encode()).hexdigest()
    place.journal.put(f"obj/{sha}", "object", packed.data, inner)
    return sha


def load_all(place: Place, objects: Sequence[str]) -> list[Reference]:
    """Return references to stored values, which workers read."""
    return [remote(load).remote(place, sha) for sha in objects]


def load(place: Place, sha: str) -> Any:
    """Read a stored value."""
    record = place.journal.get(f"obj/{sha}")
    if record is None:
        raise LookupError(f"an object of workflow {place.workflow_id!r} is gone from its store, or damaged: {sha}")
    return unpack(record[1], load_all(place, record[2]))


def are_kept(place: Place, objects: Sequence[str]) -> bool:
    """Whether all these values are stored, and those of the references in them."""
    left, seen = list(objects), set(objects)
    while left:
        record = place.journal.get(f"obj/{left.pop()}")
        if record is None:
            return False
        left += [sha for sha in record[2] if sha not in seen]
        seen.update(record[2])
    return True


@cache
def remote(function: Callable[..., Any]) -> Any:
    """Return one of our own functions as a task of Ray.

    It takes a processor like any task: for many tasks that take none, Ray would start a process each.
    """
    return ray.remote(function)
