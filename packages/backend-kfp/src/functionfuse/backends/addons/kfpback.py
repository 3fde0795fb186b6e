"""Run a graph on Kubeflow Pipelines v2, or under `kfp.local` on this machine."""

from __future__ import annotations

import math
import os
import tempfile
from copy import copy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

from functionfuse._typing import HasResult, R
from functionfuse.backends.addons._kfp.client.local import execute_locally
from functionfuse.backends.addons._kfp.client.monitor import RunMonitor
from functionfuse.backends.addons._kfp.client.outcomes import ReadOnlyStore, StepOutcomes
from functionfuse.backends.addons._kfp.client.runs import KFPRun, KFPSchedule
from functionfuse.backends.addons._kfp.client.server import ServerSettings
from functionfuse.backends.addons._kfp.compile.code import PYTHON
from functionfuse.backends.addons._kfp.compile.images import ImageSettings
from functionfuse.backends.addons._kfp.compile.origin import dockerfile, write_code
from functionfuse.backends.addons._kfp.compile.package import PackageOptions, make_package, not_empty, write_package
from functionfuse.backends.addons._kfp.compile.pipeline import make_pipeline
from functionfuse.backends.addons._kfp.compile.query import KFPQuery
from functionfuse.backends.addons._kfp.pod.plan import POD_VARIABLE
from functionfuse.backends.base import BaseWorkflow
from functionfuse.backends.options import COMMON_OPTIONS
from functionfuse.backends.session import Session
from functionfuse.errors import OptionError, PlanError
from functionfuse.original import takes_original_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Unpack

    from functionfuse.backends.addons._kfp.client.server import KFPServer
    from functionfuse.backends.addons._kfp.compile.limits import Sizes
    from functionfuse.backends.addons._kfp.compile.package import PipelinePackage
    from functionfuse.backends.execution import Run
    from functionfuse.backends.options import OnError, Reuse
    from functionfuse.backends.spec import RunOptions
    from functionfuse.plan import Plan


class KFPWorkflow(BaseWorkflow[R]):
    """Runs a graph on Kubeflow Pipelines: each node is a task with a pod of its own, or shares one in a group.

    Args:
        nodes: nodes, items of nodes, or sweeps, whose results `run` returns.
        workflow_name: names the pipeline, and the results in a store.
        baseimage: image of pods that have no other; it needs Python of this program's minor version, and what the
            nodes import, but neither kfp nor Function Fuse. ``python:3.x`` by default.
        registry_credentials: "username" and "password", optionally "server" and "email", of the registry that images
            are pulled from; see `write_registry_secret`. Without both of the former, pods pull images as the cluster
            does by itself.
        kfp_host: address of the API server, like ``"http://localhost:8080"``. Without one, `run` is `run_local`.
        namespace: of Kubernetes, on servers with many users.
        experiment: in which runs appear.
        pipeline_root: where artifacts are kept; for `run_local`, a folder.
        code: how the code gets to pods. "auto": on the command line of one root task, or if it is too large for that,
            through the store. "task" or "store": only so. "image": it is in the image; see `write_dockerfile`. Else a
            folder that all pods reach, or a URI that Kubeflow Pipelines imports from, like ``"s3://bucket/code"``; see
            `write_code`.
        image_pull_secrets: names of Secrets that images are pulled with.
        scope: "graph" or "ancestors"; see `BaseWorkflow`.

    Raises:
        OptionError: an argument has a wrong type or value.
        GraphError: the nodes make no graph, for example because two have one name.
    """

    query_class = KFPQuery
    supports = COMMON_OPTIONS | {"engine", "environment", "image", "packages"}
    grants = dict.fromkeys(("cpus", "gpus", "memory", "accelerator"), math.inf)
    secret_sources = frozenset({"env", "file", "k8s"})
    early_cutoff = False  # a pipeline is compiled before its first pod starts
    verifies = False

    @overload
    def __init__(
        self: KFPWorkflow[list[Any]],
        first: HasResult[Any],
        second: HasResult[Any],
        /,
        *others: HasResult[Any],
        workflow_name: str,
        baseimage: str | None = ...,
        registry_credentials: Mapping[str, str] | None = ...,
        kfp_host: str | None = ...,
        namespace: str | None = ...,
        experiment: str | None = ...,
        pipeline_root: str | None = ...,
        code: str = ...,
        image_pull_secrets: Sequence[str] = ...,
        scope: str = ...,
    ) -> None: ...
    @overload
    def __init__(
        self,
        node: HasResult[R],
        /,
        *,
        workflow_name: str,
        baseimage: str | None = ...,
        registry_credentials: Mapping[str, str] | None = ...,
        kfp_host: str | None = ...,
        namespace: str | None = ...,
        experiment: str | None = ...,
        pipeline_root: str | None = ...,
        code: str = ...,
        image_pull_secrets: Sequence[str] = ...,
        scope: str = ...,
    ) -> None: ...
    def __init__(
        self,
        *nodes: HasResult[Any],
        workflow_name: str,
        baseimage: str | None = None,
        registry_credentials: Mapping[str, str] | None = None,
        kfp_host: str | None = None,
        namespace: str | None = None,
        experiment: str | None = None,
        pipeline_root: str | None = None,
        code: str = "auto",
        image_pull_secrets: Sequence[str] = (),
        scope: str = "graph",
    ) -> None:
        super().__init__(*nodes, workflow_name=workflow_name, scope=scope)
        if not isinstance(code, str) or not code:
            raise OptionError(f'code is "auto", "task", "store", "image", a folder or a URI, got {code!r}')
        self._code = code
        self._images = ImageSettings(workflow_name, namespace, image_pull_secrets)
        self._server = ServerSettings(namespace, experiment, pipeline_root)
        self.set_baseimage(baseimage or f"python:{PYTHON}")
        self.set_registry_credentials(registry_credentials)
        self.set_kfp_host(kfp_host)

    def __copy__(self) -> Self:
        copied = super().__copy__()
        copied._images, copied._server = copy(self._images), copy(self._server)
        return copied

    @property
    def shares_files(self) -> bool:  # type: ignore[override]  # it depends on the server
        """Whether pods have the files of this machine, as those of `kfp.local` do."""
        return self._server.host is None

    # -- settings

    @takes_original_names
    def set_baseimage(self, image: str) -> None:
        """Set the image of pods that have no other.

        Raises:
            OptionError: not a non-empty string.
        """
        self._images.set_baseimage(image)

    @takes_original_names
    def set_kfp_host(self, host: str | None, **client: Any) -> None:
        """Set the address of the API server.

        Args:
            host: the address, like ``"http://localhost:8080"``; None for `kfp.local`.
            client: further arguments of `kfp.Client`, like ``existing_token`` or ``cookies``.

        Raises:
            OptionError: not an address.
        """
        self._server.set_host(host, client)

    @takes_original_names
    def set_registry_credentials(self, credentials: Mapping[str, str] | None) -> None:
        """Set the credentials of a registry; pods pull with the Secret of `write_registry_secret`.

        Raises:
            OptionError: a key is unknown, or a value is empty; the message shows no credential.
        """
        self._images.set_credentials(credentials)

    def write_registry_secret(self, path: str) -> str:
        """Write the manifest of a Secret with the registry's credentials, for ``kubectl apply -f``.

        The credentials are written nowhere else. On POSIX systems, only you can read the file.

        Returns:
            The name of the Secret.

        Raises:
            OptionError: no username and password are set.
        """
        return self._images.write_secret(Path(path))

    # -- without a server

    def generate_pipeline(self, *, on_error: OnError = "raise", reuse: Reuse = "never") -> Any:
        """Return the pipeline as `dsl.pipeline` makes it, for use in a pipeline of your own.

        Args:
            on_error: "raise", or "continue" to run what does not depend on a failure.
            reuse: as for `plan`; by default all nodes run, whenever the pipeline runs.

        Raises:
            PlanError: a node cannot run, or the code is too large.
            NodeError: a node cannot be pickled; it names the argument.
        """
        return make_pipeline(self._planned_package(on_error, reuse).definition)

    def compile(
        self, path: str, *, on_error: OnError = "raise", reuse: Reuse = "never", check_limits: bool = True
    ) -> Sizes:
        """Write the pipeline to a YAML file.

        Args:
            path: path of the file.
            on_error: "raise", or "continue" to run what does not depend on a failure.
            reuse: as for `plan`; by default all nodes run, whenever the pipeline runs.
            check_limits: whether limits of Linux, etcd and Kubeflow Pipelines are checked.

        Returns:
            How large the pipeline is, next to its limits.

        Raises:
            PlanError: a node cannot run, or the pipeline is too large.
            NodeError: a node cannot be pickled; it names the argument.
        """
        return write_package(self._planned_package(on_error, reuse), Path(path), check_limits=check_limits)

    def write_code(self, folder: str) -> str:
        """Write the code for pods to a folder, in a file that is named by its content; return the path.

        For ``code="s3://..."``: upload the file to there.

        Raises:
            PlanError: a node cannot run, or the code is too large.
            NodeError: a node cannot be pickled; it names the argument.
        """
        return str(write_code(self._planned_package("raise", "never").code, Path(folder)))

    def write_dockerfile(self, folder: str) -> str:
        """Write a Dockerfile, and the code that it puts in an image, to a folder; return the Dockerfile's path.

        For ``code="image"``. Build and push the image yourself.

        Raises:
            PlanError: a node cannot run.
            NodeError: a node cannot be pickled; it names the argument.
        """
        code = self._planned_package("raise", "never").code
        write_code(code, Path(folder))
        path = Path(folder) / "Dockerfile"
        path.write_text(dockerfile(code, self._images.baseimage), encoding="utf-8")
        return str(path)

    def run_local(self, *, verbose: bool = False, **options: Unpack[RunOptions]) -> R:
        """Run the pipeline under `kfp.local`, each pod a process of this machine, and return the results.

        Images, resources and Secrets have no effect. Artifacts go to ``pipeline_root`` if that is a folder.

        Args:
            verbose: whether the log of `kfp.local` and what nodes print is shown.
            options: how the run goes; see `functionfuse.backends.spec.RunOptions`.

        Raises:
            NodeError: a node failed; its ``__cause__`` is what the function raised.
            WorkflowFailed: nodes failed, with ``on_error="continue"``; it carries the report.
            EngineError: `kfp.local` failed, or this system is neither Linux nor macOS.
        """
        self._refuse_in_pod()
        session = self._session(shares_files=True, **options)
        results: R = session.run(partial(self.execute, session=session, verbose=verbose))
        return results

    # -- with a server

    def run(self, *, timeout: float | None = None, **options: Unpack[RunOptions]) -> R:
        """Submit a run, wait for it, and return the results from the store; without a server, run locally.

        Args:
            timeout: seconds to wait for the run on the server, which does not end with that.
            options: how the run goes; see `functionfuse.backends.spec.RunOptions`.

        Raises:
            NodeError: a node failed; its ``__cause__`` is what the function raised.
            WorkflowFailed: nodes failed, with ``on_error="continue"``; it carries the report.
            EngineError: the server does not answer, or ended the run.
            OptionError: the workflow has no store.
        """
        self._refuse_in_pod()
        if options.get("inline"):
            return super().run(**options)
        if self._server.host is None:
            return self.run_local(**options)
        if self._store is None:
            raise OptionError("results come back through a store: set_storage(...); submit() runs without one")
        if options.get("on_interrupt", "stop") != "stop":
            raise OptionError('pods of a run on a server cannot be let finish: on_interrupt="stop"')
        if options.get("capsules"):
            raise OptionError("pods on a server keep failure capsules in the store; leave the folder capsules= out")
        session = self._session(**options)
        execute = partial(self.execute, session=session, server=self._server.connect(), timeout=timeout)
        results: R = session.run(execute)
        return results

    def submit(self, *, on_error: OnError = "raise", reuse: Reuse = "recipe", name: str | None = None) -> KFPRun:
        """Start a run on the server, and return a handle of it.

        Args:
            on_error: "raise", or "continue" to run what does not depend on a failure.
            reuse: "recipe", "name" or "never"; see `plan`.
            name: name of the run; the workflow's by default.

        Raises:
            EngineError: the server does not answer, or refuses the run.
            PlanError: the pipeline is too large to run.
        """
        self._refuse_in_pod()
        session = self._session(on_error=on_error, reuse=reuse)
        server = self._server.connect()
        run = session.start()
        try:
            monitor = self._start(server, session, not_empty(self._make_package(session, run.root.plan)), run, name)
        except BaseException as error:
            session.ended(error)
            raise

        def results() -> Any:
            if run.lost is not None and not run.failed:
                raise run.lost
            values = run.results()
            return session.spec.returned(values)

        return KFPRun(monitor, None if self._store is None else results, session.ended)

    def schedule(self, *, cron: str, name: str, on_error: OnError = "raise", reuse: Reuse = "never") -> KFPSchedule:
        """Create a recurring run, which the server starts by the clock.

        Args:
            cron: six fields, with seconds, as Kubeflow Pipelines takes them: ``"0 0 6 * * *"`` is every day at six.
            name: name of the recurring run.
            on_error: "raise", or "continue" to run what does not depend on a failure.
            reuse: as for `plan`; by default all nodes run every time.

        Raises:
            OptionError: ``cron`` does not have six fields, or there is no server.
            EngineError: the server does not answer, or refuses the recurring run.
            PlanError: the pipeline is too large to run.
        """
        self._refuse_in_pod()
        if not isinstance(cron, str) or len(cron.split()) != 6:
            raise OptionError(f"cron has six fields, seconds first, like '0 0 6 * * *', got {cron!r}")
        server = self._server.connect()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pipeline.yaml"
            write_package(self._planned_package(on_error, reuse), path)
            return KFPSchedule(server, server.schedule(path, name, cron))

    # -- the engine

    def execute(
        self,
        run: Run,
        *,
        session: Session | None = None,
        server: KFPServer | None = None,
        verbose: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Execute a run on a server, or on this machine.

        Args:
            run: the run.
            session: of the run; one with the default arguments of `run` if it is None.
            server: the server; None for `kfp.local`.
            verbose: whether the log of `kfp.local` is shown.
            timeout: seconds to wait for the run on the server.
        """
        session = session or self._session(shares_files=server is None)
        package = self._make_package(session, run.root.plan, local=server is None)
        if not package.pods:
            return
        if server is None:
            execute_locally(run, package, session.spec.wanted, self._server.pipeline_root, verbose=verbose)
            return
        monitor = self._start(server, session, package, run)
        try:
            monitor.settle(timeout)
        except KeyboardInterrupt:
            server.cancel(monitor.run_id)
            raise

    def _session(self, *, shares_files: bool = False, **options: Unpack[RunOptions]) -> Session:
        store = None if self._store is None else ReadOnlyStore(self._store)
        spec = self.spec(**options)._replace(shares_files=shares_files)
        return Session(spec, observers=self._observers, run_store=store, runs=self._runs)

    def _planned_package(self, on_error: OnError, reuse: Reuse) -> PipelinePackage:
        """Return the pipeline of a plan that does not run now."""
        self._refuse_in_pod()
        session = self._session(on_error=on_error, reuse=reuse)
        return not_empty(self._make_package(session, session.plan_to_run()))

    def _make_package(self, session: Session, plan: Plan, *, local: bool = False) -> PipelinePackage:
        options = PackageOptions(
            image=self._images.baseimage,
            code=self._code,
            pull_secrets=self._images.pull_secrets,
            lost=session.lost,
            local=local,
        )
        return make_package(plan, session.spec, options)

    def _start(
        self, server: KFPServer, session: Session, package: PipelinePackage, run: Run, name: str | None = None
    ) -> RunMonitor:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pipeline.yaml"
            write_package(package, path)
            run_id = server.submit(path, name or self.workflow_name)
        outcomes = StepOutcomes(run, session.spec.wanted)
        return RunMonitor(
            server,
            run_id,
            package.pods,
            outcomes,
            continue_on_error=session.spec.on_error == "continue",
            checks_failures=package.definition.checks_failures,
        )

    def _refuse_in_pod(self) -> None:
        """Raise PlanError in a pod: its node imports the user's program, which would start the same run again."""
        if POD_VARIABLE in os.environ:
            raise PlanError(
                "a node imports the program that runs the workflow: put the run under if __name__ == '__main__', "
                "or the functions in a module of their own"
            )
