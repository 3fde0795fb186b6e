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
from .._records.journal import Journal, opened, stored_ids
from .._records.references import Place, remote
from .._records.retention import expire, period
from .._records.submit_request import store_order
from .._records.workflow import StoredWorkflow, delete, left_by
from ..common import WorkflowStatus
from ..exceptions import (
    WorkflowNotFoundError,
    WorkflowNotResumableError,
    WorkflowStillActiveError,
)
from . import lease, logs
from .lease_guard import Vigil
from .output import failure, has_output, stored_output
from .running import Active, Means
from .submission import Workers
from .tasks import Ending

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from .._dag.spec import TaskSpec
    from .._records.submit_request import Order
    from .output import Output
    from .scheduler import Execution
    from .settings import Settings

MOST_PENDING = 4_000
IN_TURN = 200  # tasks of one workflow that are submitted before others have their turn


class Engine:
    """Runs workflows. All methods run in the engine's own loop.

    Args:
        settings: what was set when the controller was started.
        actor: see :class:`~functionfuse.backends.addons.rayworkflow._controller.lease.Owner`.
    """

    def __init__(self, settings: Settings, actor: str) -> None:
        self.store = opened(settings.store)
        self._settings = settings
        self._owner = lease.Owner(self.store, actor, settings.lease)
        self._active: dict[str, Active] = {}
        self._vigil = Vigil(self.store, self._owner, self._active)
        self._pending: deque[Active] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_submitting = self._is_making_sure = False
        self._not_retaken: StorageError | None = None
        self.loop = asyncio.new_event_loop()
        self._workers = Workers(self.loop, MOST_PENDING, self._submit)
        self._means = Means(settings, self._owner, self._workers, self._submit, self._keep)
        threading.Thread(target=self.loop.run_forever, daemon=True, name="workflows").start()
        if not isinstance(settings.retention, str):
            asyncio.run_coroutine_threadsafe(self._expire(settings.retention), self.loop)

    # -- what is asked of it

    async def submit(self, order: Order) -> None:
        """Store a workflow and let it run; one that is stored already is resumed instead."""
        workflow_id = order.workflow_id
        active = self._active.get(workflow_id)
        if active is not None and active.journal.run == order.run:
            return  # asked again after a crash
        self._refuse_active(workflow_id)
        stored = await asyncio.to_thread(StoredWorkflow.find, self.store, workflow_id)
        if stored is None:
            self._refuse_crowd()
            journal = Journal(self.store, workflow_id, order.run)
            await asyncio.to_thread(store_order, journal, self._place(journal), order)
            stored = await asyncio.to_thread(StoredWorkflow.find, self.store, workflow_id)
            assert stored is not None
        else:
            refuse_other(workflow_id, await asyncio.to_thread(stored.status), stored.graph, order.graph)
        await self._let_run(stored, order.runtime_env, trusted=order.run == stored.journal.run)

    async def resume(self, workflow_id: str, runtime_env: dict[str, Any], allow_changed_code: bool) -> None:
        """Let a stored workflow go on."""
        active = self._active.get(workflow_id)
        if active is not None and active.retaken:
            return
        self._refuse_active(workflow_id)
        try:
            stored = await self._find(workflow_id)
        except WorkflowNotFoundError as error:
            raise WorkflowNotResumableError(workflow_id, "Nothing is stored under this id.") from error
        await self._let_run(stored, runtime_env, trusted=allow_changed_code)

    async def output(self, workflow_id: str, task: str | None) -> Output:
        """Return the output of a workflow, or of one of its tasks, once there is one."""
        active = self._active.get(workflow_id)
        if active is None:
            stored = await self._find(workflow_id)
            return await asyncio.to_thread(stored_output, stored, self._place(stored.journal), task)
        return await active.output(task)

    async def status(self, workflow_id: str) -> WorkflowStatus:
        """Return the status of a workflow."""
        active = self._active.get(workflow_id)
        if active is not None:
            return active.status
        stored = await self._find(workflow_id)
        return await asyncio.to_thread(stored.status, self._owner)

    async def list_all(self) -> list[tuple[str, WorkflowStatus]]:
        """Return all workflows; those that can be resumed in the order in which that is best done."""
        ids = await asyncio.to_thread(stored_ids, self.store)
        active = [(workflow_id, one.status) for workflow_id, one in self._active.items()]
        found: list[tuple[float, str, WorkflowStatus]] = []
        for workflow_id in ids:
            if workflow_id in self._active:
                continue
            try:
                stored = await asyncio.to_thread(StoredWorkflow.find, self.store, workflow_id)
            except (CorruptRecord, UnsupportedRecord):
                found.append((inf, workflow_id, WorkflowStatus.FAILED))
                continue
            if stored is not None:
                status = await asyncio.to_thread(stored.status, self._owner)
                found.append((await asyncio.to_thread(stored.queued), workflow_id, status))
        return active + [(workflow_id, status) for _, workflow_id, status in sorted(found)]

    async def cancel(self, workflow_id: str) -> None:
        """Stop a workflow; return when nothing of it runs any more."""
        active = self._active.get(workflow_id)
        if active is None:
            stored = await self._find(workflow_id)
            epoch = await self._acquire(stored.journal, {})
            await asyncio.to_thread(stored.end, epoch, Ending("CANCELED").stored())
            return
        active.cancel()
        if active in self._pending:
            self._pending.remove(active)
            self._begin(active)
        ending = await asyncio.shield(active.ended)
        if isinstance(ending.error, StorageError):  # it is stopped, but it is not stored that it is
            raise failure(workflow_id, "", ending.error)

    async def delete(self, workflow_id: str) -> None:
        """Remove a workflow that does not run from the store."""
        if workflow_id in self._active:
            raise WorkflowStillActiveError("DELETE", workflow_id)
        await asyncio.to_thread(delete, self.store, workflow_id, self._owner)

    async def metadata(self, workflow_id: str, task: str | None) -> dict[str, Any]:
        """Return what is known of a workflow, or of one of its tasks."""
        stored = await asyncio.to_thread(StoredWorkflow.find, self.store, workflow_id)
        if stored is None:
            raise ValueError(f"No such workflow_id {workflow_id!r}")
        if task is not None:
            return await asyncio.to_thread(stored.task_metadata, task)
        status = await self.status(workflow_id)
        return await asyncio.to_thread(stored.metadata, status)

    async def retake(self, actor: str) -> None:
        """Go on with the workflows that a former process of this actor ran; later if the store cannot be used."""
        try:
            await self._retake_all(actor)
            self._not_retaken = None
        except StorageError as error:
            self._not_retaken = error
            self._keep(self._retake_later(actor))

    async def _retake_later(self, actor: str) -> None:
        await asyncio.sleep(1.0)
        await self.retake(actor)

    async def _retake_all(self, actor: str) -> None:
        left = await asyncio.to_thread(left_by, self.store, actor)
        for stored, env in left:
            try:
                if stored.workflow_id not in self._active:
                    await self._let_run(stored, env, retaken=True)
            except Exception as error:
                if isinstance(error, StorageError) and not isinstance(error, CorruptRecord | UnsupportedRecord):
                    raise
                logs.logger.exception("Failed to resume workflow %s", stored.workflow_id)

    def refuse_unless_retaken(self) -> None:
        """StorageError while it cannot be read what a former process of this actor ran."""
        if self._not_retaken is not None:
            raise StorageError(f"the workflows of this cluster wait for their store: {self._not_retaken}")

    @property
    def problem(self) -> StorageError | None:
        """Why the store takes no sign of life."""
        return self._owner.problem

    # -- how

    def _refuse_active(self, workflow_id: str) -> None:
        if workflow_id in self._active:
            raise RuntimeError(f"Workflow '{workflow_id}' is already running or pending.")

    async def _refuse_changed(self, stored: StoredWorkflow, runtime_env: dict[str, Any]) -> None:
        """Refuse to go on with functions that workers import, and that are not any more what they were."""
        alike: dict[str, tuple[dict[str, Any], list[TaskSpec]]] = {}
        for task in stored.functions():
            env = task.options.ray_options.get("runtime_env") or runtime_env
            alike.setdefault(repr(env), (env, []))[1].append(task)
        asked = []
        for env, tasks in alike.values():  # long tasks may have all processors
            look = remote(changed_code).options(num_cpus=0, **({"runtime_env": env} if env else {}))
            asked.append(look.remote(self._place(stored.journal), tasks).future())
        changed = [name for names in asked for name in await asyncio.wrap_future(names)]
        refuse_changed(stored.workflow_id, changed)

    def _refuse_crowd(self) -> None:
        running, pending = self._settings.max_running, self._settings.max_pending
        if -1 not in (running, pending) and self._number_of_running() >= running and len(self._pending) >= pending:
            raise queue.Full("Workflow queue has been full")

    def _number_of_running(self) -> int:
        return len(self._active) - len(self._pending)

    async def _find(self, workflow_id: str) -> StoredWorkflow:
        stored = await asyncio.to_thread(StoredWorkflow.find, self.store, workflow_id)
        if stored is None:
            raise WorkflowNotFoundError(workflow_id)
        return stored

    def _place(self, journal: Journal) -> Place:
        return Place(self._settings.store, journal.workflow_id, journal.run)

    async def _let_run(
        self, stored: StoredWorkflow, runtime_env: dict[str, Any], *, retaken: bool = False, trusted: bool = False
    ) -> None:
        """Queue a workflow, unless it was successful; its code is trusted, or compared with what workers have."""
        status = await asyncio.to_thread(stored.status, self._owner)
        if status is WorkflowStatus.SUCCESSFUL and await asyncio.to_thread(
            has_output, stored, self._place(stored.journal)
        ):
            return
        if status is WorkflowStatus.RUNNING:  # elsewhere
            raise WorkflowStillActiveError("RESUME", stored.workflow_id)
        if not trusted:
            await self._refuse_changed(stored, runtime_env)
        self._refuse_active(stored.workflow_id)
        if not retaken:
            self._refuse_crowd()
        active = self._active[stored.workflow_id] = Active(stored, runtime_env, self._means, retaken=retaken)
        try:  # now, so that it is known after a crash that it waits
            active.epoch = await self._acquire(stored.journal, runtime_env)
        except Exception as error:
            self._ended(active, Ending("FAILED", error=error))
            raise
        if active.status is WorkflowStatus.PENDING:
            self._pending.append(active)
            self._begin_pending()
        else:  # cancelled meanwhile
            self._begin(active)

    def _begin_pending(self) -> None:
        most = self._settings.max_running
        while self._pending and (most == -1 or self._number_of_running() < most):
            self._begin(self._pending.popleft())

    def _begin(self, active: Active) -> None:
        self._keep(self._run(active))

    async def _run(self, active: Active) -> None:
        try:
            ending = await active.run()
        except Exception as error:
            ending = Ending("FAILED", error=error)
        self._ended(active, ending)
        self._begin_pending()

    async def _expire(self, seconds: float) -> None:
        """Remove workflows some time after they ended, as long as this process lives."""
        while True:
            with suppress(StorageError):
                await asyncio.to_thread(expire, self.store, seconds, self._active)
            await asyncio.sleep(period(seconds))

    async def _acquire(self, journal: Journal, runtime_env: dict[str, Any]) -> int:
        if not self._owner.is_sure():
            await self._vigil.sure()
        epoch = await asyncio.to_thread(lease.acquire, journal, self._owner, runtime_env)
        if epoch is None:
            raise WorkflowStillActiveError("RUN", journal.workflow_id)
        return epoch

    def _submit(self) -> None:
        """Submit what is ready, in turns, as soon as the loop comes to it."""
        if not self._is_submitting:
            self._is_submitting = True
            self.loop.call_soon(self._submit_now)

    def _submit_now(self) -> None:
        self._is_submitting = False
        hungry = self._hungry()
        if hungry and not self._owner.is_sure():
            if not self._is_making_sure:
                self._is_making_sure = True
                self._keep(self._make_sure())
            return
        for execution in hungry:
            execution.submit(min(self._workers.room, IN_TURN))
        if self._workers.room > 0 and any(execution.has_ready for execution in hungry):
            self._submit()

    def _hungry(self) -> list[Execution]:
        return [one.execution for one in self._active.values() if one.execution and one.execution.has_ready]

    async def _make_sure(self) -> None:
        """After a time without a sign of life: go on with what nobody else runs; not without the store."""
        try:
            await self._vigil.sure()
        except StorageError as error:
            for execution in self._hungry():
                execution.end(Ending("FAILED", error=error))
        self._is_making_sure = False
        self._submit()

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _ended(self, active: Active, ending: Ending) -> None:
        del self._active[active.workflow_id]
        active.end(ending)
