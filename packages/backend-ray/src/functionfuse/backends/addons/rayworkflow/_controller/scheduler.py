"""One workflow being executed: which tasks are to run, which run, and what follows from how they end.

Tasks are submitted ahead of those that they need, with references as arguments: Ray orders them. A task that finds
that something it needs has no value, because it failed or returned a graph, answers that it is blocked, and is
submitted again later. All of this happens in one thread, that of the engine's loop; walks are loops, so that chains
and recursions may be of any depth.
"""

from __future__ import annotations

import pickle
from collections import deque
from typing import TYPE_CHECKING

from ray.exceptions import ActorDiedError, ObjectLostError, RayError

from functionfuse.errors import CorruptRecord, StorageError

from .._dag.serialization import unpack_error
from ..exceptions import WorkflowTaskNotRecoverableError
from .tasks import Ending, Frame, Node, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .._dag.spec import Checkpoint, GraphSpec
    from .._worker.task import Report
    from .submission import Submission

_RELOADS = 5  # of what a task needs, when objects are lost
_STRIDE = 100  # links of a recursion between two that are written down


class Execution:
    """The state of one workflow that is executed.

    Args:
        graph: what to execute.
        checkpoint: how results are stored where nothing else is said.
        stored: keys of tasks whose results are stored.
        reached: of such tasks that are deep recursions, the key of a late link, and how many are before it.
        submission: hands tasks to Ray.
        ended: called once with the ending, when nothing runs any more.
        commit: stores a value that a worker left to the controller.
        reach: notes a late link of a recursion, as in ``reached``.
        catch: stores an exception that a task caught from another one, and then has :meth:`resolve` called.
        named: called with each task as it comes up.
        settled: called with each task that has a value.
    """

    def __init__(
        self,
        graph: GraphSpec,
        *,
        checkpoint: Checkpoint,
        stored: Iterable[str],
        reached: Mapping[str, tuple[str, int]],
        submission: Submission,
        ended: Callable[[Ending], None],
        commit: Callable[[Node, Report], None],
        reach: Callable[[Node, str, int], None],
        catch: Callable[[Node, Node, BaseException], None],
        named: Callable[[Node], None],
        settled: Callable[[Node], None],
    ) -> None:
        self._stored = set(stored)
        self._submission = submission
        self._ended = ended
        self._checkpoint = checkpoint
        self._commit = commit
        self._reached = dict(reached)
        self._reach = reach
        self._catch = catch
        self._named = named
        self._settled = settled
        self._ready: deque[Node] = deque()
        self._recalls: deque[Node] = deque()
        self._surprising: set[str] = set()
        self._ending: Ending | None = None
        self.running: set[Node] = set()
        self.root = self._open(graph, None)

    @property
    def has_ready(self) -> bool:
        """Whether a task could be submitted."""
        return self._ending is None and bool(self._ready or self._recalls)

    # -- out

    def submit(self, most: int) -> None:
        """Submit up to this many tasks that are ready."""
        while self._recalls and most > 0 and self._ending is None:
            batch = [self._recalls.popleft() for _ in range(min(len(self._recalls), most, 100))]
            batch = [node for node in batch if not node.frame.dead]
            most -= len(batch)
            self._started(batch)
            self._submission.recall(batch, self.take_in)
            for node in batch:
                self._release(node)
        while self._ready and most > 0 and self._ending is None:
            node = self._ready.popleft()
            if node.frame.dead or node.state is not State.READY:
                continue
            most -= 1
            try:
                self._submission.execute(node, self.take_in)
            except StorageError as error:  # its function cannot be read
                name, is_away = node.spec.name, not isinstance(error, CorruptRecord)
                problem = error if is_away else WorkflowTaskNotRecoverableError(name, str(error))
                self.end(Ending("FAILED", error=problem, task=name))
                return
            self._started([node])
            if node.spec.function not in self._surprising:
                self._release(node)

    def _started(self, nodes: list[Node]) -> None:
        for node in nodes:
            node.state = State.RUNNING
            self.running.add(node)

    # -- in

    def take_in(self, node: Node, report: Report | BaseException) -> None:
        """Take in how a task ended: what it reported, or what became of it in Ray."""
        self.running.discard(node)
        if self._ending is not None or node.frame.dead:
            self._end_if_quiet()
            return
        if isinstance(report, BaseException):
            self._broken(node, report)
        elif report.ended == "value":
            if report.data:
                self._commit(node, report)
            self.resolve(node)
        elif report.ended == "graph":
            self._expand(node, pickle.loads(report.data))
        elif report.ended == "unstored":
            self.end(Ending("FAILED", error=unpack_error(report.data), task=node.spec.name))
        elif report.ended == "error":
            error = unpack_error(report.data)
            if _is_loss(error):
                self._broken(node, error)
            else:
                self._fail(node, error)
        elif report.ended == "blocked":
            self._schedule(node)
        else:  # what was listed as stored is damaged
            if node.final == node.key:
                self._stored.discard(node.key)
            node.final, node.links = node.key, 0
            node.state = State.IDLE
            self._need(node)

    def resolve(self, node: Node) -> None:
        """Take in that a task has a value; so has the one that it goes on for, and so on."""
        while True:
            node.state = State.DONE
            self._release(node)
            self._forget_needs(node)
            self._settled(node)
            creator = node.frame.creator
            if node is not node.frame.nodes[-1]:
                return
            if creator is None:
                self.end(Ending("SUCCESSFUL", node))
                return
            creator.report, creator.value, creator.final, creator.inner = node.report, node.value, node.final, None
            self._drop(node)
            node = creator

    def _expand(self, node: Node, graph: GraphSpec) -> None:
        node.state = State.EXPANDED
        self._surprising.add(node.spec.function)
        frame = node.inner = self._open(graph, node)
        if frame.links and frame.links % _STRIDE == 0 and node.checkpoint and frame.head is not node:
            assert frame.head is not None
            self._reach(frame.head, node.final, frame.links)

    def _fail(self, node: Node, error: BaseException) -> None:
        """Let the nearest task catch an exception that this one went on for; else the workflow fails."""
        catcher = node.frame.creator
        while catcher is not None and not catcher.catches:
            catcher = catcher.frame.creator
        if catcher is None or isinstance(error, RayError) or not isinstance(error, Exception):
            self.end(Ending("FAILED", error=error, task=node.spec.name))
            return
        self._abandon(catcher)
        self._catch(catcher, node, error)

    def _abandon(self, node: Node) -> None:
        """Stop all that goes on in the place of a task."""
        stack = [node.inner]
        while stack:
            frame = stack.pop()
            if frame is None:
                continue
            frame.dead = True
            for inside in frame.nodes:
                stack.append(inside.inner)
                if inside in self.running:
                    self._submission.cancel(inside)

    def _broken(self, node: Node, error: BaseException) -> None:
        """A task could not run, or its report was lost; what it takes is got anew if that is why."""
        node.reloads += 1
        is_over = not _is_loss(error) and not (node.is_isolated and isinstance(error, ActorDiedError))
        if node.reloads > _RELOADS or is_over:
            cause = getattr(error, "cause", None)
            if isinstance(cause, StorageError):
                self.end(Ending("FAILED", error=cause, task=node.spec.name))
            else:
                self._fail(node, error)
            return
        if node.key in self._stored or node.state is State.DONE:
            self._recalls.append(node)
            return
        for need in node.needs():
            if need.state is State.DONE:
                need.state = State.IDLE
                if need.checkpoint:
                    self._stored.add(need.key)
                self._need(need)
        self._schedule(node)

    # -- ends

    def end(self, ending: Ending) -> None:
        """Stop everything; the ending is told when nothing runs any more."""
        if self._ending is not None:
            return
        self._ending = ending
        self._ready.clear()
        self._recalls.clear()
        for node in self.running:
            self._submission.cancel(node)
        self._end_if_quiet()

    def _end_if_quiet(self) -> None:
        if self._ending is not None and not self.running:
            ended, self._ended = self._ended, _nothing
            ended(self._ending)

    # -- what is ready

    def _open(self, graph: GraphSpec, creator: Node | None) -> Frame:
        frame = Frame(graph, creator, self._checkpoint)
        for node in frame.nodes:
            self._named(node)
        output = frame.nodes[-1]
        output.users += 1
        self._need(output)
        return frame

    def _need(self, node: Node) -> None:
        """Let a task run, or be read, and before it whatever it needs that is not stored."""
        wanted, stack = {node}, [node]
        while stack:
            one = stack.pop()
            if one.key in self._stored:
                continue
            for need in one.needs():
                if need.state is State.IDLE and need not in wanted:
                    wanted.add(need)
                    stack.append(need)
        nodes = node.frame.nodes if len(wanted) > 1 else [node]
        for one in nodes:
            if one not in wanted:
                continue
            if one.key in self._stored:
                one.state = State.READY
                one.final, one.links = self._reached.pop(one.key, (one.final, one.links))
                self._recalls.append(one)
            else:
                self._schedule(one)

    def _schedule(self, node: Node) -> None:
        """Let a task be submitted as soon as all that it needs is; an isolated one when it has that.

        Ray gives an actor its resources at once, also if what it is to run waits for tasks that have none.
        """
        node.state, node.lacks = State.WAITING, 0
        node.final, node.links = node.key, 0
        for need in node.needs():
            if not node.counted:
                need.users += 1
            if need.state is not State.DONE and (node.is_isolated or not self._is_promised(need)):
                need.waiters.append(node)
                node.lacks += 1
        node.counted = True
        if not node.lacks:
            node.state = State.READY
            self._ready.append(node)

    def _is_promised(self, node: Node) -> bool:
        is_expected = node.spec.function not in self._surprising or node.key in self._stored
        return node.state is State.RUNNING and is_expected

    def _release(self, node: Node) -> None:
        """Let those who wait for a task take it, or the promise of it."""
        waiters, node.waiters = node.waiters, []
        for waiter in waiters:
            if waiter.is_isolated and node.state is not State.DONE:
                node.waiters.append(waiter)
                continue
            waiter.lacks -= 1
            if not waiter.lacks and waiter.state is State.WAITING:
                waiter.state = State.READY
                self._ready.append(waiter)

    def _forget_needs(self, node: Node) -> None:
        """Drop the values that this task was the last to take."""
        if not node.counted:
            return
        node.counted = False
        for need in node.needs():
            self._drop(need)

    def _drop(self, node: Node) -> None:
        """One less takes the value of a task."""
        node.users -= 1
        if not node.users:
            node.report = node.value = None


def _is_loss(error: BaseException) -> bool:
    """Whether an object was lost, on whatever way that is told."""
    while error is not None:
        if isinstance(error, ObjectLostError):
            return True
        error = error.cause if hasattr(error, "cause") else None  # type: ignore[assignment]
    return False


def _nothing(_: Ending) -> None:
    pass
