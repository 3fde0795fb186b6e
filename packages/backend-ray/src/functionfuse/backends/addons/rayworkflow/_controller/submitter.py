"""The tasks that Ray has: how they are submitted, and how they ended."""

from __future__ import annotations

import pickle
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import ray

from functionfuse.backends.builtin._ray.cancellation import cancel_tasks

from .._dag.spec import WAITS
from .._graph.task import execute_graph
from .._records.references import read_object, remote
from .._worker.calls import TaskCall, TaskReferences, TaskReport
from .._worker.reading import read_results
from .._worker.task import execute
from .._worker.task_actor import task_actor
from .._worker.wait_actor import WaitActor
from . import logs

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable
    from concurrent.futures import Future

    from .._dag.serialization import Reference
    from .._dag.spec import TaskSpec
    from .._records.environment import TaskEnvironment
    from .._records.journal import Journal
    from .._records.references import RecordLocation
    from .tasks import TaskNode

    Receive = Callable[[TaskNode, TaskReport | BaseException], None]


_SHORT = 4096  # bytes of a function that is sent along with each task
_CANCELLED_AGAIN = 2.0  # seconds


class SubmissionWindow:
    """What all workflows of a cluster share: the wait actor, and how many tasks Ray has.

    Args:
        loop: where endings are taken in.
        most: tasks that Ray has at a time.
        resumed: called when there is room for further tasks.
    """

    def __init__(self, loop: AbstractEventLoop, most: int, resumed: Callable[[], None]) -> None:
        self.loop = loop
        self.room = most
        self.resumed = resumed
        self._wait_actor: Any = None
        self._report_stored: deque[tuple[Callable[[Any], None], Future[Any]]] = deque()
        self._is_waking = False
        self._tasks: dict[tuple[Any, ...], Any] = {}

    @property
    def wait_actor(self) -> Any:
        """The actor in which all waits take place."""
        if self._wait_actor is None:
            kind = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, max_concurrency=100_000)(WaitActor)
            self._wait_actor = kind.remote()
        return self._wait_actor

    def task(self, spec: TaskSpec, more: dict[str, Any]) -> Any:
        """Return our wrapper with the options of a task, and more of them.

        Args:
            spec: the task.
            more: further options of Ray, which those of the task replace.
        """
        options = spec.options
        kind = spec.kind, spec.function, repr(options.ray_options), options.max_retries, repr(more)
        if kind not in self._tasks:
            named = {"name": spec.name, **more, **options.ray_options, "max_retries": options.max_retries}
            self._tasks[kind] = remote(execute if spec.kind == "task" else execute_graph).options(
                num_returns=2, **named
            )
        return self._tasks[kind]

    def watch(self, reference: Reference, ended: Callable[[Any], None]) -> None:
        """Call a function in the loop with what a task reports, or with the exception that Ray has for it.

        Args:
            reference: to the report.
            ended: the callback.
        """
        self.room -= 1
        reference.future().add_done_callback(partial(self._from_elsewhere, ended))

    def _from_elsewhere(self, ended: Callable[[Any], None], future: Future[Any]) -> None:
        self._report_stored.append((ended, future))
        if not self._is_waking:  # else the loop comes to it
            self._is_waking = True
            self.loop.call_soon_threadsafe(self._receive_ended)

    def _receive_ended(self) -> None:
        self._is_waking = False
        while self._report_stored:
            ended, future = self._report_stored.popleft()
            self.room += 1
            error = future.exception()
            self.loop.call_soon(ended, pickle.loads(future.result()) if error is None else error)
        self.loop.call_soon(self.resumed)


class RayTaskSubmitter:
    """The tasks of one workflow in Ray.

    Args:
        journal: of the workflow.
        location: the same, for workers.
        window: what all workflows share.
        environment: of the tasks.
        log_of: the record of the log that holds the result of a task.
    """

    def __init__(
        self,
        journal: Journal,
        location: RecordLocation,
        window: SubmissionWindow,
        environment: TaskEnvironment,
        log_of: Callable[[str], str],
    ) -> None:
        self._log_of = log_of
        self._environment = environment
        self._journal = journal
        self._location = location
        self._window = window
        self._functions: dict[str, tuple[bytes, Reference | None]] = {}
        self._objects: dict[str, Reference] = {}
        self._actor_handles: dict[TaskNode, Any] = {}
        self._pending: set[TaskNode] = set()

    def execute(self, node: TaskNode, ended: Receive) -> None:
        """Submit a task, with references to the results that it takes.

        Args:
            node: the task.
            ended: called when it has ended.
        """
        spec, needs = node.spec, node.needs()
        code, long_code = self._function(spec.function) if spec.kind == "task" else (b"", None)
        references: list[TaskReferences] = []
        if spec.inner or spec.objects or long_code is not None:
            inner = [need.value if index in spec.inner else None for index, need in enumerate(needs)]
            references.append(TaskReferences(inner, [self._object(sha) for sha in spec.objects], long_code))
        call = TaskCall(
            self._location, node.key, spec.name, spec.function, node.checkpoint, node.catches,
            spec.options.max_retries + 1, spec.options.retry_exceptions, spec.direct,
            spec.arguments, code, self._environment.driver, bool(references),
        )  # fmt: skip
        arguments = [need.value if index in spec.direct else need.report for index, need in enumerate(needs)]
        node.value, node.report = self._sender(node)(pickle.dumps(call), *references, *arguments)
        self._watch(node, ended)
        logs.running(self._location.workflow_id, spec.name)

    def _watch(self, node: TaskNode, ended: Receive) -> None:
        assert node.report is not None
        self._pending.add(node)
        self._window.watch(node.report, partial(self._receive_ended, node, ended))

    def _sender(self, node: TaskNode) -> Callable[..., Any]:
        spec = node.spec
        if spec.kind in WAITS:
            return getattr(self._window.wait_actor, spec.kind).options(num_returns=2).remote  # type: ignore[no-any-return]
        if not node.is_isolated:
            sender: Callable[..., Any] = self._window.task(spec, self._environment.options).remote
            return sender
        options = {**self._environment.options, **spec.options.ray_options, "max_retries": spec.options.max_retries}
        self._actor_handles[node] = task_actor(self._location, node.key, options)
        return self._actor_handles[node].execute.options(num_returns=2).remote  # type: ignore[no-any-return]

    def _receive_ended(self, node: TaskNode, ended: Receive, report: TaskReport | BaseException) -> None:
        self._pending.discard(node)
        actor = self._actor_handles.pop(node, None)
        if actor is not None and isinstance(report, TaskReport) and report.ended in ("value", "graph"):
            ray.kill(actor)
        if isinstance(report, TaskReport) and report.attempts > 1:
            logs.retried(self._location.workflow_id, node.spec, report.attempts)
        ended(node, report)

    def read_result(self, nodes: list[TaskNode], ended: Receive) -> None:
        """Let stored results be read, many of them by one task.

        Args:
            nodes: the tasks whose results they are.
            ended: called for each of them.
        """
        many = remote(read_results).options(num_returns=2 * len(nodes))
        keys = [node.final for node in nodes]
        references = many.remote(self._location, keys, list(map(self._log_of, keys)))
        for node, report, value in zip(nodes, references, references[len(nodes) :], strict=False):
            node.report, node.value = report, value
            self._watch(node, ended)

    def cancel(self, node: TaskNode) -> None:
        """Stop a task, whatever it does, unless it ends at once; again for one that began just then, which goes on."""
        if node not in self._pending:
            return
        assert node.report is not None
        if node in self._actor_handles:
            ray.kill(self._actor_handles[node])
        else:
            cancel_tasks([node.report], force=node.spec.kind not in WAITS)
        self._window.loop.call_later(_CANCELLED_AGAIN, self.cancel, node)

    def _function(self, sha: str) -> tuple[bytes, Reference | None]:
        """Return the pickle of a function, or a reference to a long one."""
        if sha not in self._functions:
            pickled = self._journal.require(f"fn/{sha}", "a function")[1]
            self._functions[sha] = (pickled, None) if len(pickled) <= _SHORT else (b"", ray.put(pickled))
        return self._functions[sha]

    def _object(self, sha: str) -> Reference:
        if sha not in self._objects:
            self._objects[sha] = remote(read_object).remote(self._location, sha)
        return self._objects[sha]
