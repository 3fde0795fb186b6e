"""A host of Kubeflow Pipelines: reaching it, and following a run there."""

from __future__ import annotations

import io
import time
import urllib.error
import urllib.request
import warnings
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import kfp
from kfp_server_api.exceptions import ApiException

from functionfuse.backends.frames import StoredResultLost
from functionfuse.errors import EngineError, EngineUnreachable, NodeError, RunCancelled, TaskNotFound

from ..pod.wire import FAILED, LOST, from_line, unpack_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ..compile.pods import Pod
    from .outcomes import Outcomes

ENDS = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
_ANSWER = 5.0  # seconds that a host may take to say that it is there
_FIRST_LOOK, _LAST_LOOK = 0.25, 5.0  # seconds between looks at a run
_LOG = "/apis/v1alpha1/runs/{run_id}/nodes/{node_id}/log"  # of the API server; the generated client has no call for it


def connect(host: str, namespace: str | None, options: Mapping[str, Any]) -> kfp.Client:
    """Return a client of a host.

    Raises:
        EngineUnreachable: nothing that answers is there.
        EngineError: what answers cannot be used.
    """
    _check_answer(host)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of servers before 2.0
        try:
            return kfp.Client(host=host, **({"namespace": namespace} if namespace else {}), **options)
        except Exception as error:
            raise EngineError(f"Kubeflow Pipelines host {host!r} cannot be used: {error}") from error


def _check_answer(host: str) -> None:
    """The client itself would try for half a minute, and wait for an answer without end."""
    address = f"{host.rstrip('/')}/apis/v2beta1/healthz"
    try:
        with urllib.request.urlopen(address, timeout=_ANSWER):  # noqa: S310
            return
    except urllib.error.HTTPError as error:
        if error.code in (401, 403) or error.code < 400:
            return  # the client knows how to log in
        raise EngineError(f"host {host!r} is no Kubeflow Pipelines API: {address} answers {error.code}") from None
    except (OSError, ValueError) as error:
        if "CERTIFICATE" in str(error):
            return  # the client may know the authority
        raise EngineUnreachable(f"Kubeflow Pipelines host {host!r} does not answer: {error}") from None


class Host:
    """A connected host, with the few calls that a workflow needs."""

    def __init__(
        self, address: str, namespace: str | None, experiment: str | None, root: str | None, options: Mapping[str, Any]
    ) -> None:
        self.address = address.rstrip("/")
        self.client = connect(address, namespace, options)
        self._namespace = namespace
        self._experiment = experiment
        self._root = root

    def submit(self, package: Path, name: str) -> str:
        """Start a run of a compiled pipeline, and return its id."""
        with self._asked(f"submit {name!r}"):
            return str(
                self.client.create_run_from_pipeline_package(
                    str(package),
                    run_name=name,
                    experiment_name=self._experiment,
                    namespace=self._namespace,
                    pipeline_root=self._root,
                ).run_id
            )

    def schedule(self, package: Path, name: str, cron: str, **options: Any) -> str:
        """Run a compiled pipeline again and again, and return the id of that."""
        with self._asked(f"schedule {name!r}"):
            experiment = self.client.create_experiment(self._experiment or "Default", namespace=self._namespace)
            made = self.client.create_recurring_run(
                experiment.experiment_id,
                name,
                cron_expression=cron,
                pipeline_package_path=str(package),
                pipeline_root=self._root,
                **options,
            )
            return str(made.recurring_run_id)

    def unschedule(self, recurring_id: str) -> None:
        """Let it run no more."""
        with self._asked("remove the schedule"):
            self.client.delete_recurring_run(recurring_id)

    def look(self, run_id: str) -> Any:
        """Return what the host knows of a run."""
        with self._asked(f"look at run {run_id}"):
            return self.client.get_run(run_id)

    def cancel(self, run_id: str) -> None:
        """End a run."""
        with self._asked(f"cancel run {run_id}"):
            self.client.terminate_run(run_id)

    def log(self, run_id: str, pod: str) -> str:
        """Return the log of a pod; "" where the host has none."""
        api = self.client._run_api.api_client
        try:
            answer = api.call_api(
                _LOG, "GET", {"run_id": run_id, "node_id": pod}, response_type=None, auth_settings=["Bearer"],
                _preload_content=False, _request_timeout=30,
            )  # fmt: skip
            return str(answer.data.decode(errors="replace"))
        except Exception:  # the log is a help and no more, and comes by a way that the client does not promise
            return ""

    def _asked(self, what: str) -> Any:
        return _Asked(self.address, what)


class _Asked(redirect_stdout[io.StringIO]):
    """A call of the host: what the client prints is dropped, and what it raises is the workflow's error."""

    def __init__(self, host: str, what: str) -> None:
        super().__init__(io.StringIO())
        self._host = host
        self._what = what

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        super().__exit__(kind, error, trace)
        if isinstance(error, ApiException):
            said = (error.body or error.reason or "").strip() if isinstance(error.body, str | None) else error.reason
            raise EngineError(f"host {self._host!r} did not {self._what}: {error.status} {said}") from error
        if isinstance(error, OSError) or type(error).__name__ == "MaxRetryError":
            raise EngineError(f"host {self._host!r} did not {self._what}: {error}") from error


class Following:
    """Looks at a run on a host until it ends, and settles its tasks.

    Args:
        host: the host.
        run_id: the run.
        pods: the pods of the run.
        outcomes: takes in what becomes of steps.
        go_on: whether steps that do not depend on a failure still run.
    """

    def __init__(self, host: Host, run_id: str, pods: Sequence[Pod], outcomes: Outcomes, *, go_on: bool) -> None:
        self.host = host
        self.run_id = run_id
        self._pods = {pod.key: pod for pod in pods}
        self._by_title = {pod.title: pod for pod in pods}
        self._outcomes = outcomes
        self._go_on = go_on

    def looks(self, timeout: float | None, told: Callable[[Any], object] = bool) -> str:
        """Look until the run ends, and return how.

        Raises:
            EngineError: it did not end in time.
        """
        end = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_LOOK
        while True:
            seen = self.host.look(self.run_id)
            told(seen)
            if seen.state in ENDS:
                return str(seen.state)
            if end is not None and time.monotonic() + pause > end:
                raise EngineError(
                    f"run {self.run_id} on {self.host.address!r} is still {seen.state} after {timeout:g} s"
                )
            time.sleep(pause)
            pause = min(_LAST_LOOK, 1.2 * pause)

    def settle(self, timeout: float | None = None) -> None:
        """Wait for the end of the run, and settle every task.

        Raises:
            RunCancelled: somebody canceled the run.
            EngineError: the run failed without a failed node.
            StoredResultLost: a stored result that the plan reuses cannot be read.
        """
        state = self.looks(timeout, self._take_in)
        if state == "SUCCEEDED":
            for pod in self._pods.values():
                self._finish(pod)
        elif state == "FAILED":
            self._explain(self.host.look(self.run_id))
        else:
            kind = RunCancelled if state == "CANCELED" else EngineError
            raise kind(f"run {self.run_id} on {self.host.address!r} ended as {state}")

    def logs(self, name: str | None = None) -> str:
        """Return the logs of the pods of a run, or of the pod of one node."""
        parts = []
        for title, pod in self._pods_of_run(self.host.look(self.run_id)):
            if name is None or name in (title, *(step.name for step in self._steps(title))):
                parts.append(f"== {title} ==\n{self.host.log(self.run_id, pod)}")
        return "\n".join(parts)

    def _steps(self, title: str) -> Sequence[Any]:
        pod = self._pods.get(title) or self._by_title.get(title)
        return pod.steps if pod is not None else ()

    def _take_in(self, seen: Any) -> None:
        for detail in _details(seen):
            steps = self._steps(detail.display_name)
            if detail.state in ("RUNNING", "SUCCEEDED"):
                for step in steps:
                    self._outcomes.started(step.name)
            if detail.state == "SUCCEEDED" and not self._go_on:
                for step in steps:
                    self._outcomes.finished(step.name, _seconds(detail))

    def _finish(self, pod: Pod) -> None:
        for step in pod.steps:
            self._outcomes.finished(step.name, 0.0)

    def _explain(self, seen: Any) -> None:
        """Find out from the logs which nodes failed, and why."""
        failures: dict[str, bytes] = {}
        failed = [detail for detail in _details(seen) if detail.state == "FAILED"]
        said = []
        for detail in failed:
            for name in _pod_names(detail):
                log = self.host.log(self.run_id, name)
                lost = from_line(LOST, log)
                if lost is not None:
                    raise StoredResultLost(lost[0], TaskNotFound(lost[1]))
                failures.update(from_line(FAILED, log) or {})
                said += [line for line in log.splitlines() if line.startswith("functionfuse: ")]
        for packed in failures.values():
            error = unpack_error(packed)
            self._outcomes.failed_within(error)
        if not failures:
            self._blame(failed, said, seen)
        if self._go_on:
            self._outcomes.skip_the_rest()
            ended = {detail.display_name for detail in _details(seen) if detail.state == "SUCCEEDED"}
            for pod in self._pods.values():
                if failures or ended & {pod.key, pod.title}:  # what tells of failures runs last, after all others
                    self._finish(pod)

    def _blame(self, failed: Sequence[Any], said: Sequence[str], seen: Any) -> None:
        """Name the node whose pod failed without a word of why."""
        steps = [step for detail in failed for step in self._steps(detail.display_name)]
        why = said[-1].partition(": ")[2] if said else _message(seen, failed)
        if not steps:
            raise EngineError(f"run {self.run_id} on {self.host.address!r} failed: {why}")
        name = steps[0].name
        error = NodeError(f"node {name!r} failed: {why}", name=name, function=steps[0].target.qualname)
        self._outcomes.failed(name, 0.0, error)

    def _pods_of_run(self, seen: Any) -> Iterator[tuple[str, str]]:
        for detail in _details(seen):
            for pod in _pod_names(detail):
                yield detail.display_name, pod


def _details(seen: Any) -> Sequence[Any]:
    return (seen.run_details and seen.run_details.task_details) or ()


def _pod_names(detail: Any) -> list[str]:
    names = [detail.pod_name, *(child.pod_name for child in detail.child_tasks or ())]
    return list(dict.fromkeys(filter(None, names)))


def _seconds(detail: Any) -> float:
    if detail.start_time is None or detail.end_time is None:
        return 0.0
    return float((detail.end_time - detail.start_time).total_seconds())


def _message(seen: Any, failed: Sequence[Any]) -> str:
    errors = [detail.error for detail in failed if detail.error] + [seen.error]
    said = "; ".join(str(error.message) for error in errors if error is not None and error.message)
    return said or "its pod ended without a word; `kubectl describe pod` may tell more"
