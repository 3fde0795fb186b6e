"""Pools and the processes that have them: a fork leaves the workers behind, and a process may end before them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing import util
from typing import TYPE_CHECKING, Any

from functionfuse.errors import EngineError

if TYPE_CHECKING:
    from concurrent.futures import Executor

_pool_of = os.getpid()  # the process that loky's pool belongs to
_inherited: list[Any] = []  # pools of parents; collected, they would write to the pipes of these
_ended_with_process: set[int] = set()  # executors, by their numbers


def forget_pool_of_parent() -> None:
    """Let a forked process make a pool of its own: the threads that serve the pool of its parent are not in it."""
    global _pool_of
    if _pool_of == os.getpid():
        return
    _pool_of = os.getpid()
    from loky import reusable_executor

    storage = reusable_executor._executor_storage  # it has no public way
    _inherited.append(storage.executor)
    storage.executor = None


def end_with_process(executor: Any) -> None:
    """Shut loky's pool down when a process of `multiprocessing` ends, which would wait for idle workers otherwise.

    Args:
        executor: the pool.
    """
    if multiprocessing.parent_process() is not None and executor.executor_id not in _ended_with_process:
        _ended_with_process.add(executor.executor_id)
        util.Finalize(None, executor.shutdown, kwargs={"kill_workers": True}, exitpriority=10)


def refuse_inherited(executor: Executor) -> None:
    """Refuse an executor that a forked process has from its parent: nothing serves it here.

    Args:
        executor: the executor.

    Raises:
        EngineError: it is one.
    """
    manager = getattr(executor, "_executor_manager_thread", None)
    threads = [manager] if isinstance(manager, threading.Thread) else list(getattr(executor, "_threads", ()))
    is_closed = getattr(executor, "_shutdown", False) or getattr(executor, "_shutdown_thread", False)
    if threads and not is_closed and not any(thread.is_alive() for thread in threads):
        raise EngineError(
            f"the executor {type(executor).__name__} does not run in this process, which was forked after it was "
            "started: make an executor here, or start this process with the method 'spawn'"
        )
