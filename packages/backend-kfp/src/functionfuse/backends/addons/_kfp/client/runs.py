"""Handles of what was submitted to a host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functionfuse.backends.frames import StoredResultLost
from functionfuse.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cluster import Following, Host


class KFPRun:
    """A run on a host of Kubeflow Pipelines.

    Attributes:
        run_id: its id there.
        url: its page in the dashboard.
    """

    def __init__(self, following: Following, results: Callable[[], Any] | None) -> None:
        self._following = following
        self._results = results
        self.run_id = following.run_id
        self.url = f"{following.host.address}/#/runs/details/{self.run_id}"

    @property
    def state(self) -> str:
        """How it stands: "PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELING", "CANCELED" ..."""
        return str(self._following.host.look(self.run_id).state)

    def wait(self, timeout: float | None = None) -> str:
        """Wait for the end, however it ends, and return the state then.

        Raises:
            EngineError: it did not end in so many seconds.
        """
        return self._following.looks(timeout)

    def cancel(self) -> None:
        """End the run."""
        self._following.host.cancel(self.run_id)

    def logs(self, name: str | None = None) -> str:
        """Return the logs of its pods, or of the pod of one node, as far as the host has them."""
        return self._following.logs(name)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end, and return the results of the nodes that the workflow was given, from its store.

        Raises:
            NodeError: a node failed; its ``__cause__`` is what the function raised.
            WorkflowFailed: nodes failed, with ``on_error="continue"``.
            EngineError: the run was canceled, or did not end in time.
            OptionError: the workflow has no store.
        """
        if self._results is None:
            raise OptionError("results come back through a store: set_storage(...) before submit()")
        try:
            self._following.settle(timeout)
            return self._results()
        except StoredResultLost as loss:
            raise loss.cause from None

    def __repr__(self) -> str:
        return f"<run {self.run_id} on {self._following.host.address}>"


class KFPSchedule:
    """Runs that a host of Kubeflow Pipelines starts by the clock.

    Attributes:
        recurring_run_id: its id there.
        url: its page in the dashboard.
    """

    def __init__(self, host: Host, recurring_run_id: str) -> None:
        self._host = host
        self.recurring_run_id = recurring_run_id
        self.url = f"{host.address}/#/recurringrun/details/{recurring_run_id}"

    def delete(self) -> None:
        """Start no more of them."""
        self._host.unschedule(self.recurring_run_id)

    def __repr__(self) -> str:
        return f"<recurring run {self.recurring_run_id} on {self._host.address}>"
