"""A workflow that is to run, runs, and ends; and those who wait for its outputs."""

from __future__ import annotations

import asyncio
import pickle
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import ray

from functionfuse.backends.serialization import deserialized_error
from functionfuse.errors import StorageError

from .._dag.serialization import SERIALIZER
from .._records.references import RecordLocation
from .._records.results import ResultLog
from .._records.retention import FINAL, keep_final
from .._worker.calls import TaskReport
from .._worker.task import result_metadata
from ..common import WorkflowStatus
from ..exceptions import WorkflowCancellationError, WorkflowStillActiveError
from . import lease, logs
from .grouped_commits import GroupedCommits
from .outputs import Output, failure, stored_output
from .scheduler import Scheduler
from .submitter import RayTaskSubmitter
from .tasks import WorkflowOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .._records.environment import TaskEnvironment
    from .._records.workflow import StoredWorkflow
    from .settings import ControllerSettings
    from .submitter import SubmissionWindow
    from .tasks import TaskNode


class SharedServices(NamedTuple):
    """What the workflows of an engine share.

    Attributes:
        settings: of the engine.
        owner: who holds the leases.
        window: where tasks are submitted.
        submit: lets tasks be submitted that are ready now.
        run_in_loop: lets a coroutine run in the engine's loop.
    """

    settings: ControllerSettings
    owner: lease.LeaseOwner
    window: SubmissionWindow
    submit: Callable[[], None]
    run_in_loop: Callable[[Coroutine[Any, Any, None]], None]


class RunningWorkflow:
    """One workflow of an engine; all methods run in the engine's loop.

    Args:
        stored: its records.
        environment: of its tasks.
        services: what it shares with others.
        recovered: whether a former process of this actor ran it.

    Attributes:
        journal: its records, too.
        status: PENDING or RUNNING, or CANCELED before it ran.
        epoch: since which this process runs it.
        scheduler: once it runs.
        ended: how it ended, in the future.
        is_awaited: whether a driver has asked for its output.
    """

    def __init__(
        self, stored: StoredWorkflow, environment: TaskEnvironment, services: SharedServices, *, recovered: bool
    ) -> None:
        self.stored = stored
        self.journal = stored.journal
        self.workflow_id = stored.workflow_id
        self.recovered = recovered
        self.status = WorkflowStatus.PENDING
        self.epoch = 0
        self.is_awaited = False
        self.scheduler: Scheduler | None = None
        self.ended: asyncio.Future[WorkflowOutcome] = asyncio.get_running_loop().create_future()
        self._environment = environment
        self._services = services
        self._location = RecordLocation(services.settings.store, stored.workflow_id, stored.journal.run)
        self._grouped_commits: GroupedCommits | None = None
        self._nodes: dict[str, TaskNode] = {}  # by name and key, the first one
        self._output_futures: dict[str, list[asyncio.Future[Output]]] = {}  # by task, those who wait for its value

    # -- from its beginning to its end

    async def run(self) -> WorkflowOutcome:
        """Run to the end, and store how that came."""
        outcome = WorkflowOutcome("CANCELED")
        if self.status is WorkflowStatus.PENDING:
            self.status = WorkflowStatus.RUNNING
            logs.started(self.workflow_id)
            outcome = await self._execute()
        try:
            if not await asyncio.to_thread(lease.is_held, self.journal, self._services.owner, self.epoch):
                raise WorkflowStillActiveError("RUN", self.workflow_id)
            await asyncio.to_thread(self.stored.end, self.epoch, outcome.stored())
        except StorageError:
            if outcome.error is None:
                raise
            logs.logger.exception("It cannot be stored that workflow %s failed", self.workflow_id)
        if self._services.settings.retention == FINAL and outcome.output is not None:
            with suppress(StorageError):
                await asyncio.to_thread(keep_final, self.journal, outcome.output.final)
        return outcome

    async def _execute(self) -> WorkflowOutcome:
        log = ResultLog(self.journal, self.epoch)
        await asyncio.to_thread(log.open)
        known = await asyncio.to_thread(log.tasks) if self.epoch > 1 else []
        reached = await asyncio.to_thread(self.stored.reached) if known else {}
        finished: asyncio.Future[WorkflowOutcome] = asyncio.get_running_loop().create_future()
        self._grouped_commits = GroupedCommits(log, self._fail)
        self.scheduler = Scheduler(
            pickle.loads(self.stored.graph),
            checkpoint=self._services.settings.checkpoint,
            stored=known,
            reached=reached,
            submitter=RayTaskSubmitter(
                self.journal, self._location, self._services.window, self._environment, log.log_of
            ),
            ended=finished.set_result,
            commit=self._commit,
            record_link=self._record_link,
            catch=self._catch,
            named=self._name,
            settled=self._settled,
        )
        if self.status is WorkflowStatus.CANCELED:  # while its records were read
            self.cancel()
        self._services.submit()
        outcome = await finished
        await self._grouped_commits.flushed()
        return outcome

    def cancel(self) -> None:
        """Stop what runs; what has not begun does not begin."""
        if self.scheduler is None:
            self.status = WorkflowStatus.CANCELED
        else:
            self.scheduler.end(WorkflowOutcome("CANCELED"))

    def end(self, outcome: WorkflowOutcome) -> None:
        """Resolve the futures of all who wait."""
        logs.ended(self.workflow_id, outcome.status, outcome.task, outcome.error)
        self.ended.set_result(outcome)
        for task, futures in self._output_futures.items():
            self._services.run_in_loop(self._resolve_from_store(task, futures, outcome))

    # -- what happens to tasks

    def _name(self, node: TaskNode) -> None:
        self._nodes.setdefault(node.spec.name, node)
        self._nodes.setdefault(node.key, node)

    def _settled(self, node: TaskNode) -> None:
        logs.successful(self.workflow_id, node.spec.name)
        for name in (node.spec.name, node.key):
            if self._output_futures and self._nodes.get(name) is node:
                for future in self._output_futures.pop(name, ()):
                    self._services.run_in_loop(self._resolve_later(future, node))

    def _commit(self, node: TaskNode, report: TaskReport) -> None:
        """Store a value that a worker left to the controller."""
        assert self._grouped_commits is not None
        self._grouped_commits.add(node.key, report.data, result_metadata(node.spec.name, report))

    def _fail(self, error: Exception) -> None:
        """End, as results cannot be stored."""
        assert self.scheduler is not None
        self.scheduler.end(WorkflowOutcome("FAILED", error=error))

    def _record_link(self, head: TaskNode, key: str, links: int) -> None:
        """Write down how far a recursion came, so that it goes on from there; without, it goes on link by link."""

        async def store() -> None:
            with suppress(StorageError):
                put = partial(self.journal.put, f"link/{head.key}/{links:08d}", "link", key)
                await asyncio.to_thread(put)

        self._services.run_in_loop(store())

    def _catch(self, node: TaskNode, source: TaskNode, error: BaseException) -> None:
        """Store the exception that a task caught from its graph, then go on with it."""
        logs.caught(self.workflow_id, source.spec.name, node.spec.name)

        async def store() -> None:
            serialized = SERIALIZER.error(error)
            assert self.scheduler is not None
            try:
                record = await asyncio.to_thread(self.journal.put_or_get, f"caught/{node.key}", "caught", serialized)
            except StorageError as problem:
                self.scheduler.end(WorkflowOutcome("FAILED", error=problem, task=node.spec.name))
                return
            node.report = ray.put(pickle.dumps(TaskReport("value")))
            node.value = ray.put((None, deserialized_error(record[1])))
            self.scheduler.resolve(node)
            self._services.submit()

        self._services.run_in_loop(store())

    # -- outputs

    async def output(self, task: str | None) -> Output:
        """Return the output, or that of a task, once it is stored."""
        if task is None:
            self.is_awaited = True
            return self._result(await asyncio.shield(self.ended))
        node = self._nodes.get(task)
        if node is not None and node.state.name == "DONE":
            return await self._output_of(node)
        future: asyncio.Future[Output] = asyncio.get_running_loop().create_future()
        self._output_futures.setdefault(task, []).append(future)
        return await future

    async def _output_of(self, node: TaskNode) -> Output:
        assert self._grouped_commits is not None
        await self._grouped_commits.flushed()
        return Output(node.value, self._location, node.final)

    async def _resolve_later(self, future: asyncio.Future[Output], node: TaskNode) -> None:
        try:
            _resolve([future], await self._output_of(node))
        except Exception as error:
            _resolve([future], error)

    async def _resolve_from_store(
        self, task: str, futures: list[asyncio.Future[Output]], outcome: WorkflowOutcome
    ) -> None:
        """Resolve the futures of a task that did not run; it may be stored from a run before."""
        try:
            _resolve(futures, await asyncio.to_thread(stored_output, self.stored, self._location, task))
        except Exception as error:
            _resolve(futures, self._problem(outcome) or error)

    def _result(self, outcome: WorkflowOutcome) -> Output:
        problem = self._problem(outcome)
        if problem is not None:
            raise problem
        assert outcome.output is not None
        return Output(outcome.output.value, self._location, outcome.output.final)

    def _problem(self, outcome: WorkflowOutcome) -> Exception | None:
        """Return the error of a workflow that was not successful."""
        if outcome.status == "CANCELED":
            return WorkflowCancellationError(self.workflow_id)
        return None if outcome.error is None else failure(self.workflow_id, outcome.task, outcome.error)


def _resolve(futures: list[asyncio.Future[Output]], answer: Output | Exception) -> None:
    for future in futures:
        if future.done():  # nobody waits any more
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
