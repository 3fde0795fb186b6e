"""Handles of the runs and recurring runs that a workflow created on a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functionfuse.backends.frames import StoredResultLost
from functionfuse.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .monitor import RunMonitor
    from .server import KFPServer


class KFPRun:
    """A run on a server of Kubeflow Pipelines.

    Args:
        monitor: follows the run.
        results: returns the results from the store; None without one.
        ended: called when the run has ended, with the error if it failed; it writes the record of the run.

    Attributes:
        run_id: its id.
        url: its page in the dashboard.
    """

    def __init__(
        self,
        monitor: RunMonitor,
        results: Callable[[], Any] | None,
        ended: Callable[[BaseException | None], None],
    ) -> None:
        self._monitor = monitor
        self._results = results
        self._ended = ended
        self.run_id = monitor.run_id
        self.url = f"{monitor.server.address}/#/runs/details/{self.run_id}"

    @property
    def state(self) -> str:
        """The present state: "PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELING", "CANCELED" ..."""
        return str(self._monitor.server.get_run(self.run_id).state)

    def wait(self, timeout: float | None = None) -> str:
        """Wait until the run ends, in whatever state, and return that.

        Args:
            timeout: seconds; None waits without limit.

        Raises:
            EngineError: the run did not end in time.
        """
        return self._monitor.wait(timeout)

    def cancel(self) -> None:
        """Cancel the run."""
        self._monitor.server.cancel(self.run_id)

    def logs(self, name: str | None = None) -> str:
        """Return the logs of all pods, or of the pod of the named node; "" where the server has none."""
        return self._monitor.logs(name)

    def result(self, timeout: float | None = None) -> Any:
        """Wait until the run ends, and return the results of the nodes that the workflow was given, from its store.

        The record of the run in the store tells how it ended from then on.

        Args:
            timeout: seconds; None waits without limit.

        Raises:
            NodeError: a node failed; its ``__cause__`` is what the function raised.
            WorkflowFailed: nodes failed, with ``on_error="continue"``.
            RunCancelled: the run was canceled.
            EngineError: the run ended without a failed node, or not in time.
            OptionError: the workflow has no store.
        """
        if self._results is None:
            raise OptionError("results come back through a store: set_storage(...) before submit()")
        self._monitor.wait(timeout)
        try:
            self._monitor.settle()
            results = self._results()
        except StoredResultLost as loss:
            self._ended(loss.cause)
            raise loss.cause from None
        except BaseException as error:
            self._ended(error)
            raise
        self._ended(None)
        return results

    def __repr__(self) -> str:
        return f"<run {self.run_id} on {self._monitor.server.address}>"


class KFPSchedule:
    """A recurring run: runs that a server of Kubeflow Pipelines starts by the clock.

    Args:
        server: the server.
        recurring_run_id: its id.

    Attributes:
        recurring_run_id: its id.
        url: its page in the dashboard.
    """

    def __init__(self, server: KFPServer, recurring_run_id: str) -> None:
        self._server = server
        self.recurring_run_id = recurring_run_id
        self.url = f"{server.address}/#/recurringrun/details/{recurring_run_id}"

    def delete(self) -> None:
        """Delete it, so that no more runs start."""
        self._server.delete_schedule(self.recurring_run_id)

    def __repr__(self) -> str:
        return f"<recurring run {self.recurring_run_id} on {self._server.address}>"
