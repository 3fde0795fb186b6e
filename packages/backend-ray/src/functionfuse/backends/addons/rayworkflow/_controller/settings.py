"""What the workflows of a cluster have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .._dag.spec import Checkpoint


class ControllerSettings(NamedTuple):
    """What the workflows of a cluster have in common.

    Attributes:
        store: the store, pickled.
        lease: seconds without a heartbeat after which another cluster may take over a workflow.
        checkpoint: how results are stored: "strict" or "grouped".
        retention: what is kept of workflows that ended: "all", "final", or all for so many seconds.
        max_running: workflows that run at a time; -1 for any number.
        max_pending: workflows that wait for that; -1 for any number.
    """

    store: bytes
    lease: float
    checkpoint: Checkpoint
    retention: str | float
    max_running: int
    max_pending: int
