"""The API server of Kubeflow Pipelines: connecting to it, and the few calls that a workflow needs."""

from __future__ import annotations

import io
import urllib.error
import urllib.request
import warnings
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import kfp
from kfp_server_api.exceptions import ApiException

from functionfuse.errors import EngineError, EngineUnreachable, OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_CONNECT_TIMEOUT = 5.0  # seconds
_LOG_PATH = (
    "/apis/v1alpha1/runs/{run_id}/nodes/{node_id}/log"  # of the API server; the generated client has no call for it
)


def connect(
    host: str, namespace: str | None, options: Mapping[str, Any], timeout: float = _CONNECT_TIMEOUT
) -> kfp.Client:
    """Return a client of an API server.

    Args:
        host: its address.
        namespace: of Kubernetes.
        options: further arguments of `kfp.Client`.
        timeout: seconds in which the server has to answer.

    Raises:
        EngineUnreachable: no server answers at the address.
        EngineError: what answers is no API server, or refuses the client.
    """
    _check_answer(host, timeout)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of servers before 2.0
        try:
            return kfp.Client(host=host, **({"namespace": namespace} if namespace else {}), **options)
        except Exception as error:
            raise EngineError(f"Kubeflow Pipelines server {host!r} cannot be used: {error}") from error


def _check_answer(host: str, timeout: float) -> None:
    """Check that a server answers; `kfp.Client` would try for half a minute, and wait for an answer without limit."""
    address = f"{host.rstrip('/')}/apis/v2beta1/healthz"
    try:
        with urllib.request.urlopen(address, timeout=timeout):  # noqa: S310
            return
    except urllib.error.HTTPError as error:
        if error.code in (401, 403) or error.code < 400:
            return  # the client can log in
        raise EngineError(
            f"server {host!r} is no Kubeflow Pipelines API server: {address} answers {error.code}"
        ) from None
    except (OSError, ValueError) as error:
        if "CERTIFICATE" in str(error):
            return  # the client may know the authority
        raise EngineUnreachable(f"Kubeflow Pipelines server {host!r} does not answer: {error}") from None


class ServerSettings:
    """How a workflow reaches an API server.

    Args:
        namespace: of Kubernetes.
        experiment: in which runs appear.
        pipeline_root: where artifacts are kept.
    """

    def __init__(self, namespace: str | None, experiment: str | None, pipeline_root: str | None) -> None:
        self.host: str | None = None
        self.pipeline_root = pipeline_root
        self._namespace = namespace
        self._experiment = experiment
        self._options: Mapping[str, Any] = {}

    def set_host(self, host: str | None, options: Mapping[str, Any]) -> None:
        """Set the address of the API server.

        Args:
            host: the address; None when there is no server.
            options: further arguments of `kfp.Client`.

        Raises:
            OptionError: not an address.
        """
        if host is not None and (not isinstance(host, str) or "://" not in host):
            raise OptionError(f"kfp_host is an address like 'http://localhost:8080', got {host!r}")
        self.host = host
        self._options = options

    def connect(self) -> KFPServer:
        """Connect to the API server.

        Raises:
            OptionError: no address is set.
            EngineError: the server does not answer, or refuses the client.
        """
        if self.host is None:
            raise OptionError("there is no kfp_host: set_kfp_host('http://...'); run_local() needs none")
        return KFPServer(self.host, self._namespace, self._experiment, self.pipeline_root, self._options)


class KFPServer:
    """A connected API server of Kubeflow Pipelines, with the few calls that a workflow needs.

    Every call raises EngineError when the server does not answer, or refuses it.

    Args:
        address: of the API.
        namespace: of Kubernetes.
        experiment: in which runs appear.
        pipeline_root: where artifacts are kept.
        options: further arguments of `kfp.Client`.
    """

    def __init__(
        self,
        address: str,
        namespace: str | None,
        experiment: str | None,
        pipeline_root: str | None,
        options: Mapping[str, Any],
    ) -> None:
        self.address = address.rstrip("/")
        self.client = connect(address, namespace, options)
        self._namespace = namespace
        self._experiment = experiment
        self._pipeline_root = pipeline_root

    def submit(self, package: Path, name: str) -> str:
        """Start a run of a compiled pipeline, and return its id.

        Args:
            package: path of the compiled pipeline.
            name: of the run.
        """
        with self._call(f"submit {name!r}"):
            return str(
                self.client.create_run_from_pipeline_package(
                    str(package),
                    run_name=name,
                    experiment_name=self._experiment,
                    namespace=self._namespace,
                    pipeline_root=self._pipeline_root,
                ).run_id
            )

    def schedule(self, package: Path, name: str, cron: str) -> str:
        """Create a recurring run of a compiled pipeline, and return its id.

        Args:
            package: path of the compiled pipeline.
            name: of the recurring run.
            cron: when runs start, in six fields.
        """
        with self._call(f"schedule {name!r}"):
            experiment = self.client.create_experiment(self._experiment or "Default", namespace=self._namespace)
            made = self.client.create_recurring_run(
                experiment.experiment_id,
                name,
                cron_expression=cron,
                pipeline_package_path=str(package),
                pipeline_root=self._pipeline_root,
            )
            return str(made.recurring_run_id)

    def delete_schedule(self, recurring_run_id: str) -> None:
        """Delete a recurring run."""
        with self._call("delete the recurring run"):
            self.client.delete_recurring_run(recurring_run_id)

    def get_run(self, run_id: str) -> Any:
        """Return the state of a run, with its tasks, as the API describes it."""
        with self._call(f"return run {run_id}"):
            return self.client.get_run(run_id)

    def cancel(self, run_id: str) -> None:
        """Cancel a run."""
        with self._call(f"cancel run {run_id}"):
            self.client.terminate_run(run_id)

    def pod_log(self, run_id: str, pod_name: str) -> str:
        """Return the log of a pod; "" where the server has none.

        Args:
            run_id: id of the run.
            pod_name: name of the pod in Kubernetes.
        """
        api = self.client._run_api.api_client
        try:
            answer = api.call_api(
                _LOG_PATH, "GET", {"run_id": run_id, "node_id": pod_name}, response_type=None, auth_settings=["Bearer"],
                _preload_content=False, _request_timeout=30,
            )  # fmt: skip
            return str(answer.data.decode(errors="replace"))
        except Exception:  # the log only adds to a message, and the generated client does not promise its path
            return ""

    def _call(self, action: str) -> _ApiCall:
        return _ApiCall(self.address, action)


class _ApiCall(redirect_stdout[io.StringIO]):
    """A call of the API: drops what the client prints, and raises EngineError for what it raises."""

    def __init__(self, address: str, action: str) -> None:
        super().__init__(io.StringIO())
        self._address = address
        self._action = action

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        super().__exit__(kind, error, trace)
        if isinstance(error, ApiException):
            message = (error.body or error.reason or "").strip() if isinstance(error.body, str | None) else error.reason
            raise EngineError(f"server {self._address!r} did not {self._action}: {error.status} {message}") from error
        if isinstance(error, OSError) or type(error).__name__ == "MaxRetryError":
            raise EngineError(f"server {self._address!r} did not {self._action}: {error}") from error
