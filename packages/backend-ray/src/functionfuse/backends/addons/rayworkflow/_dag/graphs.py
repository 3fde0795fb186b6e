"""A graph of Function Fuse as one task of a DAG."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import ray

from functionfuse.backends.spec import RunSpec
from functionfuse.graph import Graph
from functionfuse.nodes import Item, Node
from functionfuse.plan import ref_of, steps_of

from .code import codes_of, note_steps
from .options import options
from .serialization import SERIALIZER
from .waits import run_graph

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ray.dag import FunctionNode

    from functionfuse.deferred import Deferred
    from functionfuse.plan import Step

_RETRIES = 20  # of a task that runs a graph, when its worker dies


class GraphRun(NamedTuple):
    """A graph of Function Fuse as the argument of a durable task.

    Attributes:
        spec: what to run, without the store; its steps carry recipes.
        store: the store, serialized; empty when the user set none.
        event_channel: the name of the actor that receives events; "" without observers.
        codes: by step, a digest of its code.
        interrupts: the name of the actor that lets the run end; "" where it is stopped instead.
        secrets: values that are left out of messages.
        is_node: whether the task stands for the one node that is wanted, and has its value and its error.
    """

    spec: RunSpec
    store: bytes
    event_channel: str
    codes: Mapping[str, str]
    interrupts: str = ""
    secrets: Collection[str] = ()
    is_node: bool = False


def graph_task(serialized: bytes, steps: Sequence[Step], name: str | None = None) -> FunctionNode:
    """Return a node for Ray's ``bind`` that runs a graph.

    Args:
        serialized: a serialized `GraphRun`.
        steps: of the graph.
        name: of the task.
    """
    task = ray.remote(num_cpus=0, max_retries=_RETRIES)(run_graph)
    node: FunctionNode = task.options(**options(task_id=name)).bind(serialized)
    note_steps(node, steps)
    return node


def as_dag(node: Deferred) -> FunctionNode:
    """Return a node for Ray's ``bind`` whose result is that of a node of Function Fuse.

    The graph that the node needs runs as one durable task; its results are stored one by one.
    """
    assert isinstance(node, Node | Item)
    graph = Graph([node._node if isinstance(node, Item) else node], scope="ancestors")
    wanted = ref_of(node, graph)
    steps = steps_of(graph)
    spec = RunSpec(wanted.step, steps, [wanted], backend="as_dag", has_recipes=True)
    graph_run = GraphRun(spec, b"", "", codes_of(steps), is_node=True)
    return graph_task(SERIALIZER.dumps(graph_run), steps, wanted.step)
