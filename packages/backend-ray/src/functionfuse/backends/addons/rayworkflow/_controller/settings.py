"""What the workflows of a cluster have in common, and what a driver sends of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._dag.spec import Checkpoint


class Settings(NamedTuple):
    """What the workflows of a cluster have in common.

    Attributes:
        store: the store, pickled.
        lease: seconds without a sign of life after which another cluster may take over a workflow.
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


class Order(NamedTuple):
    """What a driver wants to be run.

    Attributes:
        workflow_id: its id.
        run: a word that tells this order from others.
        graph: the pickle of its graph.
        functions: by sha256, the pickles of its functions.
        metadata: the user's own.
        runtime_env: for its tasks, but for those that have their own.
    """

    workflow_id: str
    run: str
    graph: bytes
    functions: Mapping[str, bytes]
    metadata: dict[str, Any]
    runtime_env: dict[str, Any]
