"""A graph of tasks as data: what is stored of a DAG, and executed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

TaskKind = Literal["task", "graph", "event", "sleep"]
WAITS = ("event", "sleep")  # kinds that hold no worker
Checkpoint = Literal["strict", "grouped", ""]  # how a result is stored; "" for not at all


class TaskOptions(NamedTuple):
    """What was set for a task.

    Attributes:
        checkpoint: whether its result is stored, or how: "strict" or "grouped"; None as for the task that returned its
            graph, or True.
        catch_exceptions: whether its result is a pair of value and exception; None as for the task that it ends.
        max_retries: further attempts after a failure of the system, and of the function with ``retry_exceptions``.
        retry_exceptions: whether, or after which exceptions, the function is called again.
        isolate: whether it runs in an actor that outlives the controller.
        metadata: the user's own.
        ray_options: those of Ray's tasks.
    """

    checkpoint: bool | str | None = None
    catch_exceptions: bool | None = None
    max_retries: int = 3
    retry_exceptions: bool | tuple[type[BaseException], ...] = False
    isolate: bool = False
    metadata: Mapping[str, Any] = {}
    ray_options: Mapping[str, Any] = {}


class TaskSpec(NamedTuple):
    """A task of a graph.

    Attributes:
        name: unique in its graph.
        kind: a function to call, a graph of Function Fuse to run, an event to wait for, or a time to sleep.
        function: the sha256 under which it is stored.
        arguments: a pickle with gaps for nodes and references.
        needs: indexes in the graph of the tasks that fill the gaps for nodes.
        direct: which of them are taken as arguments, by value.
        inner: which of them are taken within containers, by reference.
        objects: the sha256 under which the values of the references are stored.
        options: what was set.
        code: a digest of the function's code; "" if there is none.
    """

    name: str
    kind: TaskKind
    function: str
    arguments: bytes
    needs: tuple[int, ...] = ()
    direct: frozenset[int] = frozenset()
    inner: frozenset[int] = frozenset()
    objects: tuple[str, ...] = ()
    options: TaskOptions = TaskOptions()
    code: str = ""


class GraphSpec(NamedTuple):
    """Tasks, each behind those that it needs; the last one's result is the graph's."""

    tasks: tuple[TaskSpec, ...]


def key_of(name: str, creator: str = "") -> str:
    """Return a name for a task that is unique in its workflow, and the same whenever that is executed.

    Args:
        name: of the task, unique in its graph.
        creator: the key of the task that returned the graph; "" for the workflow's own.
    """
    return f"{name}@{hashlib.sha256(f'{creator}/{name}'.encode()).hexdigest()[:20]}" if creator else name
