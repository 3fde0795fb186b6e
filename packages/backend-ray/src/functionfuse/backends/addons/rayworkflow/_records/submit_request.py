"""What a driver sends of a workflow that it wants to be run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from .functions import store_function
from .journal import FORMAT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .environment import TaskEnvironment
    from .journal import Journal
    from .references import RecordLocation


class SubmitRequest(NamedTuple):
    """What a driver wants to be run.

    Attributes:
        workflow_id: its id.
        run: a word that is new for each request.
        graph: the pickle of its graph.
        functions: by sha256, the pickles of its functions.
        metadata: the user's own.
        environment: of its tasks.
    """

    workflow_id: str
    run: str
    graph: bytes
    functions: Mapping[str, bytes]
    metadata: dict[str, Any]
    environment: TaskEnvironment


def store_request(journal: Journal, location: RecordLocation, request: SubmitRequest) -> None:
    """Store a workflow that is new; functions before the graph that refers to them.

    Args:
        journal: the records of the workflow.
        location: where the records of the workflow are.
        request: the workflow.
    """
    for sha, pickled in request.functions.items():
        store_function(location, sha, pickled)
    journal.put("spec", "spec", FORMAT, journal.run, request.graph, request.metadata, created=time.time())
