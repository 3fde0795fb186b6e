"""Runs that go on: the record of each is read once for all viewers, and only when it was written again."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

from functionfuse.errors import TaskNotFound
from functionfuse.runs import read_run, summary_of
from functionfuse.stores import runs_of

from .._report.changes import changes_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from functionfuse.runs import RunRecord
    from functionfuse.stores import Catalogue

    ViewOf = Callable[[RunRecord], dict[str, Any]]

_INTERVAL = 1.0  # seconds between two looks at a record
_COST = 20  # how much longer the time between two readings is than a reading takes
_PAUSE = 10.0  # seconds to wait for a storage that cannot be reached


class FollowedRun:
    """A run that goes on, as viewers see it. It is read while there are viewers.

    Args:
        store: that has its record.
        workflow: its name.
        id: of the run.
        view_of: returns what a page shows of a record.
    """

    def __init__(self, store: Catalogue, workflow: str, id: str, view_of: ViewOf) -> None:
        self._store = store
        self._workflow = workflow
        self._id = id
        self._view_of = view_of
        self._view: dict[str, Any] | None = None
        self._seen: tuple[Any, str] = (None, "")
        self._has_ended = False
        self._changed = asyncio.Event()
        self._last: tuple[Any, Any, str] = (None, None, "")
        self._task: asyncio.Task[None] | None = None
        self._viewers = 0

    async def changes(self) -> AsyncGenerator[str, None]:
        """Yield what a page needs to show the run, as JSON: first all, then what has changed, until the run ends.

        A viewer that takes long misses views between; there is no queue.
        """
        self._viewers += 1
        if self._task is None:
            self._task = asyncio.create_task(self._follow())
        shown = None
        try:
            while True:
                view, changed = self._view, self._changed
                if view is not None and view is not shown:
                    text = await self._difference(shown, view)
                    shown = view
                    if text:
                        yield text
                elif self._has_ended:
                    return
                else:
                    await changed.wait()
        finally:
            self._viewers -= 1
            if not self._viewers and self._task is not None:
                self._task.cancel()
                self._task = None

    @property
    def has_viewers(self) -> bool:
        """Return True while somebody is shown the run."""
        return bool(self._viewers)

    async def _difference(self, shown: dict[str, Any] | None, view: dict[str, Any]) -> str:
        """Return what makes one view from another; it is made once for the viewers that show the same."""
        if self._last[0] is not shown or self._last[1] is not view:
            changes = await asyncio.to_thread(changes_of, _empty(view) if shown is None else shown, view)
            text = json.dumps(changes, separators=(",", ":"), allow_nan=False) if changes else ""
            self._last = shown, view, text
        return self._last[2]

    async def _follow(self) -> None:
        while not self._has_ended:
            begun, pause = time.monotonic(), _INTERVAL
            try:
                seen, view = await asyncio.to_thread(self._look)
            except TaskNotFound:  # the record was removed
                self._has_ended = True
            except Exception:  # of a storage that cannot be reached for a while, for example
                pause = _PAUSE
            else:
                self._seen, self._has_ended = seen, seen[1] != "running"
                if view is not None:
                    self._view = view
                    pause = max(_INTERVAL, _COST * (time.monotonic() - begun))
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()
            await asyncio.sleep(pause)

    def _look(self) -> tuple[tuple[Any, str], dict[str, Any] | None]:
        """Return what the footer of the record says, and the view of the record, if that has changed.

        A run also changes without a new footer, when its process is killed.
        """
        footer = self._store.info(runs_of(self._workflow), self._id)
        seen = footer["meta"]["run"], summary_of(self._id, self._workflow, footer).state
        if seen == self._seen:
            return seen, None
        return seen, self._view_of(read_run(self._store, self._id, self._workflow))


def _empty(view: dict[str, Any]) -> dict[str, Any]:
    """Return the view of a page that was sent nothing yet."""
    return {**dict.fromkeys(view), "nodes": {name: [] for name in view["nodes"]}}
