"""Ending the workers of task runners, which offer no way to do so."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from prefect.task_runners import ProcessPoolTaskRunner

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prefect.futures import PrefectFuture
    from prefect.task_runners import TaskRunner


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
