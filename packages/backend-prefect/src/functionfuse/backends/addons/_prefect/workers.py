"""The workers of task runners: errors that Prefect does not pass on, and an end, for which it offers no way."""

from __future__ import annotations

import multiprocessing
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from prefect.task_runners import ProcessPoolTaskRunner

from functionfuse.errors import EngineError

from .serialization import serializer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prefect.futures import PrefectFuture
    from prefect.task_runners import TaskRunner


MAIN_GUARD = "if __name__ == '__main__':"


def refuse_unguarded_main(workflow_name: str) -> None:
    """Refuse a run in a process that is only being started, and reads the script from its beginning.

    Args:
        workflow_name: for the message.

    Raises:
        EngineError: this is one.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing itself asks
        raise EngineError(
            f"workflow {workflow_name!r} would run again in a process of its own pool, which reads the script from its "
            f"beginning: put what runs the workflow under {MAIN_GUARD}"
        )


class WorkerStopped(Exception):  # noqa: N818  what stopped it is in it
    """Stands for what a worker raised that is no Exception, for which a task runner would wait for ever.

    Args:
        content: the serialized error.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.content = content


def guard_workers(runner: TaskRunner[Any]) -> None:
    """Let the processes of a pool report errors of every kind, and die at any time.

    The thread that reads their results ends with an error that is no Exception, and all futures of the pool stay
    without a result. Prefect raises such errors itself: SystemExit, where its own part of a task run fails.

    A process that is killed while it sends a message (log lines, events) leaves the queue of messages locked. Python
    would then wait for that queue for ever when the program ends, even if the program has nothing left to send.

    Args:
        runner: the task runner, which has been started.
    """
    if not isinstance(runner, ProcessPoolTaskRunner) or runner._executor is None:
        return
    submit: Any = runner._executor.submit
    vars(runner._executor).setdefault("submit", partial(submit, _guarded))
    if runner._subprocess_message_queue is not None:
        runner._subprocess_message_queue.cancel_join_thread()


def _guarded(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except Exception:
        raise
    except BaseException as error:
        cause = error.__context__  # of Prefect's exit(1)
        shown = cause if isinstance(error, SystemExit) and cause is not None else error
        raise WorkerStopped(serializer.error(shown)) from None


def end_workers(runner: TaskRunner[Any], futures: Iterable[PrefectFuture[Any]]) -> None:
    """End the processes of a pool, or cancel the tasks of a cluster.

    Args:
        runner: the task runner.
        futures: of the task runs that have not ended.
    """
    if isinstance(runner, ProcessPoolTaskRunner) and runner._executor is not None:
        for process in list((runner._executor._processes or {}).values()):
            process.kill()
        return
    ray: Any = sys.modules.get("ray")
    for future in futures:
        wrapped = getattr(future, "wrapped_future", None)
        with suppress(Exception):
            if ray is not None and isinstance(wrapped, ray.ObjectRef):
                ray.cancel(wrapped, force=True)
            elif wrapped is not None:
                wrapped.cancel()
