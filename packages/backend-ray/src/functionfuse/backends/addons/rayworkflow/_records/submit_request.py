"""What a driver sends of a workflow that it wants to be run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from .functions import keep_function
from .journal import FORMAT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .journal import Journal
    from .references import Place


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


def store_order(journal: Journal, place: Place, order: Order) -> None:
    """Store a workflow that is new; functions before the graph that refers to them."""
    for sha, pickled in order.functions.items():
        keep_function(place, sha, pickled)
    journal.put("spec", "spec", FORMAT, journal.run, order.graph, order.metadata, created=time.time())
