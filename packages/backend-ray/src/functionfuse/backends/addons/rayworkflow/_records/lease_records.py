"""The lease records of a workflow: who ran it since which epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .journal import Journal


class OwnerCheck(Protocol):
    """Tells whether owners of workflows live.

    Attributes:
        name: of the owner that asks.
    """

    name: str

    def is_alive(self, owner: str) -> bool:
        """Return True if an owner lives; this may take as long as a lease."""
        ...


def latest_epoch(journal: Journal) -> int:
    """Return the highest epoch of a workflow, 0 when nobody ran it."""
    epoch = 0
    while journal.has(f"lease/{epoch_key(epoch + 1)}"):
        epoch += 1
    return epoch


def owner_of(journal: Journal, epoch: int) -> str:
    """Return who took an epoch; "" if that cannot be read.

    Args:
        journal: the records of the workflow.
        epoch: the epoch.
    """
    found = journal.get(f"lease/{epoch_key(epoch)}")
    return found[1] if found else ""


def epoch_key(epoch: int) -> str:
    """Return an epoch as the names of records have it."""
    return f"{epoch:08d}"
