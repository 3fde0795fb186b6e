"""Following a run on a server until it ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from functionfuse.errors import EngineError, NodeError, RunCancelled

from ..pod.messages import FAILED, FINISHED, LOST, parse_log
from ..pod.plan import CHECK_FAILURES
from ..pod.serialization import deserialize_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..compile.pods import Pod
    from .outcomes import StepOutcomes
    from .server import KFPServer

FINAL_STATES = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
_FIRST_INTERVAL, _LAST_INTERVAL = 0.25, 5.0  # seconds between polls


class RunMonitor:
    """Polls a run on a server until it ends, and settles its tasks.

    Args:
        server: the server.
        run_id: id of the run.
        pods: the pods of the run.
        outcomes: receives the outcomes of steps.
        continue_on_error: whether steps that do not depend on a failure still run.
        checks_failures: whether a task of the run looks for failures, because steps run after one.
    """

    def __init__(
        self,
        server: KFPServer,
        run_id: str,
        pods: Sequence[Pod],
        outcomes: StepOutcomes,
        *,
        continue_on_error: bool,
        checks_failures: bool,
    ) -> None:
        self.server = server
        self.run_id = run_id
        self._pods = {pod.key: pod for pod in pods}
        self._by_title = {pod.title: pod for pod in pods}
        self._outcomes = outcomes
        self._continue_on_error = continue_on_error
        self._checks_failures = checks_failures

    def wait(self, timeout: float | None, report: Callable[[Any], object] = bool) -> str:
        """Poll until the run ends, and return its state then.

        Args:
            timeout: seconds; None waits without limit.
            report: called with what the server returns at each poll.

        Raises:
            EngineError: it did not end in time.
        """
        end = None if timeout is None else time.monotonic() + timeout
        interval = _FIRST_INTERVAL
        while True:
            run = self.server.get_run(self.run_id)
            report(run)
            if run.state in FINAL_STATES:
                return str(run.state)
            if end is not None and time.monotonic() + interval > end:
                raise EngineError(
                    f"run {self.run_id} on {self.server.address!r} is still {run.state} after {timeout:g} s"
                )
            time.sleep(interval)
            interval = min(_LAST_INTERVAL, 1.2 * interval)

    def settle(self, timeout: float | None = None) -> None:
        """Wait for the end of the run, and settle every task, or those that finished before a stored result was lost.

        Args:
            timeout: seconds; None waits without limit.

        Raises:
            RunCancelled: the run was canceled.
            EngineError: the run failed and no node of it did, or it did not end in time.
        """
        state = self.wait(timeout, self._receive)
        if state == "SUCCEEDED":
            if self._checks_failures:
                self._report_tolerated(self.server.get_run(self.run_id))
            for pod in self._pods.values():
                self._finish(pod)
        elif state == "FAILED":
            self._report_failures(self.server.get_run(self.run_id))
        else:
            kind = RunCancelled if state == "CANCELED" else EngineError
            raise kind(f"run {self.run_id} on {self.server.address!r} ended as {state}")

    def logs(self, name: str | None = None) -> str:
        """Return the logs of the pods of the run, or of the pod of one node; "" where the server has none."""
        parts = []
        for title, pod in self._pods_of_run(self.server.get_run(self.run_id)):
            if name is None or name in (title, *(step.name for step in self._steps(title))):
                parts.append(f"== {title} ==\n{self.server.pod_log(self.run_id, pod)}")
        return "\n".join(parts)

    def _steps(self, title: str) -> Sequence[Any]:
        pod = self._pods.get(title) or self._by_title.get(title)
        return pod.steps if pod is not None else ()

    def _receive(self, run: Any) -> None:
        self._outcomes.run.interrupted()
        for detail in _details(run):
            steps = self._steps(detail.display_name)
            if detail.state in ("RUNNING", "SUCCEEDED"):
                for step in steps:
                    self._outcomes.started(step.name)
            if detail.state == "SUCCEEDED" and not self._checks_failures:
                for step in steps:
                    self._outcomes.finished(step.name, _seconds(detail))

    def _finish(self, pod: Pod) -> None:
        for step in pod.steps:
            self._outcomes.finished(step.name, 0.0)

    def _report_tolerated(self, run: Any) -> None:
        """Report the failures that did not stop the run, which the task that looks for them has in its log."""
        for detail in _details(run):
            if detail.display_name == CHECK_FAILURES:
                for pod in _pod_names(detail):
                    for failure in (parse_log(FAILED, self.server.pod_log(self.run_id, pod)) or {}).values():
                        self._outcomes.failed_anywhere(deserialize_error(failure))
        self._outcomes.skip_remaining()

    def _report_failures(self, run: Any) -> None:
        """Report the failures that the logs of failed pods hold."""
        failures: dict[str, bytes] = {}
        failed = [detail for detail in _details(run) if detail.state == "FAILED"]
        messages: list[str] = []
        lost: tuple[str, str] | None = None
        for detail in failed:
            for name in _pod_names(detail):
                log = self.server.pod_log(self.run_id, name)
                lost = lost or parse_log(LOST, log)
                failures.update(parse_log(FAILED, log) or {})
                messages += [line for line in log.splitlines() if line.startswith("functionfuse: ")]
        if lost is not None and (self._continue_on_error or not failures):
            self._settle_finished(run)
            self._outcomes.lost(*lost)
            return
        for failure in failures.values():
            self._outcomes.failed_anywhere(deserialize_error(failure))
        if not failures:
            self._report_unexplained(failed, messages, run)
        if self._checks_failures and not self._continue_on_error:
            self._settle_finished(run)
        if self._continue_on_error:
            self._outcomes.skip_remaining()
            ended = {detail.display_name for detail in _details(run) if detail.state == "SUCCEEDED"}
            for pod in self._pods.values():
                if failures or ended & {pod.key, pod.title}:  # the task that checks for failures runs last
                    self._finish(pod)

    def _settle_finished(self, run: Any) -> None:
        """Settle the steps that finished, as the logs of their pods tell where the status of these does not."""
        for detail in _details(run):
            for pod in _pod_names(detail):
                for name in parse_log(FINISHED, self.server.pod_log(self.run_id, pod)) or ():
                    self._outcomes.finished(name, 0.0)

    def _report_unexplained(self, failed: Sequence[Any], messages: Sequence[str], run: Any) -> None:
        """Report the failure of a node whose pod exited without reporting an error."""
        steps = [step for detail in failed for step in self._steps(detail.display_name)]
        cause = messages[-1].partition(": ")[2] if messages else _message(run, failed)
        if not steps:
            raise EngineError(f"run {self.run_id} on {self.server.address!r} failed: {cause}")
        name = steps[0].name
        error = NodeError(f"node {name!r} failed: {cause}", name=name, function=steps[0].target.qualname)
        self._outcomes.failed(name, 0.0, error)

    def _pods_of_run(self, run: Any) -> Iterator[tuple[str, str]]:
        for detail in _details(run):
            for pod in _pod_names(detail):
                yield detail.display_name, pod


def _details(run: Any) -> Sequence[Any]:
    return (run.run_details and run.run_details.task_details) or ()


def _pod_names(detail: Any) -> list[str]:
    names = [detail.pod_name, *(child.pod_name for child in detail.child_tasks or ())]
    return list(dict.fromkeys(filter(None, names)))


def _seconds(detail: Any) -> float:
    if detail.start_time is None or detail.end_time is None:
        return 0.0
    return float((detail.end_time - detail.start_time).total_seconds())


def _message(run: Any, failed: Sequence[Any]) -> str:
    errors = [detail.error for detail in failed if detail.error] + [run.error]
    message = "; ".join(str(error.message) for error in errors if error is not None and error.message)
    return message or "its pod exited without reporting an error; `kubectl describe pod` may show why"
