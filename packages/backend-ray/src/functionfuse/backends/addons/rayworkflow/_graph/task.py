"""The task of Ray that runs a graph."""

from __future__ import annotations

import pickle
from typing import Any

from functionfuse.backends.builtin._ray.unchanged import unchanged

from .._worker.calls import deserialized_call
from .._worker.task import execute_with


def execute_graph(serialized: bytes, *arguments: Any) -> tuple[Any, bytes]:
    """Run a graph in a worker, as `execute` runs a function.

    Args:
        serialized: the serialized `TaskCall`.
        arguments: references, if there are any.

    Returns:
        The value, and the pickled report.
    """
    from .graph import run_graph  # which takes long to import, and workers that only load this module do without

    call, references, needs = deserialized_call(serialized, arguments)
    report, value = execute_with(lambda: run_graph, call, references, needs)
    return unchanged(value), pickle.dumps(report)
