"""One workflow being executed: which tasks are to run, which run, and what follows from how they end.

Tasks are submitted ahead of those that they need, with references as arguments: Ray orders them. A task that finds
that something it needs has no value, because it failed or returned a graph, reports that it is blocked, and is
submitted again later. All of this happens in one thread, that of the engine's loop; walks are loops, so that chains
and recursions may be of any depth.
"""

from __future__ import annotations

import pickle
from collections import deque
from typing import TYPE_CHECKING

from ray.exceptions import ActorDiedError, ObjectLostError, RayTaskError

from functionfuse.backends.serialization import deserialized_error
from functionfuse.errors import CorruptRecord, StorageError

from ..exceptions import WorkflowTaskNotRecoverableError
from .tasks import TaskGraph, TaskNode, TaskState, WorkflowOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .._dag.spec import Checkpoint, GraphSpec
    from .._worker.calls import TaskReport
    from .submitter import RayTaskSubmitter

_RELOADS = 5  # of what a task needs, when objects are lost
_STRIDE = 100  # links of a recursion between two that are written down


class Scheduler:
    """The state of one workflow that is executed.

    Args:
        graph: what to execute.
        checkpoint: how results are stored where a task does not set it.
        stored: keys of tasks whose results are stored.
        reached: of such tasks that are deep recursions, the key of a late link, and how many are before it.
        submitter: hands tasks to Ray.
        ended: called once with the ending, when nothing runs any more.
        commit: stores a value that a worker left to the controller.
        record_link: notes a late link of a recursion, as in ``reached``.
        catch: stores an exception that a task caught from another one, and then calls `resolve`.
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
        submitter: RayTaskSubmitter,
        ended: Callable[[WorkflowOutcome], None],
        commit: Callable[[TaskNode, TaskReport], None],
        record_link: Callable[[TaskNode, str, int], None],
        catch: Callable[[TaskNode, TaskNode, BaseException], None],
        named: Callable[[TaskNode], None],
        settled: Callable[[TaskNode], None],
    ) -> None:
        self._stored = set(stored)
        self._submitter = submitter
        self._ended = ended
        self._checkpoint = checkpoint
        self._commit = commit
        self._reached = dict(reached)
        self._record_link = record_link
        self._catch = catch
        self._named = named
        self._settled = settled
        self._ready: deque[TaskNode] = deque()
        self._reads: deque[TaskNode] = deque()
        self._expanding: set[str] = set()
        self._outcome: WorkflowOutcome | None = None
        self.running: set[TaskNode] = set()
        self.root = self._open(graph, None)

    @property
    def has_ready(self) -> bool:
        """Return True if a task could be submitted."""
        return self._outcome is None and bool(self._ready or self._reads)

    # -- out

    def submit(self, most: int) -> None:
        """Submit up to this many tasks that are ready."""
        while self._reads and most > 0 and self._outcome is None:
            batch = [self._reads.popleft() for _ in range(min(len(self._reads), most, 100))]
            batch = [node for node in batch if not node.task_graph.is_abandoned]
            most -= len(batch)
            self._started(batch)
            self._submitter.read_result(batch, self.receive)
            for node in batch:
                self._release(node)
        while self._ready and most > 0 and self._outcome is None:
            node = self._ready.popleft()
            if node.task_graph.is_abandoned or node.state is not TaskState.READY:
                continue
            most -= 1
            try:
                self._submitter.execute(node, self.receive)
            except StorageError as error:  # its function cannot be read
                name, is_away = node.spec.name, not isinstance(error, CorruptRecord)
                problem = error if is_away else WorkflowTaskNotRecoverableError(name, str(error))
                self.end(WorkflowOutcome("FAILED", error=problem, task=name))
                return
            self._started([node])
            if node.spec.function not in self._expanding:
                self._release(node)

    def _started(self, nodes: list[TaskNode]) -> None:
        for node in nodes:
            node.state = TaskState.RUNNING
            self.running.add(node)

    # -- in

    def receive(self, node: TaskNode, report: TaskReport | BaseException) -> None:
        """Take in how a task ended: what it reported, or what became of it in Ray.

        Args:
            node: the task.
            report: how it ended.
        """
        self.running.discard(node)
        if self._outcome is not None or node.task_graph.is_abandoned:
            self._finish_if_idle()
            return
        if isinstance(report, BaseException):
            self._reload(node, report)
        elif report.ended == "value":
            if report.data:
                self._commit(node, report)
            self.resolve(node)
        elif report.ended == "graph":
            self._expand(node, pickle.loads(report.data))
        elif report.ended in ("unstored", "crashed"):
            self.end(WorkflowOutcome("FAILED", error=deserialized_error(report.data), task=node.spec.name))
        elif report.ended == "error":
            error = deserialized_error(report.data)
            if _is_loss(error):
                self._reload(node, error)
            else:
                self._fail(node, error)
        elif report.ended == "blocked":
            self._schedule(node)
        else:  # what was listed as stored is damaged
            if node.final == node.key:
                self._stored.discard(node.key)
            node.final, node.links = node.key, 0
            node.state = TaskState.IDLE
            self._need(node)

    def resolve(self, node: TaskNode) -> None:
        """Take in that a task has a value; so has the one that it goes on for, and so on."""
        while True:
            node.state = TaskState.DONE
            self._release(node)
            self._forget_needs(node)
            self._settled(node)
            creator = node.task_graph.creator
            if node is not node.task_graph.nodes[-1]:
                return
            if creator is None:
                self.end(WorkflowOutcome("SUCCESSFUL", node))
                return
            creator.report, creator.value, creator.final, creator.inner = node.report, node.value, node.final, None
            self._drop(node)
            node = creator

    def _expand(self, node: TaskNode, graph: GraphSpec) -> None:
        node.state = TaskState.EXPANDED
        self._expanding.add(node.spec.function)
        task_graph = node.inner = self._open(graph, node)
        if task_graph.links and task_graph.links % _STRIDE == 0 and node.checkpoint and task_graph.head is not node:
            assert task_graph.head is not None
            self._record_link(task_graph.head, node.final, task_graph.links)

    def _fail(self, node: TaskNode, error: BaseException) -> None:
        """Let the nearest task catch an exception that a function raised; else the workflow fails."""
        catcher: TaskNode | None = node
        while catcher is not None and not catcher.catches:
            catcher = catcher.task_graph.creator
        if catcher is None:
            self.end(WorkflowOutcome("FAILED", error=error, task=node.spec.name))
            return
        self._abandon(catcher)
        self._catch(catcher, node, error)

    def _abandon(self, node: TaskNode) -> None:
        """Stop all that goes on in the place of a task."""
        stack = [node.inner]
        while stack:
            task_graph = stack.pop()
            if task_graph is None:
                continue
            task_graph.is_abandoned = True
            for inside in task_graph.nodes:
                stack.append(inside.inner)
                if inside in self.running:
                    self._submitter.cancel(inside)

    def _reload(self, node: TaskNode, error: BaseException) -> None:
        """A task could not run, or its report was lost; what it takes is got anew if that is why."""
        node.reloads += 1
        is_over = not _is_loss(error) and not (node.is_isolated and isinstance(error, ActorDiedError))
        if node.reloads > _RELOADS or is_over:
            cause = getattr(error, "cause", None)
            if isinstance(error, RayTaskError) and not isinstance(cause, StorageError):
                self._fail(node, error)
            else:
                error = cause if isinstance(cause, StorageError) else error
                self.end(WorkflowOutcome("FAILED", error=error, task=node.spec.name))
            return
        if node.key in self._stored or node.state is TaskState.DONE:
            self._reads.append(node)
            return
        for need in node.needs():
            if need.state is TaskState.DONE:
                need.state = TaskState.IDLE
                if need.checkpoint:
                    self._stored.add(need.key)
                self._need(need)
        self._schedule(node)

    # -- ends

    def end(self, outcome: WorkflowOutcome) -> None:
        """Stop everything; the outcome is reported when nothing runs any more."""
        if self._outcome is not None:
            return
        self._outcome = outcome
        self._ready.clear()
        self._reads.clear()
        for node in self.running:
            self._submitter.cancel(node)
        self._finish_if_idle()

    def _finish_if_idle(self) -> None:
        if self._outcome is not None and not self.running:
            ended, self._ended = self._ended, _nothing
            ended(self._outcome)

    # -- what is ready

    def _open(self, graph: GraphSpec, creator: TaskNode | None) -> TaskGraph:
        task_graph = TaskGraph(graph, creator, self._checkpoint)
        for node in task_graph.nodes:
            self._named(node)
        output = task_graph.nodes[-1]
        output.consumers += 1
        self._need(output)
        return task_graph

    def _need(self, node: TaskNode) -> None:
        """Let a task run, or be read, and before it whatever it needs that is not stored."""
        wanted, stack = {node}, [node]
        while stack:
            one = stack.pop()
            if one.key in self._stored:
                continue
            for need in one.needs():
                if need.state is TaskState.IDLE and need not in wanted:
                    wanted.add(need)
                    stack.append(need)
        nodes = node.task_graph.nodes if len(wanted) > 1 else [node]
        for one in nodes:
            if one not in wanted:
                continue
            if one.key in self._stored:
                one.state = TaskState.READY
                one.final, one.links = self._reached.pop(one.key, (one.final, one.links))
                self._reads.append(one)
            else:
                self._schedule(one)

    def _schedule(self, node: TaskNode) -> None:
        """Let a task be submitted as soon as all that it needs is; an isolated one when it has that.

        Ray gives an actor its resources at once, also if what it is to run waits for tasks that have none.
        """
        node.state, node.missing = TaskState.WAITING, 0
        node.final, node.links = node.key, 0
        for need in node.needs():
            if not node.counted:
                need.consumers += 1
            if need.state is not TaskState.DONE and (node.is_isolated or not self._is_expected(need)):
                need.waiters.append(node)
                node.missing += 1
        node.counted = True
        if not node.missing:
            node.state = TaskState.READY
            self._ready.append(node)

    def _is_expected(self, node: TaskNode) -> bool:
        is_expected = node.spec.function not in self._expanding or node.key in self._stored
        return node.state is TaskState.RUNNING and is_expected

    def _release(self, node: TaskNode) -> None:
        """Let those who wait for a task take it, or the promise of it."""
        waiters, node.waiters = node.waiters, []
        for waiter in waiters:
            if waiter.is_isolated and node.state is not TaskState.DONE:
                node.waiters.append(waiter)
                continue
            waiter.missing -= 1
            if not waiter.missing and waiter.state is TaskState.WAITING:
                waiter.state = TaskState.READY
                self._ready.append(waiter)

    def _forget_needs(self, node: TaskNode) -> None:
        """Drop the values that this task was the last to take."""
        if not node.counted:
            return
        node.counted = False
        for need in node.needs():
            self._drop(need)

    def _drop(self, node: TaskNode) -> None:
        """One less takes the value of a task."""
        node.consumers -= 1
        if not node.consumers:
            node.report = node.value = None


def _is_loss(error: BaseException) -> bool:
    """Return True if an object was lost, however deep among the causes that stands."""
    while error is not None:
        if isinstance(error, ObjectLostError):
            return True
        error = error.cause if hasattr(error, "cause") else None  # type: ignore[assignment]
    return False


def _nothing(_: WorkflowOutcome) -> None:
    pass
