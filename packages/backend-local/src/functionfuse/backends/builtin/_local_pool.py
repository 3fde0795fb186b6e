"""Running tasks on executors, as they become ready."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse.backends.builtin._local_shipping import pack, perform_packed, unpack
from functionfuse.backends.calls import Outcome, perform
from functionfuse.backends.execution import Ready
from functionfuse.errors import NodeError, WorkerDiedError

if TYPE_CHECKING:
    from functionfuse.backends.calls import Call
    from functionfuse.backends.execution import Run, Task

MAX_PENDING = 1_000  # calls handed to an executor at one time
MAX_PENDING_BYTES = 256 << 20  # and the size of their pickled arguments


class SharedPool:
    """An executor that belongs to the user."""

    can_restart = False

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.in_process = isinstance(executor, ThreadPoolExecutor)

    def interrupted(self) -> None:
        """Leave the executor to its owner."""


class OwnPool:
    """Worker processes of this machine, kept warm from one run to the next by loky."""

    can_restart = True
    in_process = False

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self.start()

    def start(self) -> None:
        """Take the processes, started anew if they broke."""
        from loky import get_reusable_executor

        self.executor: Executor = get_reusable_executor(max_workers=self._workers)

    def interrupted(self) -> None:
        """End the processes, whatever they are doing."""
        self.executor.shutdown(wait=True, kill_workers=True)  # type: ignore[call-arg]


class Pending(NamedTuple):
    """A call that an executor has."""

    task: Task
    call: Call
    size: int
    crashes: int  # how often its worker died


def run_on_pool(run: Run, pool: SharedPool | OwnPool) -> None:
    """Execute a run on an executor.

    After a failure that stops the run, what is already running ends and is stored. When interrupted (Ctrl-C),
    calls that wait are cancelled, and the processes of an OwnPool are ended.
    """
    _PoolRun(run, pool).execute()


class _PoolRun:
    def __init__(self, run: Run, pool: SharedPool | OwnPool) -> None:
        self.run = run
        self.pool = pool
        self.ready = Ready(run)
        self.pending: dict[Future[Any], Pending] = {}
        self.bytes_pending = 0
        self.answers: SimpleQueue[Future[Any]] = SimpleQueue()

    def execute(self) -> None:
        try:
            while True:
                self.submit_ready()
                if not self.pending:
                    return
                self.take_in(self.answers.get())
        except BaseException as error:
            for future in self.pending:
                future.cancel()
            if not isinstance(error, Exception):
                self.pool.interrupted()
            raise

    def submit_ready(self) -> None:
        if self.run.stopped:
            for future in self.pending:
                future.cancel()
            return
        while len(self.pending) < MAX_PENDING and self.bytes_pending < MAX_PENDING_BYTES:
            task = self.ready.pop()
            if task is None:
                return
            call = self.run.prepare(task)
            if call is not None:
                self.submit(Pending(task, call, 0, 0))
            if self.run.stopped:
                return

    def submit(self, pending: Pending) -> None:
        task, call = pending.task, pending.call
        try:
            if self.pool.in_process:
                future: Future[Any] = self.pool.executor.submit(perform, call)
            else:
                packed = pack(call, task.name)
                pending = pending._replace(size=len(packed))
                future = self.pool.executor.submit(perform_packed, packed)
        except NodeError as error:  # it cannot be pickled
            self.run.settle(task, Outcome(None, None, error, 0.0))
            return
        except BrokenExecutor as error:
            self.worker_died(pending, error)
            return
        self.pending[future] = pending
        self.bytes_pending += pending.size
        future.add_done_callback(self.answers.put)

    def take_in(self, future: Future[Any]) -> None:
        pending = self.pending.pop(future)
        self.bytes_pending -= pending.size
        try:
            answer = future.result()
        except CancelledError:
            return
        except BrokenExecutor as error:
            self.worker_died(pending, error)
            return
        except Exception as error:
            outcome = Outcome(None, None, error, 0.0)
        else:
            outcome = answer if self.pool.in_process else unpack(answer)
        self.run.settle(pending.task, outcome, pending.call)

    def worker_died(self, pending: Pending, cause: BrokenExecutor) -> None:
        """Try again in new processes, as often as the node's retries allow."""
        task, call, _, crashes = pending
        retries = call.retry.times if call.retry else 0
        if crashes < retries and isinstance(self.pool, OwnPool):
            self.pool.start()
            self.submit(pending._replace(crashes=crashes + 1))
            return
        others = sorted(p.task.name for p in self.pending.values())
        also = f" (or while one of these did, at the same time: {', '.join(others[:5])})" if others else ""
        error = WorkerDiedError(
            f"node {task.name!r} failed: a worker process died while it ran{also}; "
            "out of memory and crashes in native code are the usual causes, and set_retry tries again",
            name=task.name,
            function=task.step.target.qualname,
        )
        error.__cause__ = cause
        self.run.settle(task, Outcome(None, None, error, 0.0))
