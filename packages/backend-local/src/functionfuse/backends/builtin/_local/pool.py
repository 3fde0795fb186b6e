"""Running tasks on executors, as they become ready."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from functionfuse.backends.calls import Outcome
from functionfuse.backends.frames import StoredResultLost
from functionfuse.backends.ready import Ready
from functionfuse.errors import NodeError, WorkerDiedError

from .serialization import pack, perform_packed, unpack
from .throttle import BATCH_CALLS, BATCH_SECONDS, MOST_BYTES, Pace, perform_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from functionfuse.backends.calls import Call
    from functionfuse.backends.execution import Run
    from functionfuse.backends.frames import Task

NATIVE_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


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


class Work(NamedTuple):
    """A call to be made."""

    task: Task
    call: Call
    crashes: int = 0  # how often its worker died
    alone: bool = False  # nothing else runs at the same time


class Batch(NamedTuple):
    """Calls that an executor has, to be made one after the other."""

    works: Sequence[Work]
    size: int  # bytes


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
        self.pace = Pace(pool.executor)
        self.gathered: list[Work] = []  # short calls, to travel together
        self.gathered_seconds = 0.0
        self.pending: dict[Future[Any], Batch] = {}
        self.calls_pending = 0
        self.bytes_pending = 0
        self.suspects: deque[Work] = deque()  # one of them killed a worker: each runs again, alone
        self.answers: SimpleQueue[Future[Any]] = SimpleQueue()
        self.lost: StoredResultLost | None = None

    def execute(self) -> None:
        try:
            while True:
                self.submit_ready()
                if self.pending:
                    self.take_in(self.answers.get())
                elif not self.suspects:
                    break
        except BaseException as error:
            self.cancel_waiting()
            if not isinstance(error, Exception):
                self.pool.interrupted()
            raise
        if self.lost is not None:
            raise self.lost

    def cancel_waiting(self) -> None:
        for future in list(self.pending):  # a cancelled one answers too
            future.cancel()

    # -- out

    def submit_ready(self) -> None:
        if self.run.stopped:
            self.suspects.clear()
            self.gathered.clear()
            self.cancel_waiting()
            return
        if self.suspects:
            if not self.pending:
                self.submit([self.suspects.popleft()])
            return
        while self.calls_pending < self.pace.window and self.bytes_pending < MOST_BYTES:
            try:
                task = self.ready.pop()
                call = None if task is None else self.run.prepare(task)
            except StoredResultLost as loss:
                self.give_up(loss)
                return
            if task is None or self.run.stopped:
                break
            if call is not None:
                self.gather(Work(task, call))
        self.submit_gathered()

    def give_up(self, loss: StoredResultLost) -> None:
        """Let what is running end, and be stored, before all is planned again."""
        self.lost = self.lost or loss
        self.run.stopped = True

    def gather(self, work: Work) -> None:
        seconds = self.pace.expected(work.call)
        if seconds > BATCH_SECONDS:
            self.submit([work])
            return
        self.gathered.append(work)
        self.calls_pending += 1
        self.gathered_seconds += seconds
        if self.gathered_seconds >= BATCH_SECONDS or len(self.gathered) >= BATCH_CALLS:
            self.submit_gathered()

    def submit_gathered(self) -> None:
        works, self.gathered, self.gathered_seconds = self.gathered, [], 0.0
        self.calls_pending -= len(works)
        if works:
            self.submit(works)

    def submit(self, works: Sequence[Work]) -> None:
        size = 0
        if not self.pool.in_process:
            works, packed = self.packed(works)
            size = sum(map(len, packed))
            if not works:
                return
        try:
            if self.pool.in_process:
                calls = [work.call for work in works]
                future: Future[Any] = self.pool.executor.submit(perform_batch, calls)
            else:
                future = self.pool.executor.submit(perform_packed, packed, uuid4().hex)
        except BrokenExecutor as error:
            self.worker_died(works, error)
            return
        self.pending[future] = Batch(works, size)
        self.calls_pending += len(works)
        self.bytes_pending += size
        future.add_done_callback(self.answers.put)

    def packed(self, works: Sequence[Work]) -> tuple[list[Work], list[bytes]]:
        """Pickle calls; one that cannot be pickled has failed."""
        able, packed = [], []
        for work in works:
            try:
                packed.append(pack(work.call, work.task.name))
                able.append(work)
            except NodeError as error:
                self.settle(work, Outcome(None, None, error, 0.0))
        return able, packed

    # -- in

    def take_in(self, future: Future[Any]) -> None:
        works, size = self.pending.pop(future)
        self.calls_pending -= len(works)
        self.bytes_pending -= size
        try:
            answers = future.result()
        except CancelledError:
            return
        except BrokenExecutor as error:
            self.worker_died(works, error)
            return
        except Exception as error:
            outcomes = [Outcome(None, None, error, 0.0) for _ in works]
        else:
            outcomes = answers if self.pool.in_process else [unpack(answer) for answer in answers]
        for work, outcome in zip(works, outcomes, strict=False):
            self.pace.learn(work.call, outcome.seconds)
            self.settle(work, outcome)
        if not self.run.stopped:
            for work in works[len(outcomes) :]:  # not begun: the batch took longer than expected
                self.submit([work])

    def settle(self, work: Work, outcome: Outcome) -> None:
        try:
            self.run.settle(work.task, outcome, work.call)
        except StoredResultLost as loss:
            self.give_up(loss)

    def worker_died(self, works: Sequence[Work], cause: BrokenExecutor) -> None:
        """Find out whose worker it was, and try that again in new processes, as often as its retries allow.

        A process that dies takes all calls of its pool with it.
        """
        if isinstance(self.pool, OwnPool):
            self.pool.start()
            if len(works) > 1 or (not works[0].alone and (self.pending or self.suspects)):
                self.suspects.extend(work._replace(alone=True) for work in works)
                return
            work = works[0]
            if work.crashes < (work.call.retry.times if work.call.retry else 0):
                self.suspects.appendleft(work._replace(crashes=work.crashes + 1, alone=True))
                return
        others = sorted(work.task.name for batch in self.pending.values() for work in batch.works)
        also = f" (or while one of these did, at the same time: {', '.join(others[:5])})" if others else ""
        for task, call, _, _ in works:
            error = WorkerDiedError(
                f"node {task.name!r} failed: a worker process died while it ran{also}; "
                "out of memory and crashes in native code are the usual causes, and set_retry tries again",
                name=task.name,
                function=task.step.target.qualname,
            )
            error.__cause__ = cause
            self.settle(Work(task, call), Outcome(None, None, error, 0.0))
