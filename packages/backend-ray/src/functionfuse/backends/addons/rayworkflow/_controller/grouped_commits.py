"""Results of tasks on their way from the controller into the log, many at once."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._records.results import ResultLog

_COLLECT = 0.02  # seconds in which results of other tasks may join, while nobody waits


class GroupedCommits:
    """Writes results into the log of one workflow; all methods run in the engine's loop.

    Args:
        log: of the workflow.
        failed: called when results could not be stored.
    """

    def __init__(self, log: ResultLog, failed: Callable[[Exception], None]) -> None:
        self._log = log
        self._failed = failed
        self._results: dict[str, tuple[Any, ...]] = {}
        self._about: dict[str, Mapping[str, Any]] = {}
        self._hurry = asyncio.Event()
        self._added = self._stored = 0
        self._writing: asyncio.Task[None] | None = None
        self._progress = asyncio.Condition()
        self._problem: Exception | None = None

    def add(self, key: str, value: bytes, about: Mapping[str, Any]) -> None:
        """Store the pickled result of a task soon, and what is known of the task.

        Args:
            key: the key of the task.
            value: the serialized result.
            about: what is known of the task.
        """
        self._results[key], self._about[key] = ("value", value, []), about
        self._added += 1
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def flushed(self) -> None:
        """Return when all that was added is stored; what kept that from being stored is raised."""
        wanted = self._added
        self._hurry.set()
        async with self._progress:
            await self._progress.wait_for(lambda: self._stored >= wanted or self._problem is not None)
        if self._problem is not None:
            raise self._problem

    async def _write(self) -> None:
        try:
            while self._results:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._hurry.wait(), _COLLECT)
                self._hurry.clear()
                results, about, added = self._results, self._about, self._added
                self._results, self._about = {}, {}
                await asyncio.to_thread(self._log.append, results, about)
                await self._report_stored(added)
        except Exception as error:
            self._problem = error
            await self._report_stored(self._stored)
            self._failed(error)
        finally:
            self._writing = None

    async def _report_stored(self, stored: int) -> None:
        self._stored = stored
        async with self._progress:
            self._progress.notify_all()
