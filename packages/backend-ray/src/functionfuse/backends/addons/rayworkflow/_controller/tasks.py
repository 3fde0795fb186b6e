"""The tasks of a workflow while it is executed, and their graphs."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from .._dag.serialization import pack_error
from .._dag.spec import key_of
from .._records.workflow import Ended

if TYPE_CHECKING:
    from .._dag.serialization import Reference
    from .._dag.spec import Checkpoint, GraphSpec, TaskSpec


class State(Enum):
    """What a node does."""

    IDLE = auto()
    WAITING = auto()
    READY = auto()
    RUNNING = auto()
    EXPANDED = auto()
    DONE = auto()


class Node:
    """A task of a graph that is executed.

    Attributes:
        spec: what it is.
        key: under which its result is stored.
        frame: the graph.
        checkpoint: how its result is stored.
        catches: whether its result is a pair of value and exception.
        is_isolated: whether it runs in an actor of its own.
        state: what it does.
        lacks: how many tasks it still waits for.
        waiters: who waits for it.
        users: how many still take its value.
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
        "counted",
        "final",
        "frame",
        "inner",
        "is_isolated",
        "key",
        "lacks",
        "links",
        "reloads",
        "report",
        "spec",
        "state",
        "users",
        "value",
        "waiters",
    )

    def __init__(self, spec: TaskSpec, frame: Frame, *, last: bool) -> None:
        creator, options = frame.creator, spec.options
        self.spec = spec
        self.frame = frame
        self.key: str = key_of(spec.name, "" if creator is None else creator.final)
        self.final: str = self.key
        self.is_isolated = spec.kind == "task" and options.isolate
        self.checkpoint = frame.checkpoint_for(options.checkpoint)
        if self.is_isolated and self.checkpoint == "grouped" and options.checkpoint != "grouped":
            self.checkpoint = "strict"  # that the controller dies is no reason to run it again
        inherited = last and creator is not None and creator.catches
        self.catches: bool = inherited if options.catch_exceptions is None else options.catch_exceptions
        self.state = State.IDLE
        self.lacks = self.users = self.reloads = self.links = 0
        self.counted = False
        self.waiters: list[Node] = []
        self.report: Reference | None = None
        self.value: Reference | None = None
        self.inner: Frame | None = None

    def needs(self) -> list[Node]:
        """The tasks whose results it takes."""
        nodes = self.frame.nodes
        return [nodes[place] for place in self.spec.needs]

    @property
    def goes_on(self) -> bool:
        """Whether it is the last of a graph that another task returned, and stored just as that one."""
        creator = self.frame.creator
        return (
            creator is not None
            and self is self.frame.nodes[-1]
            and (self.checkpoint, self.catches) == (creator.checkpoint, creator.catches)
        )


class Frame:
    """A graph that is executed.

    Attributes:
        creator: the task that returned it.
        head: the task in whose place it goes on, if need be by way of others.
        links: how many others.
        checkpoint: how results are stored where nothing else is said.
        nodes: its tasks.
        dead: nobody waits for it any more.
    """

    __slots__ = ("checkpoint", "creator", "dead", "head", "links", "nodes")

    def __init__(self, graph: GraphSpec, creator: Node | None, checkpoint: Checkpoint) -> None:
        self.creator = creator
        self.checkpoint = checkpoint
        self.dead = False
        self.head, self.links = creator, creator.links if creator else 0
        if creator and creator.goes_on:
            self.head, self.links = creator.frame.head, creator.frame.links + 1
        last = len(graph.tasks) - 1
        self.nodes: list[Node] = []
        self.nodes += [Node(spec, self, last=place == last) for place, spec in enumerate(graph.tasks)]

    def checkpoint_for(self, wanted: bool | str | None) -> Checkpoint:
        """Return how a result is stored of which the user said this."""
        if wanted is None:
            return self.checkpoint if self.creator is None else self.creator.checkpoint
        if isinstance(wanted, str):
            return "grouped" if wanted == "grouped" else "strict"
        return self.checkpoint if wanted else ""


class Ending(NamedTuple):
    """How an execution ended.

    Attributes:
        status: "SUCCESSFUL", "FAILED" or "CANCELED".
        output: the task whose result is the workflow's.
        error: of the task that failed.
        task: its name.
    """

    status: str
    output: Node | None = None
    error: BaseException | None = None
    task: str = ""

    def stored(self) -> Ended:
        """Return it as the store has it."""
        output = "" if self.output is None else self.output.final
        error = b"" if self.error is None else pack_error(self.error)
        return Ended(self.status, output, error, self.task)
