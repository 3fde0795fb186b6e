"""The engine: all workflows of a cluster, in one thread of one process."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any

from functionfuse.errors import CorruptRecord, StorageError, UnsupportedRecord

from .._records.changed_code import changed_code, refuse_changed, refuse_other
from .._records.environment import TaskEnvironment
from .._records.journal import Journal, deserialized_store, ids_with_events, stored_ids
from .._records.lease_records import latest_epoch
from .._records.references import RecordLocation, remote
from .._records.retention import expire, period
from .._records.submit_request import store_request
from .._records.workflow import StoredWorkflow, delete, unfinished_by
from ..common import WorkflowStatus
from ..exceptions import (
    WorkflowCancellationError,
    WorkflowExecutionError,
    WorkflowNotFoundError,
    WorkflowNotResumableError,
    WorkflowStillActiveError,
    missing_output,
)
from . import lease, logs
from .lease_guard import LeaseGuard
from .outputs import failure, has_output, stored_output
from .running import RunningWorkflow, SharedServices
from .submitter import SubmissionWindow
from .tasks import WorkflowOutcome

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from .._dag.spec import TaskSpec
    from .._records.submit_request import SubmitRequest
    from .outputs import Output
    from .scheduler import Scheduler
    from .settings import ControllerSettings

MOST_PENDING = 4_000
BATCH = 200  # tasks of one workflow that are submitted in one batch

_UNSTORED = 60.0  # seconds for which an output of memory alone is kept for the driver that ran the workflow


class Engine:
    """Runs workflows. All methods run in the engine's own loop.

    Args:
        settings: what was set when the controller was started.
        actor: see `Owner`.
    """

    def __init__(self, settings: ControllerSettings, actor: str) -> None:
        self.store = deserialized_store(settings.store)
        self._settings = settings
        self._owner = lease.LeaseOwner(self.store, actor, settings.lease)
        self._workflows: dict[str, RunningWorkflow] = {}
        self._unstored: dict[str, RunningWorkflow] = {}  # ended before their drivers asked for outputs of memory alone
        self._lease_guard = LeaseGuard(self.store, self._owner, self._workflows)
        self._pending: deque[RunningWorkflow] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_submitting = self._is_confirming = False
        self._not_recovered: StorageError | None = None
        self.loop = asyncio.new_event_loop()
        self._window = SubmissionWindow(self.loop, MOST_PENDING, self._submit)
        self._services = SharedServices(settings, self._owner, self._window, self._submit, self._run_in_loop)
        threading.Thread(target=self.loop.run_forever, daemon=True, name="workflows").start()
        if not isinstance(settings.retention, str):
            asyncio.run_coroutine_threadsafe(self._expire(settings.retention), self.loop)

    # -- what drivers call

    async def submit(self, request: SubmitRequest) -> None:
        """Store a workflow and let it run; one that is stored already is resumed instead."""
        workflow_id = request.workflow_id
        workflow = self._workflows.get(workflow_id)
        if workflow is not None and workflow.journal.run == request.run:
            return  # retried after a crash
        self._refuse_running(workflow_id)
        stored = await asyncio.to_thread(StoredWorkflow.find, self.store, workflow_id)
        if stored is None:
            self._refuse_full_queue()
            journal = Journal(self.store, workflow_id, request.run)
            await asyncio.to_thread(store_request, journal, self._location(journal), request)
            stored = await asyncio.to_thread(StoredWorkflow.find, self.store, workflow_id)
            assert stored is not None
        else:
            refuse_other(workflow_id, await asyncio.to_thread(stored.status), stored.graph, request.graph)
        await self._enqueue(stored, request.environment, trusted=request.run == stored.journal.run)

    async def resume(self, workflow_id: str, environment: TaskEnvironment, allow_changed_code: bool) -> None:
        """Let a stored workflow go on.

        Args:
            workflow_id: the id of the workflow.
            environment: of its tasks.
            allow_changed_code: go on even if workers import functions whose code has changed.
        """
        workflow = self._workflows.get(workflow_id)
        if workflow is not None and workflow.recovered:
            return
        self._refuse_running(workflow_id)
        try:
            stored = await self._find(workflow_id)
        except WorkflowNotFoundError as error:
            raise WorkflowNotResumableError(workflow_id, "Nothing is stored under this id.") from error
        await self._enqueue(stored, environment, trusted=allow_changed_code)

    async def output(self, workflow_id: str, task: str | None) -> Output:
        """Return the output of a workflow, or of one of its tasks, once there is one.

        Args:
            workflow_id: the id of the workflow.
            task: the name or the key of a task; None for the whole workflow.
        """
        workflow = self._workflows.get(workflow_id) or self._unstored.pop(workflow_id, None)
        if workflow is None:
            stored = await self._find(workflow_id)
            return await asyncio.to_thread(stored_output, stored, self._location(stored.journal), task)
        return await workflow.output(task)

    async def get_output(self, workflow_id: str, task: str | None) -> Output:
        """Return an output as `output` does; where there is none, the error is a ValueError.

        Args:
            workflow_id: the id of the workflow.
            task: the name or the key of a task; None for the whole workflow.
        """
        try:
            return await self.output(workflow_id, task)
        except (WorkflowExecutionError, WorkflowCancellationError) as error:
            raise missing_output(error) from error.__cause__

    async def status(self, workflow_id: str) -> WorkflowStatus:
        """Return the status of a workflow."""
        workflow = self._workflows.get(workflow_id)
        if workflow is not None:
            return workflow.status
        stored = await self._find(workflow_id)
        return await asyncio.to_thread(stored.status, self._owner)

    async def list_all(self) -> list[tuple[str, WorkflowStatus]]:
        """Return all workflows; those that can be resumed in the order in which that is best done.

        With the status NONE, ids follow to which events were sent only.
        """
        ids = await asyncio.to_thread(stored_ids, self.store)
        workflow = [(workflow_id, one.status) for workflow_id, one in self._workflows.items()]
        found: list[tuple[float, str, WorkflowStatus]] = []
        for workflow_id in ids:
            if workflow_id in self._workflows:
                continue
            try:
                stored = await asyncio.to_thread(StoredWorkflow.find, self.store, workflow_id)
            except (CorruptRecord, UnsupportedRecord):
                found.append((inf, workflow_id, WorkflowStatus.FAILED))
                continue
            if stored is not None:
                status = await asyncio.to_thread(stored.status, self._owner)
                found.append((await asyncio.to_thread(stored.queued), workflow_id, status))
        stored_too = [(workflow_id, status) for _, workflow_id, status in sorted(found)]
        waiting = sorted(set(await asyncio.to_thread(ids_with_events, self.store)) - {*ids, *self._workflows})
        return workflow + stored_too + [(workflow_id, WorkflowStatus.NONE) for workflow_id in waiting]

    async def cancel(self, workflow_id: str) -> None:
        """Stop a workflow; return when nothing of it runs any more."""
        workflow = self._workflows.get(workflow_id)
        if workflow is None:
            stored = await self._find(workflow_id)
            epoch = await self._acquire(stored.journal, TaskEnvironment({}))
            await asyncio.to_thread(stored.end, epoch, WorkflowOutcome("CANCELED").stored())
            return
        workflow.cancel()
        if workflow in self._pending:
            self._pending.remove(workflow)
            self._start(workflow)
        outcome = await asyncio.shield(workflow.ended)
        if isinstance(outcome.error, StorageError):  # it is stopped, but it is not stored that it is
            raise failure(workflow_id, "", outcome.error)

    async def delete(self, workflow_id: str) -> None:
        """Remove a workflow that does not run from the store."""
        if workflow_id in self._workflows:
            raise WorkflowStillActiveError("DELETE", workflow_id)
        self._unstored.pop(workflow_id, None)
        await asyncio.to_thread(delete, self.store, workflow_id, self._owner)

    async def metadata(self, workflow_id: str, task: str | None) -> dict[str, Any]:
        """Return what is known of a workflow, or of one of its tasks.

        Args:
            workflow_id: the id of the workflow.
            task: the name or the key of a task; None for the whole workflow.
        """
        stored = await asyncio.to_thread(StoredWorkflow.find, self.store, workflow_id)
        if stored is None:
            raise ValueError(f"No such workflow_id {workflow_id!r}")
        if task is not None:
            return await asyncio.to_thread(stored.task_metadata, task)
        status = await self.status(workflow_id)
        return await asyncio.to_thread(stored.metadata, status)

    async def recover(self, actor: str) -> None:
        """Go on with the workflows that a former process of this actor ran; later if the store cannot be used."""
        try:
            await self._recover_all(actor)
            self._not_recovered = None
        except StorageError as error:
            self._not_recovered = error
            self._run_in_loop(self._recover_later(actor))

    async def _recover_later(self, actor: str) -> None:
        await asyncio.sleep(1.0)
        await self.recover(actor)

    async def _recover_all(self, actor: str) -> None:
        left = await asyncio.to_thread(unfinished_by, self.store, actor)
        for stored, environment in left:
            try:
                if stored.workflow_id not in self._workflows:
                    await self._enqueue(stored, environment, recovered=True)
            except Exception as error:
                if isinstance(error, StorageError) and not isinstance(error, CorruptRecord | UnsupportedRecord):
                    raise
                logs.logger.exception("Failed to resume workflow %s", stored.workflow_id)

    def refuse_until_recovered(self) -> None:
        """Refuse calls while the records of the workflows of a former process cannot be read.

        Raises:
            StorageError: they cannot.
        """
        if self._not_recovered is not None:
            raise StorageError(f"the workflows of this cluster wait for their store: {self._not_recovered}")

    @property
    def problem(self) -> StorageError | None:
        """Why the store takes no heartbeat."""
        return self._owner.problem

    # -- how

    def _refuse_running(self, workflow_id: str) -> None:
        if workflow_id in self._workflows:
            raise RuntimeError(f"Workflow '{workflow_id}' is already running or pending.")

    async def _refuse_changed(self, stored: StoredWorkflow, environment: TaskEnvironment) -> None:
        """Refuse to go on with functions that workers import, and that are not any more what they were."""
        alike: dict[str, tuple[dict[str, Any], list[TaskSpec]]] = {}
        for task in stored.functions():
            env = task.options.ray_options.get("runtime_env") or environment.runtime_env
            alike.setdefault(repr(env), (env, []))[1].append(task)
        comparisons = []
        for env, tasks in alike.values():  # long tasks may have all processors
            look = remote(changed_code).options(num_cpus=0, **({"runtime_env": env} if env else {}))
            comparisons.append(look.remote(self._location(stored.journal), tasks, environment.driver).future())
        changed = [name for names in comparisons for name in await asyncio.wrap_future(names)]
        refuse_changed(stored.workflow_id, changed)

    def _refuse_full_queue(self) -> None:
        running, pending = self._settings.max_running, self._settings.max_pending
        if -1 not in (running, pending) and self._number_of_running() >= running and len(self._pending) >= pending:
            raise queue.Full("Workflow queue has been full")

    def _number_of_running(self) -> int:
        return len(self._workflows) - len(self._pending)

    async def _find(self, workflow_id: str) -> StoredWorkflow:
        stored = await asyncio.to_thread(StoredWorkflow.find, self.store, workflow_id)
        if stored is None:
            raise WorkflowNotFoundError(workflow_id)
        return stored

    def _location(self, journal: Journal) -> RecordLocation:
        return RecordLocation(self._settings.store, journal.workflow_id, journal.run)

    async def _enqueue(
        self, stored: StoredWorkflow, environment: TaskEnvironment, *, recovered: bool = False, trusted: bool = False
    ) -> None:
        """Queue a workflow, unless it was successful; its code is trusted, or compared with what workers have."""
        epoch = await asyncio.to_thread(latest_epoch, stored.journal)
        status = await asyncio.to_thread(stored.status, self._owner)
        if status is WorkflowStatus.SUCCESSFUL and await asyncio.to_thread(
            has_output, stored, self._location(stored.journal)
        ):
            return
        if status is WorkflowStatus.RUNNING:  # elsewhere
            raise WorkflowStillActiveError("RESUME", stored.workflow_id)
        if not trusted:
            await self._refuse_changed(stored, environment)
        self._refuse_running(stored.workflow_id)
        if status is WorkflowStatus.RESUMABLE and await asyncio.to_thread(stored.ended, epoch) is not None:
            await self._enqueue(stored, environment, recovered=recovered, trusted=True)  # it ran meanwhile
            return
        self._refuse_running(stored.workflow_id)
        if not recovered:
            self._refuse_full_queue()
        workflow = self._workflows[stored.workflow_id] = RunningWorkflow(
            stored, environment, self._services, recovered=recovered
        )
        try:  # now, so that it is known after a crash that it waits
            workflow.epoch = await self._acquire(stored.journal, environment, after=epoch)
        except Exception as error:
            self._ended(workflow, WorkflowOutcome("FAILED", error=error))
            raise
        if workflow.status is WorkflowStatus.PENDING:
            self._pending.append(workflow)
            self._start_pending()
        else:  # cancelled meanwhile
            self._start(workflow)

    def _start_pending(self) -> None:
        most = self._settings.max_running
        while self._pending and (most == -1 or self._number_of_running() < most):
            self._start(self._pending.popleft())

    def _start(self, workflow: RunningWorkflow) -> None:
        self._run_in_loop(self._run(workflow))

    async def _run(self, workflow: RunningWorkflow) -> None:
        try:
            outcome = await workflow.run()
        except Exception as error:
            outcome = WorkflowOutcome("FAILED", error=error)
        self._ended(workflow, outcome)
        self._start_pending()

    async def _expire(self, seconds: float) -> None:
        """Remove workflows some time after they ended, as long as this process lives."""
        while True:
            with suppress(StorageError):
                await asyncio.to_thread(expire, self.store, seconds, self._workflows)
            await asyncio.sleep(period(seconds))

    async def _acquire(self, journal: Journal, environment: TaskEnvironment, after: int | None = None) -> int:
        if not self._owner.is_certain():
            await self._lease_guard.confirm()
        epoch = await asyncio.to_thread(lease.acquire, journal, self._owner, environment, after=after)
        if epoch is None:
            raise WorkflowStillActiveError("RUN", journal.workflow_id)
        return epoch

    def _submit(self) -> None:
        """Submit what is ready, in batches, as soon as the loop comes to it."""
        if not self._is_submitting:
            self._is_submitting = True
            self.loop.call_soon(self._submit_now)

    def _submit_now(self) -> None:
        self._is_submitting = False
        ready = self._ready_schedulers()
        if ready and not self._owner.is_certain():
            if not self._is_confirming:
                self._is_confirming = True
                self._run_in_loop(self._confirm_leases())
            return
        for scheduler in ready:
            scheduler.submit(min(self._window.room, BATCH))
        if self._window.room > 0 and any(scheduler.has_ready for scheduler in ready):
            self._submit()

    def _ready_schedulers(self) -> list[Scheduler]:
        return [one.scheduler for one in self._workflows.values() if one.scheduler and one.scheduler.has_ready]

    async def _confirm_leases(self) -> None:
        """After a time without a heartbeat: go on with the leases that are still held; not without the store."""
        try:
            await self._lease_guard.confirm()
        except StorageError as error:
            for scheduler in self._ready_schedulers():
                scheduler.end(WorkflowOutcome("FAILED", error=error))
        self._is_confirming = False
        self._submit()

    def _run_in_loop(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _ended(self, workflow: RunningWorkflow, outcome: WorkflowOutcome) -> None:
        workflow_id = workflow.workflow_id
        del self._workflows[workflow_id]
        workflow.end(outcome)
        if outcome.output is not None and not outcome.output.checkpoint and not workflow.is_awaited:
            self._unstored[workflow_id] = workflow
            self.loop.call_later(_UNSTORED, self._unstored.pop, workflow_id, None)
