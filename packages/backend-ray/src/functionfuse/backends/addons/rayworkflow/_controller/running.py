"""A workflow that is to run, runs, and ends; and those who wait for its outputs."""

from __future__ import annotations

import asyncio
import pickle
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import ray

from functionfuse.errors import StorageError

from .._dag.serialization import pack_error, unpack_error
from .._records.references import Place
from .._records.results import Log
from .._records.retention import FINAL, keep_final
from .._worker.task import Report, about
from ..common import WorkflowStatus
from ..exceptions import WorkflowCancellationError, WorkflowStillActiveError
from . import lease, logs
from .commits import Commits
from .output import Output, failure, stored_output
from .scheduler import Execution
from .submission import Submission
from .tasks import Ending

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .._records.workflow import StoredWorkflow
    from .settings import Settings
    from .submission import Workers
    from .tasks import Node


class Means(NamedTuple):
    """What the workflows of an engine share.

    Attributes:
        settings: of the engine.
        owner: who holds the leases.
        workers: to whom tasks are handed.
        submit: lets tasks be submitted that are ready now.
        keep: lets a coroutine run in the engine's loop.
    """

    settings: Settings
    owner: lease.Owner
    workers: Workers
    submit: Callable[[], None]
    keep: Callable[[Coroutine[Any, Any, None]], None]


class Active:
    """One workflow of an engine; all methods run in the engine's loop.

    Args:
        stored: its records.
        runtime_env: of its tasks.
        means: what it shares with others.
        retaken: whether a former process of this actor ran it.

    Attributes:
        journal: its records, too.
        status: PENDING or RUNNING, or CANCELED before it ran.
        epoch: since which this process runs it.
        execution: once it runs.
        ended: how it ended, in the future.
    """

    def __init__(self, stored: StoredWorkflow, runtime_env: dict[str, Any], means: Means, *, retaken: bool) -> None:
        self.stored = stored
        self.journal = stored.journal
        self.workflow_id = stored.workflow_id
        self.retaken = retaken
        self.status = WorkflowStatus.PENDING
        self.epoch = 0
        self.execution: Execution | None = None
        self.ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._runtime_env = runtime_env
        self._means = means
        self._place = Place(means.settings.store, stored.workflow_id, stored.journal.run)
        self._commits: Commits | None = None
        self._nodes: dict[str, Node] = {}  # by name and key, the first one
        self._asked: dict[str, list[asyncio.Future[Output]]] = {}  # by task, those who wait for its value

    # -- from its beginning to its end

    async def run(self) -> Ending:
        """Run to the end, and store how that came."""
        ending = Ending("CANCELED")
        if self.status is WorkflowStatus.PENDING:
            self.status = WorkflowStatus.RUNNING
            logs.started(self.workflow_id)
            ending = await self._execute()
        try:
            if not await asyncio.to_thread(lease.is_held, self.journal, self._means.owner, self.epoch):
                raise WorkflowStillActiveError("RUN", self.workflow_id)
            await asyncio.to_thread(self.stored.end, self.epoch, ending.stored())
        except StorageError:
            if ending.error is None:
                raise
            logs.logger.exception("It cannot be stored that workflow %s failed", self.workflow_id)
        if self._means.settings.retention == FINAL and ending.output is not None:
            with suppress(StorageError):
                await asyncio.to_thread(keep_final, self.journal, ending.output.final)
        return ending

    async def _execute(self) -> Ending:
        log = Log(self.journal, self.epoch)
        await asyncio.to_thread(log.open)
        known = await asyncio.to_thread(log.tasks) if self.epoch > 1 else []
        reached = await asyncio.to_thread(self.stored.reached) if known else {}
        quiet: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._commits = Commits(log, self._fail)
        self.execution = Execution(
            pickle.loads(self.stored.graph),
            checkpoint=self._means.settings.checkpoint,
            stored=known,
            reached=reached,
            submission=Submission(self.journal, self._place, self._means.workers, self._runtime_env, log.log_of),
            ended=quiet.set_result,
            commit=self._commit,
            reach=self._reach,
            catch=self._catch,
            named=self._name,
            settled=self._settled,
        )
        if self.status is WorkflowStatus.CANCELED:  # while its records were read
            self.cancel()
        self._means.submit()
        ending = await quiet
        await self._commits.flushed()
        return ending

    def cancel(self) -> None:
        """Stop what runs; what has not begun does not begin."""
        if self.execution is None:
            self.status = WorkflowStatus.CANCELED
        else:
            self.execution.end(Ending("CANCELED"))

    def end(self, ending: Ending) -> None:
        """Tell everybody who waits."""
        logs.ended(self.workflow_id, ending.status, ending.task, ending.error)
        self.ended.set_result(ending)
        for task, futures in self._asked.items():
            self._means.keep(self._answer_late(task, futures, ending))

    # -- what happens to tasks

    def _name(self, node: Node) -> None:
        self._nodes.setdefault(node.spec.name, node)
        self._nodes.setdefault(node.key, node)

    def _settled(self, node: Node) -> None:
        logs.successful(self.workflow_id, node.spec.name)
        for name in (node.spec.name, node.key):
            if self._asked and self._nodes.get(name) is node:
                for asked in self._asked.pop(name, ()):
                    self._means.keep(self._answer(asked, node))

    def _commit(self, node: Node, report: Report) -> None:
        """Store a value that a worker left to the controller."""
        assert self._commits is not None
        self._commits.add(node.key, report.data, about(node.spec.name, report))

    def _fail(self, error: Exception) -> None:
        """End, as results cannot be stored."""
        assert self.execution is not None
        self.execution.end(Ending("FAILED", error=error))

    def _reach(self, head: Node, key: str, links: int) -> None:
        """Write down how far a recursion came, so that it goes on from there; without, it goes on link by link."""

        async def store() -> None:
            with suppress(StorageError):
                put = partial(self.journal.put, f"link/{head.key}/{links:08d}", "link", key)
                await asyncio.to_thread(put)

        self._means.keep(store())

    def _catch(self, node: Node, source: Node, error: BaseException) -> None:
        """Store the exception that a task caught from its graph, then go on with it."""
        logs.caught(self.workflow_id, source.spec.name, node.spec.name)

        async def store() -> None:
            packed = pack_error(error)
            assert self.execution is not None
            try:
                record = await asyncio.to_thread(self.journal.put_or_get, f"caught/{node.key}", "caught", packed)
            except StorageError as problem:
                self.execution.end(Ending("FAILED", error=problem, task=node.spec.name))
                return
            node.report = ray.put(pickle.dumps(Report("value")))
            node.value = ray.put((None, unpack_error(record[1])))
            self.execution.resolve(node)
            self._means.submit()

        self._means.keep(store())

    # -- outputs

    async def output(self, task: str | None) -> Output:
        """Return the output, or that of a task, once it is stored."""
        if task is None:
            return self._result(await asyncio.shield(self.ended))
        node = self._nodes.get(task)
        if node is not None and node.state.name == "DONE":
            return await self._output_of(node)
        asked: asyncio.Future[Output] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(task, []).append(asked)
        return await asked

    async def _output_of(self, node: Node) -> Output:
        assert self._commits is not None
        await self._commits.flushed()
        return Output(node.value, self._place, node.final)

    async def _answer(self, asked: asyncio.Future[Output], node: Node) -> None:
        try:
            _tell([asked], await self._output_of(node))
        except Exception as error:
            _tell([asked], error)

    async def _answer_late(self, task: str, futures: list[asyncio.Future[Output]], ending: Ending) -> None:
        """Answer those who asked for a task that did not come up; it may be stored from a run before."""
        try:
            _tell(futures, await asyncio.to_thread(stored_output, self.stored, self._place, task))
        except (ValueError, StorageError):
            said = f"Workflow {self.workflow_id!r} ended ({ending.status}) without this task's output"
            _tell(futures, ValueError(said))

    def _result(self, ending: Ending) -> Output:
        if ending.status == "CANCELED":
            raise WorkflowCancellationError(self.workflow_id)
        if ending.error is not None:
            raise failure(self.workflow_id, ending.task, ending.error)
        assert ending.output is not None
        return Output(ending.output.value, self._place, ending.output.final)


def _tell(futures: list[asyncio.Future[Output]], answer: Output | Exception) -> None:
    for asked in futures:
        if asked.done():  # nobody waits any more
            continue
        if isinstance(answer, Exception):
            asked.set_exception(answer)
        else:
            asked.set_result(answer)
