"""Running tasks on executors, as they become ready."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from functionfuse.backends.builtin._local_shipping import pack, perform_packed, unpack
from functionfuse.backends.calls import Outcome, perform
from functionfuse.backends.execution import Ready, StoredResultLost
from functionfuse.errors import NodeError, WorkerDiedError

if TYPE_CHECKING:
    from functionfuse.backends.calls import Call
    from functionfuse.backends.execution import Run, Task

MAX_PENDING = 20_000  # calls handed to an executor at one time
MAX_PENDING_BYTES = 256 << 20  # and the size of their pickled arguments
NATIVE_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
WORKERS_UNKNOWN = 500  # assumed of an executor that does not tell
WORK_AHEAD = 0.1  # seconds of work that an executor is given beyond what it runs


class Window:
    """How many calls an executor is given at one time.

    Few, so that results are used up soon after they are made, and memory stays low; but for short calls
    enough that the workers need not wait for the driver.
    """

    def __init__(self, executor: Executor) -> None:
        self._workers: int = getattr(executor, "_max_workers", None) or WORKERS_UNKNOWN
        self._seconds = WORK_AHEAD  # a running mean of how long calls take
        self.size = 2 * self._workers

    def learn(self, seconds: float) -> None:
        """Take in how long a call took."""
        self._seconds += 0.1 * (seconds - self._seconds)
        ahead = int(self._workers * WORK_AHEAD / max(self._seconds, 1e-9))
        self.size = min(MAX_PENDING, ahead + 2 * self._workers)


class SharedPool:
    """An executor that belongs to the user."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.in_process = isinstance(executor, ThreadPoolExecutor)

    def interrupted(self) -> None:
        """Leave the executor to its owner."""


class OwnPool:
    """Worker processes of this machine, kept warm from one run to the next by loky."""

    in_process = False

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self.start()

    def start(self) -> None:
        """Take the processes, started anew if they broke."""
        from loky import cpu_count, get_reusable_executor

        share = str(max(1, cpu_count() // self._workers))  # of the machine's cores, for native threads
        env = {name: os.environ.get(name, share) for name in NATIVE_THREADS}
        self.executor: Executor = get_reusable_executor(max_workers=self._workers, env=env)

    def interrupted(self) -> None:
        """End the processes, whatever they are doing."""
        self.executor.shutdown(wait=True, kill_workers=True)  # type: ignore[call-arg]


class Pending(NamedTuple):
    """A call that an executor has."""

    task: Task
    call: Call
    size: int = 0
    crashes: int = 0  # how often its worker died
    alone: bool = False  # nothing else runs at the same time


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
        self.suspects: deque[Pending] = deque()  # one of them killed a worker: each runs again, alone
        self.bytes_pending = 0
        self.window = Window(pool.executor)
        self.answers: SimpleQueue[Future[Any]] = SimpleQueue()

    def execute(self) -> None:
        lost: StoredResultLost | None = None
        try:
            while True:
                try:
                    self.submit_ready()
                    if self.pending:
                        self.take_in(self.answers.get())
                    elif not self.suspects:
                        break
                except StoredResultLost as loss:
                    lost = lost or loss
                    self.run.stopped = True  # what is running ends, and is stored, before it is planned again
        except BaseException as error:
            self.cancel_waiting()
            if not isinstance(error, Exception):
                self.pool.interrupted()
            raise
        if lost is not None:
            raise lost

    def cancel_waiting(self) -> None:
        for future in list(self.pending):  # a cancelled one answers too
            future.cancel()

    def submit_ready(self) -> None:
        if self.run.stopped:
            self.suspects.clear()
            self.cancel_waiting()
            return
        if self.suspects:
            if not self.pending:
                self.submit(self.suspects.popleft())
            return
        while len(self.pending) < self.window.size and self.bytes_pending < MAX_PENDING_BYTES:
            task = self.ready.pop()
            if task is None:
                return
            call = self.run.prepare(task)
            if call is not None:
                self.submit(Pending(task, call))
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
                future = self.pool.executor.submit(perform_packed, packed, uuid4().hex)
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
        self.window.learn(outcome.seconds)
        self.run.settle(pending.task, outcome, pending.call)

    def worker_died(self, pending: Pending, cause: BrokenExecutor) -> None:
        """Find out whose worker it was, and try that again in new processes, as often as its retries allow.

        A process that dies takes all calls of its pool with it.
        """
        task, call, _, crashes, alone = pending
        if isinstance(self.pool, OwnPool):
            self.pool.start()
            if not alone and (self.pending or self.suspects):
                self.suspects.append(pending._replace(alone=True))
                return
            if crashes < (call.retry.times if call.retry else 0):
                self.suspects.appendleft(pending._replace(crashes=crashes + 1, alone=True))
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
