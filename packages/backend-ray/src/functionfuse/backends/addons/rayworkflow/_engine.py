"""The engine: all workflows of a cluster, in one thread of one process."""

from __future__ import annotations

import asyncio
import pickle
import queue
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import ray

from functionfuse.backends.addons.rayworkflow import _lease
from functionfuse.backends.addons.rayworkflow._active import Active, failure
from functionfuse.backends.addons.rayworkflow._execution import Ending, Execution
from functionfuse.backends.addons.rayworkflow._journal import FORMAT, Journal, opened, stored_ids
from functionfuse.backends.addons.rayworkflow._objects import Place
from functionfuse.backends.addons.rayworkflow._output import Output
from functionfuse.backends.addons.rayworkflow._pickles import pack_error, unpack_error
from functionfuse.backends.addons.rayworkflow._records import StoredWorkflow, delete
from functionfuse.backends.addons.rayworkflow._submission import Submission, Workers
from functionfuse.backends.addons.rayworkflow._task import Report, keep_function, sound_record
from functionfuse.backends.addons.rayworkflow.common import WorkflowStatus
from functionfuse.backends.addons.rayworkflow.exceptions import (
    WorkflowCancellationError,
    WorkflowNotFoundError,
    WorkflowNotResumableError,
    WorkflowStillActiveError,
)
from functionfuse.errors import CorruptRecord, UnsupportedRecord

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from functionfuse.backends.addons.rayworkflow._active import Order
    from functionfuse.backends.addons.rayworkflow._nodes import Node

MOST_PENDING = 4_000
IN_TURN = 200  # tasks of one workflow that are submitted before others have their turn


class Engine:
    """Runs workflows. All methods run in the engine's own loop.

    Args:
        packed_store: where the workflows are stored, pickled.
        actor: see :class:`~functionfuse.backends.addons.rayworkflow._lease.Owner`.
        lease: seconds without a sign of life after which another cluster may take over a workflow.
        max_running: workflows that run at a time; -1 for any number.
        max_pending: workflows that wait for that; -1 for any number.
    """

    def __init__(self, packed_store: bytes, actor: str, lease: float, max_running: int, max_pending: int) -> None:
        self.store = opened(packed_store)
        self._packed_store = packed_store
        self._owner = _lease.Owner(self.store, actor, lease)
        self._limits = max_running, max_pending
        self._active: dict[str, Active] = {}
        self._pending: deque[Active] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_submitting = False
        self.loop = asyncio.new_event_loop()
        self._workers = Workers(self.loop, MOST_PENDING, self._submit)
        threading.Thread(target=self.loop.run_forever, daemon=True, name="workflows").start()

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
            await asyncio.to_thread(_store, journal, self._place(journal), order)
            stored = await asyncio.to_thread(StoredWorkflow.find, self.store, workflow_id)
            assert stored is not None
        elif await asyncio.to_thread(stored.status) is WorkflowStatus.CANCELED:
            raise WorkflowNotResumableError(
                workflow_id, "It was cancelled; resume() lets it go on, delete() forgets it."
            )
        await self._let_run(stored, order.runtime_env)

    async def resume(self, workflow_id: str, runtime_env: dict[str, Any]) -> None:
        """Let a stored workflow go on."""
        active = self._active.get(workflow_id)
        if active is not None and active.retaken:
            return
        self._refuse_active(workflow_id)
        try:
            stored = await self._find(workflow_id)
        except WorkflowNotFoundError as error:
            raise WorkflowNotResumableError(workflow_id, "Nothing is stored under this id.") from error
        await self._let_run(stored, runtime_env)

    async def output(self, workflow_id: str, task: str | None) -> Output:
        """Return the output of a workflow, or of one of its tasks, once there is one."""
        active = self._active.get(workflow_id)
        if active is None:
            stored = await self._find(workflow_id)
            return await asyncio.to_thread(self._stored_output, stored, task)
        if task is None:
            return self._result(active, await asyncio.shield(active.ended))
        node = active.nodes.get(task)
        if node is not None and node.state.name == "DONE":
            return self._output_of(active, node)
        asked: asyncio.Future[Output] = self.loop.create_future()
        active.asked.setdefault(task, []).append(asked)
        return await asked

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
        found = [(workflow_id, one.status) for workflow_id, one in self._active.items()]
        late: list[tuple[str, WorkflowStatus]] = []
        for workflow_id in ids:
            if workflow_id in self._active:
                continue
            try:
                stored = await asyncio.to_thread(StoredWorkflow.find, self.store, workflow_id)
            except (CorruptRecord, UnsupportedRecord):
                found.append((workflow_id, WorkflowStatus.FAILED))
                continue
            if stored is not None:
                status = await asyncio.to_thread(stored.status, self._owner)
                was_running = await asyncio.to_thread(_lease.latest, stored.journal)
                (found if was_running else late).append((workflow_id, status))
        return found + late

    async def cancel(self, workflow_id: str) -> None:
        """Stop a workflow; return when nothing of it runs any more."""
        active = self._active.get(workflow_id)
        if active is None:
            stored = await self._find(workflow_id)
            epoch = await self._acquire(stored.journal, {})
            await asyncio.to_thread(stored.end, epoch, Ending("CANCELED"))
        elif active.execution is not None:
            active.execution.end(Ending("CANCELED"))
            await asyncio.shield(active.ended)
        else:
            active.status = WorkflowStatus.CANCELED
            if active in self._pending:
                self._pending.remove(active)
                self._begin(active)
            await asyncio.shield(active.ended)

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
        """Go on with the workflows that a former process of this actor ran."""
        for workflow_id in await asyncio.to_thread(stored_ids, self.store):
            stored = await asyncio.to_thread(StoredWorkflow.find, self.store, workflow_id)
            env = None if stored is None else await asyncio.to_thread(stored.left_by, actor)
            if stored is not None and env is not None and workflow_id not in self._active:
                await self._let_run(stored, env, retaken=True)

    # -- how

    def _refuse_active(self, workflow_id: str) -> None:
        if workflow_id in self._active:
            raise RuntimeError(f"Workflow '{workflow_id}' is already running or pending.")

    def _refuse_crowd(self) -> None:
        running, pending = self._limits
        if -1 not in self._limits and self._number_of_running() >= running and len(self._pending) >= pending:
            raise queue.Full("Workflow queue has been full")

    def _number_of_running(self) -> int:
        return len(self._active) - len(self._pending)

    async def _find(self, workflow_id: str) -> StoredWorkflow:
        stored = await asyncio.to_thread(StoredWorkflow.find, self.store, workflow_id)
        if stored is None:
            raise WorkflowNotFoundError(workflow_id)
        return stored

    def _place(self, journal: Journal) -> Place:
        return Place(self._packed_store, journal.workflow_id, journal.run)

    async def _let_run(self, stored: StoredWorkflow, runtime_env: dict[str, Any], *, retaken: bool = False) -> None:
        """Queue a workflow, unless it was successful."""
        status = await asyncio.to_thread(stored.status, self._owner)
        if status is WorkflowStatus.SUCCESSFUL and await asyncio.to_thread(self._has_output, stored):
            return
        if status is WorkflowStatus.RUNNING:  # elsewhere
            raise WorkflowStillActiveError("RESUME", stored.workflow_id)
        self._refuse_active(stored.workflow_id)
        self._refuse_crowd()
        active = self._active[stored.workflow_id] = Active(stored, runtime_env, retaken=retaken)
        self._pending.append(active)
        self._begin_pending()

    def _begin_pending(self) -> None:
        most = self._limits[0]
        while self._pending and (most == -1 or self._number_of_running() < most):
            self._begin(self._pending.popleft())

    def _begin(self, active: Active) -> None:
        self._keep(self._run(active))

    async def _run(self, active: Active) -> None:
        try:
            ending = await self._execute(active)
        except Exception as error:
            ending = Ending("FAILED", error=error)
        self._ended(active, ending)
        self._begin_pending()

    async def _execute(self, active: Active) -> Ending:
        """Run a workflow to its end, and store how it ended."""
        journal, stored = active.journal, active.stored
        epoch = active.epoch = await self._acquire(journal, active.runtime_env)
        ending = Ending("CANCELED")
        if active.status is WorkflowStatus.PENDING:
            active.status = WorkflowStatus.RUNNING
            known = await asyncio.to_thread(journal.names, "out") if epoch > 1 else []
            quiet: asyncio.Future[Ending] = self.loop.create_future()
            active.execution = Execution(
                pickle.loads(stored.graph),
                stored=known,
                submission=Submission(journal, self._place(journal), self._workers, active.runtime_env),
                ended=quiet.set_result,
                catch=lambda node, error: self._catch(active, node, error),
                named=lambda node: self._name(active, node),
                settled=lambda node: self._settled(active, node),
            )
            self._submit()
            ending = await quiet
        if not await asyncio.to_thread(_lease.is_held, journal, self._owner, epoch):
            raise WorkflowStillActiveError("RUN", journal.workflow_id)
        await asyncio.to_thread(stored.end, epoch, ending)
        return ending

    async def _acquire(self, journal: Journal, runtime_env: dict[str, Any]) -> int:
        epoch = await asyncio.to_thread(_lease.acquire, journal, self._owner, runtime_env)
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
        if not self._owner.is_sure():
            self._keep(self._make_sure())
            return
        hungry = [one.execution for one in self._active.values() if one.execution and one.execution.has_ready]
        for execution in hungry:
            execution.submit(min(self._workers.room, IN_TURN))
        if self._workers.room > 0 and any(execution.has_ready for execution in hungry):
            self._submit()

    async def _make_sure(self) -> None:
        """After a time without a sign of life: stop what others run now, and go on with the rest."""
        await asyncio.sleep(0.1)
        if self._owner.lapsed:
            self._owner.lapsed = False
            for active in list(self._active.values()):
                execution = active.execution
                held = partial(_lease.is_held, active.journal, self._owner, active.epoch)
                if execution is not None and not await asyncio.to_thread(held):
                    execution.end(Ending("FAILED", error=WorkflowStillActiveError("RUN", active.stored.workflow_id)))
        self._submit()

    # -- what happens to tasks

    def _name(self, active: Active, node: Node) -> None:
        active.nodes.setdefault(node.spec.name, node)
        active.nodes.setdefault(node.key, node)

    def _settled(self, active: Active, node: Node) -> None:
        for name in (node.spec.name, node.key):
            if active.asked and active.nodes.get(name) is node:
                for asked in active.asked.pop(name, ()):
                    if not asked.done():
                        asked.set_result(self._output_of(active, node))

    def _catch(self, active: Active, node: Node, error: BaseException) -> None:
        """Store the exception that a task caught from its graph, then go on with it."""

        async def store() -> None:
            packed = pack_error(error)
            record = await asyncio.to_thread(active.journal.put_or_get, f"caught/{node.key}", "caught", packed)
            node.report = ray.put(pickle.dumps(Report("value")))
            node.value = ray.put((None, unpack_error(record[1])))
            assert active.execution is not None
            active.execution.resolve(node)
            self._submit()

        self._keep(store())

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _ended(self, active: Active, ending: Ending) -> None:
        """Tell everybody who waits."""
        del self._active[active.stored.workflow_id]
        active.ended.set_result(ending)
        problem = ValueError(
            f"Workflow {active.stored.workflow_id!r} ended ({ending.status}) without this task's output"
        )
        for futures in active.asked.values():
            for asked in futures:
                if not asked.done():
                    asked.set_exception(problem)

    # -- outputs

    def _output_of(self, active: Active, node: Node) -> Output:
        return Output(node.value, self._place(active.journal), node.final)

    def _result(self, active: Active, ending: Ending) -> Output:
        workflow_id = active.stored.workflow_id
        if ending.status == "CANCELED":
            raise WorkflowCancellationError(workflow_id)
        if ending.error is not None:
            raise failure(workflow_id, ending.task, ending.error)
        assert ending.output is not None
        return self._output_of(active, ending.output)

    def _has_output(self, stored: StoredWorkflow) -> bool:
        """Whether the output of a successful workflow is as it was stored, or was not to be."""
        ended = stored.ended()
        place = self._place(stored.journal)
        return ended is not None and (
            not stored.journal.has(f"out/{ended.output}") or sound_record(place, ended.output) is not None
        )

    def _stored_output(self, stored: StoredWorkflow, task: str | None) -> Output:
        place = self._place(stored.journal)
        if task is not None:
            return Output(None, place, stored.key_of(task))
        ended = stored.ended()
        if ended is None:
            raise ValueError(f"Cannot load output from workflow {stored.workflow_id!r}: it did not end; resume it")
        if ended.status == "CANCELED":
            raise WorkflowCancellationError(stored.workflow_id)
        if ended.error:
            raise failure(stored.workflow_id, ended.task, unpack_error(ended.error))
        if not stored.journal.has(f"out/{ended.output}"):
            raise ValueError(f"Cannot load output from workflow {stored.workflow_id!r}: it was not to be stored")
        return Output(None, place, ended.output)


def _store(journal: Journal, place: Place, order: Order) -> None:
    """Store a workflow that is new; functions before the graph that refers to them."""
    for sha, pickled in order.functions.items():
        keep_function(place, sha, pickled)
    journal.put("spec", "spec", FORMAT, journal.run, order.graph, order.metadata, created=time.time())
