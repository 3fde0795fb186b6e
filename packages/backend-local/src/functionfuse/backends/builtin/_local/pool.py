"""Executors as engines: calls in threads, in processes of this machine, or wherever an executor has workers."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from functionfuse.backends.calls import Outcome
from functionfuse.backends.collapsed import targets_of
from functionfuse.backends.driver_state import DriverState
from functionfuse.backends.serialization import worker_died
from functionfuse.errors import EngineError

from .placement import placement, places_calls
from .processes import end_with_process, forget_pool_of_parent, refuse_inherited
from .serialization import deserialized_outcome, perform_serialized, send_main_by_value, serializer
from .throttle import BATCH_CALLS, BATCH_SECONDS, MOST_BYTES, Throttle, perform_batch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from functionfuse.backends.calls import Call
    from functionfuse.backends.frames import Task
    from functionfuse.plan import Step

NATIVE_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


_TELL_WHAT_RUNS = frozenset({"concurrent.futures.thread", "concurrent.futures.process", "loky.process_executor"})
"""Modules of the executors whose futures cannot be cancelled once their calls have begun; those of Dask can."""


class SharedPool:
    """An executor of the user.

    Args:
        executor: the executor.

    Attributes:
        places_calls: whether it takes what each call needs.
        tells_what_runs: whether its futures tell calls that run from those that have not begun.

    Raises:
        EngineError: it was started in the process that this one was forked from.
    """

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.in_process = isinstance(executor, ThreadPoolExecutor)
        self.tells_what_runs = not _TELL_WHAT_RUNS.isdisjoint(base.__module__ for base in type(executor).__mro__)
        self.places_calls = places_calls(executor)
        refuse_inherited(executor)

    def kill(self) -> None:
        """Do nothing: the executor stays open for its owner."""


class OwnPool:
    """Worker processes of this machine, which loky keeps from one run to the next.

    Args:
        workers: number of processes.
    """

    in_process = False
    tells_what_runs = True
    places_calls = False

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self.start()

    def start(self) -> None:
        """Get the processes; new ones if the pool is broken.

        Raises:
            EngineError: this process may not start others.
        """
        from loky import cpu_count, get_reusable_executor

        if multiprocessing.current_process().daemon:
            raise EngineError(
                f"run(max_workers={self._workers}) cannot start processes in a daemonic process, which may not have "
                "children: start it with daemon=False, leave max_workers out, or use a ThreadPoolExecutor as executor"
            )
        forget_pool_of_parent()
        share = str(max(1, cpu_count() // self._workers))  # of the machine's cores, for native threads
        env = {name: os.environ.get(name, share) for name in NATIVE_THREADS}
        self.executor: Executor = get_reusable_executor(max_workers=self._workers, env=env)
        end_with_process(self.executor)

    def kill(self) -> None:
        """Kill the processes."""
        self.executor.shutdown(wait=True, kill_workers=True)  # type: ignore[call-arg]


class PooledCall:
    """A call that an executor was given, and how it ended; the handle of `PoolEngine`.

    Attributes:
        outcome: how it ended; None as long as it has not, or when it was dropped.
        crashes: how often its worker died.
        alone: whether nothing else may run at the same time.
        needs: the resources by which the executor places it.
    """

    __slots__ = ("alone", "call", "crashes", "data", "needs", "outcome", "task")

    def __init__(self, task: Task, call: Call, needs: Mapping[str, float]) -> None:
        self.task = task
        self.call = call
        self.data = b""
        self.needs = needs
        self.outcome: Outcome | None = None
        self.crashes = 0
        self.alone = False


class PoolEngine:
    """Makes calls on an executor, short ones in batches; see `drive`.

    A process that dies takes all calls of its pool with it. Those of an `OwnPool` are made again in new processes, one
    after the other, to find out whose it was.

    Args:
        pool: the executor.
        steps: of the run.
    """

    def __init__(self, pool: SharedPool | OwnPool, steps: Sequence[Step]) -> None:
        self._pool = pool
        self._driver = None if pool.in_process else DriverState(serializer.dumps, steps)
        if not pool.in_process:
            send_main_by_value()
        self._throttle = Throttle(pool.executor)
        self._batch: list[PooledCall] = []  # short calls, to be submitted together
        self._batch_seconds = 0.0
        self._submitted: dict[Future[Any], list[PooledCall]] = {}
        self._bytes = 0
        self._suspects: deque[PooledCall] = deque()  # one of them killed a worker: each is made again, alone
        self._done_futures: SimpleQueue[Future[Any]] = SimpleQueue()
        self._ended: deque[PooledCall] = deque()
        self._stopping = False

    @property
    def window(self) -> int:
        """How many calls are taken: none while suspects are made alone, or too many bytes are underway."""
        return 0 if self._suspects or self._bytes >= MOST_BYTES else self._throttle.window

    def submit(self, task: Task, call: Call) -> PooledCall:
        """Give a call to the executor, a short one together with others.

        Args:
            task: what the call is for.
            call: the call.

        Raises:
            NodeError: the call cannot be pickled for a worker.
        """
        options = task.step.options
        pooled = PooledCall(task, call, options.needs if self._pool.places_calls and options.resources else {})
        if not self._pool.in_process:
            pooled.data = serializer.call(call, task.name)
            self._bytes += len(pooled.data)
        seconds = self._throttle.expected(call)
        if seconds > BATCH_SECONDS or pooled.needs:
            self._give([pooled])
            return pooled
        self._batch.append(pooled)
        self._batch_seconds += seconds
        if self._batch_seconds >= BATCH_SECONDS or len(self._batch) >= BATCH_CALLS:
            self._give_batch()
        return pooled

    def wait(self, seconds: float) -> PooledCall | None:
        """Return the next call that ended, or was dropped; None when there is none for so long."""
        while not self._ended:
            self._give_batch()
            if self._suspects and not self._submitted:
                self._give([self._suspects.popleft()])
                continue
            try:
                future = self._done_futures.get(timeout=seconds)
            except Empty:
                return None
            self._receive(future)
        return self._ended.popleft()

    def outcome(self, handle: PooledCall) -> Outcome | None:
        """Return how a call ended; None when it was dropped."""
        if handle.outcome is not None:
            self._throttle.learn(handle.call, handle.outcome.seconds)
        return handle.outcome

    def stop(self, *, at_once: bool) -> None:
        """Drop the calls that did not begin.

        Args:
            at_once: whether processes of an `OwnPool` are ended.
        """
        self._stopping = True
        self._ended.extend([*self._batch, *self._suspects])
        self._batch.clear()
        self._suspects.clear()
        if at_once or self._pool.tells_what_runs:  # else what runs would be lost
            for future in list(self._submitted):  # a cancelled one is done too
                future.cancel()
        if at_once:
            self._pool.kill()

    def _give_batch(self) -> None:
        calls, self._batch, self._batch_seconds = self._batch, [], 0.0
        if calls:
            self._give(calls)

    def _give(self, calls: list[PooledCall]) -> None:
        try:
            if self._driver is None:
                future: Future[Any] = self._pool.executor.submit(perform_batch, [pooled.call for pooled in calls])
            else:
                data = [pooled.data for pooled in calls]
                state = self._driver.of(target for pooled in calls for target in targets_of(pooled.call))
                future = self._pool.executor.submit(
                    perform_serialized, data, state, uuid4().hex, os.getpid(), **placement(calls[0].needs)
                )
        except BrokenExecutor as error:
            self._worker_died(calls, error)
            return
        except Exception as error:  # the executor was shut down
            self._end(calls, [Outcome(None, None, error, 0.0) for _ in calls])
            return
        self._submitted[future] = calls
        future.add_done_callback(self._done_futures.put)

    def _receive(self, future: Future[Any]) -> None:
        calls = self._submitted.pop(future)
        try:
            outcomes = future.result()
        except CancelledError:
            self._end(calls, [None] * len(calls))
            return
        except BrokenExecutor as error:
            self._worker_died(calls, error)
            return
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            outcomes = [Outcome(None, None, error, 0.0) for _ in calls]
        else:
            if not self._pool.in_process:
                outcomes = [deserialized_outcome(outcome) for outcome in outcomes]
        self._end(calls[: len(outcomes)], outcomes)
        rest = calls[len(outcomes) :]  # not begun, as those before took longer than expected
        if rest and self._stopping:
            self._end(rest, [None] * len(rest))
        elif rest:
            self._give(rest)

    def _end(self, calls: Sequence[PooledCall], outcomes: Sequence[Outcome | None]) -> None:
        for pooled, outcome in zip(calls, outcomes, strict=True):
            pooled.outcome = outcome
            self._bytes -= len(pooled.data)
            pooled.data = b""
            self._ended.append(pooled)

    def _worker_died(self, calls: list[PooledCall], cause: BrokenExecutor) -> None:
        """Find out whose worker it was, and try that again in new processes, as often as its retries allow."""
        if isinstance(self._pool, OwnPool):
            self._pool.start()
            first = calls[0]
            is_unclear = len(calls) > 1 or (not first.alone and bool(self._submitted or self._suspects))
            if self._stopping and is_unclear:
                self._end(calls, [None] * len(calls))
                return
            if is_unclear:
                for pooled in calls:
                    pooled.alone = True
                self._suspects.extend(calls)
                return
            if not self._stopping and first.crashes < (first.call.retry.times if first.call.retry else 0):
                first.alone = True
                first.crashes += 1
                self._suspects.appendleft(first)
                return
        others = sorted(pooled.task.name for batch in self._submitted.values() for pooled in batch)
        also = f" (or while one of these did, at the same time: {', '.join(others[:5])})" if others else ""
        errors = [
            worker_died(pooled.task.name, pooled.call.target.qualname, cause, f" while it ran{also}")
            for pooled in calls
        ]
        self._end(calls, [Outcome(None, None, error, 0.0) for error in errors])
