"""The leases of this process after a time in which others could have taken them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from functionfuse.errors import StorageError

from ..exceptions import WorkflowStillActiveError
from . import lease
from .tasks import WorkflowOutcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functionfuse.stores import Catalogue

    from .running import RunningWorkflow

TRIES = 150  # tenths of a second to wait for a store that takes no heartbeat


class LeaseGuard:
    """Checks the leases of an engine.

    Args:
        store: where they are.
        owner: who holds them.
        workflow: the workflows of the engine.
    """

    def __init__(self, store: Catalogue, owner: lease.LeaseOwner, workflow: Mapping[str, RunningWorkflow]) -> None:
        self._store = store
        self._owner = owner
        self._workflows = workflow

    async def confirm(self) -> None:
        """Wait until the store shows that this process lives, and stop what others run now.

        Raises:
            StorageError: the store cannot be used.
        """
        problem: StorageError | None = None
        for _ in range(TRIES):
            try:
                await self._check_lapses()
            except StorageError as error:
                problem = error
            if self._owner.is_certain():
                return
            await asyncio.sleep(0.1)
        raise StorageError(f"{self._store!r} cannot be used: {self._owner.problem or problem or 'it does not answer'}")

    async def _check_lapses(self) -> None:
        lapses = self._owner.lapses
        if lapses == self._owner.checked:
            return
        for workflow in list(self._workflows.values()):
            scheduler, journal = workflow.scheduler, workflow.journal
            if scheduler is None or await asyncio.to_thread(lease.is_held, journal, self._owner, workflow.epoch):
                continue
            scheduler.end(WorkflowOutcome("FAILED", error=WorkflowStillActiveError("RUN", journal.workflow_id)))
        self._owner.checked = lapses
