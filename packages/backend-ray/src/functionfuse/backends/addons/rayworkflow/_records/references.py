"""The values of ObjectRefs: stored once each, by their content, before what refers to them."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import ray

from .._dag.serialization import deserialize, serialize
from .journal import Journal, deserialized_store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._dag.serialization import Reference


class RecordLocation(NamedTuple):
    """Where the records of a workflow are, for workers."""

    store: bytes
    workflow_id: str
    run: str

    @property
    def journal(self) -> Journal:
        """The records."""
        return Journal(deserialized_store(self.store), self.workflow_id, self.run)


def store_references(location: RecordLocation, references: Sequence[Reference]) -> list[str]:
    """Store the values of references, in the workers that are next to them; return their sha256.

    Args:
        location: where the records of the workflow are.
        references: the references.
    """
    shas: list[str] = ray.get([remote(store_reference).remote(location, [reference]) for reference in references])
    return shas


def store_reference(location: RecordLocation, boxed: list[Reference]) -> str:
    """Store the value of one reference.

    Args:
        location: where the records of the workflow are.
        boxed: the reference, in a list, so that Ray does not wait for its value.
    """
    serialized = serialize(ray.get(boxed[0]))
    inner = store_references(location, serialized.references) if serialized.references else []
    sha = hashlib.sha256(serialized.data + "".join(inner).encode()).hexdigest()
    location.journal.put(f"obj/{sha}", "object", serialized.data, inner)
    return sha


def object_references(location: RecordLocation, objects: Sequence[str]) -> list[Reference]:
    """Return references to stored values, which workers read.

    Args:
        location: where the records of the workflow are.
        objects: the sha256 of the values.
    """
    return [remote(read_object).remote(location, sha) for sha in objects]


def read_object(location: RecordLocation, sha: str) -> Any:
    """Read a stored value.

    Args:
        location: where the records of the workflow are.
        sha: the sha256 of the value.
    """
    record = location.journal.get(f"obj/{sha}")
    if record is None:
        raise LookupError(
            f"an object of workflow {location.workflow_id!r} is missing in its store, or damaged: {sha}; "
            "delete the workflow and run it anew"
        )
    return deserialize(record[1], object_references(location, record[2]))


def are_objects_valid(location: RecordLocation, objects: Sequence[str]) -> bool:
    """Return True if all these values are stored, and those of the references in them.

    Args:
        location: where the records of the workflow are.
        objects: the sha256 of the values.
    """
    left, seen = list(objects), set(objects)
    while left:
        record = location.journal.get(f"obj/{left.pop()}")
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
