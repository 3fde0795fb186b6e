"""The tasks of a workflow while it is executed, and their graphs."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from .._dag.serialization import SERIALIZER
from .._dag.spec import key_of
from .._records.workflow import StoredOutcome

if TYPE_CHECKING:
    from .._dag.serialization import Reference
    from .._dag.spec import Checkpoint, GraphSpec, TaskSpec


class TaskState(Enum):
    """What a node does."""

    IDLE = auto()
    WAITING = auto()
    READY = auto()
    RUNNING = auto()
    EXPANDED = auto()
    DONE = auto()


class TaskNode:
    """A task of a graph that is executed.

    Attributes:
        spec: what it is.
        key: under which its result is stored.
        task_graph: the graph.
        checkpoint: how its result is stored.
        catches: whether its result is a pair of value and exception.
        is_isolated: whether it runs in an actor of its own.
        state: what it does.
        missing: how many tasks it still waits for.
        waiters: who waits for it.
        consumers: how many still take its value.
        report: a reference to how it ended.
        value: a reference to its value.
        final: the key under which the value is stored, or the graph that goes on in its place: its own, or that of a
            task that went on in its place.
        links: how many graphs were returned, each in the place of the one before, to get from the one to the other.
        inner: the graph that goes on in its place.
        counted: whether it is among the users of what it needs.
        reloads: how often what it needs was lost.
    """

    __slots__ = (
        "catches",
        "checkpoint",
        "consumers",
        "counted",
        "final",
        "inner",
        "is_isolated",
        "key",
        "links",
        "missing",
        "reloads",
        "report",
        "spec",
        "state",
        "task_graph",
        "value",
        "waiters",
    )

    def __init__(self, spec: TaskSpec, task_graph: TaskGraph, *, last: bool) -> None:
        creator, options = task_graph.creator, spec.options
        self.spec = spec
        self.task_graph = task_graph
        self.key: str = key_of(spec.name, "" if creator is None else creator.final)
        self.final: str = self.key
        self.is_isolated = spec.kind == "task" and options.isolate
        self.checkpoint = task_graph.checkpoint_for(options.checkpoint)
        if self.is_isolated and self.checkpoint == "grouped" and options.checkpoint != "grouped":
            self.checkpoint = "strict"  # that the controller dies is no reason to run it again
        inherited = last and creator is not None and creator.catches
        self.catches: bool = inherited if options.catch_exceptions is None else options.catch_exceptions
        self.state = TaskState.IDLE
        self.missing = self.consumers = self.reloads = self.links = 0
        self.counted = False
        self.waiters: list[TaskNode] = []
        self.report: Reference | None = None
        self.value: Reference | None = None
        self.inner: TaskGraph | None = None

    def needs(self) -> list[TaskNode]:
        """The tasks whose results it takes."""
        nodes = self.task_graph.nodes
        return [nodes[index] for index in self.spec.needs]

    @property
    def continues_creator(self) -> bool:
        """Return True if it is the last of a graph that another task returned, and stored just as that one."""
        creator = self.task_graph.creator
        return (
            creator is not None
            and self is self.task_graph.nodes[-1]
            and (self.checkpoint, self.catches) == (creator.checkpoint, creator.catches)
        )


class TaskGraph:
    """A graph that is executed.

    Attributes:
        creator: the task that returned it.
        head: the task in whose place it goes on, if need be by way of others.
        links: how many others.
        checkpoint: how results are stored where a task does not set it.
        nodes: its tasks.
        is_abandoned: nobody waits for it any more.
    """

    __slots__ = ("checkpoint", "creator", "head", "is_abandoned", "links", "nodes")

    def __init__(self, graph: GraphSpec, creator: TaskNode | None, checkpoint: Checkpoint) -> None:
        self.creator = creator
        self.checkpoint = checkpoint
        self.is_abandoned = False
        self.head, self.links = creator, creator.links if creator else 0
        if creator and creator.continues_creator:
            self.head, self.links = creator.task_graph.head, creator.task_graph.links + 1
        last = len(graph.tasks) - 1
        self.nodes: list[TaskNode] = []
        self.nodes += [TaskNode(spec, self, last=index == last) for index, spec in enumerate(graph.tasks)]

    def checkpoint_for(self, wanted: bool | str | None) -> Checkpoint:
        """Return how a result is stored for which the user set this."""
        if wanted is None:
            return self.checkpoint if self.creator is None else self.creator.checkpoint
        if isinstance(wanted, str):
            return "grouped" if wanted == "grouped" else "strict"
        return self.checkpoint if wanted else ""


class WorkflowOutcome(NamedTuple):
    """How an execution ended.

    Attributes:
        status: "SUCCESSFUL", "FAILED" or "CANCELED".
        output: the task whose result is the workflow's.
        error: of the task that failed.
        task: its name.
    """

    status: str
    output: TaskNode | None = None
    error: BaseException | None = None
    task: str = ""

    def stored(self) -> StoredOutcome:
        """Return it as the store has it."""
        output = "" if self.output is None else self.output.final
        error = b"" if self.error is None else SERIALIZER.error(self.error)
        return StoredOutcome(self.status, output, error, self.task)
