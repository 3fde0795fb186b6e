"""The task of Ray that runs a graph."""

from __future__ import annotations

import pickle
from typing import Any

from .._worker.task import execute_with, unpacked_job


def execute_graph(packed: bytes, *taken: Any) -> tuple[bytes, Any]:
    """Run a graph in a worker, as `execute` runs a function.

    Args:
        packed: the pickled job.
        taken: references, if there are any.

    Returns:
        The pickled report, and the value.
    """
    from .graph import run_graph  # which takes long to import, and workers that only load this module do without

    job, references, needs = unpacked_job(packed, taken)
    report, value = execute_with(lambda: run_graph, job, references, needs)
    return pickle.dumps(report), value
