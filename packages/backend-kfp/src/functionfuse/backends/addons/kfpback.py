"""Run a graph on Kubeflow Pipelines v2, or under ``kfp.local`` on this machine."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kfp.compiler import Compiler

from functionfuse.backends.addons._kfp.client.cluster import Following, Host
from functionfuse.backends.addons._kfp.client.local import run_locally
from functionfuse.backends.addons._kfp.client.outcomes import Outcomes, ReadOnly
from functionfuse.backends.addons._kfp.client.runs import KFPRun, KFPSchedule
from functionfuse.backends.addons._kfp.compile.code import PYTHON, Code, pack_code
from functionfuse.backends.addons._kfp.compile.limits import Sizes, measure
from functionfuse.backends.addons._kfp.compile.options import KFPQuery, engine_retry
from functionfuse.backends.addons._kfp.compile.origin import dockerfile, origin_of, write_code
from functionfuse.backends.addons._kfp.compile.pipeline import Build, build, cache_keys
from functionfuse.backends.addons._kfp.compile.pods import pods_of, slug
from functionfuse.backends.addons._kfp.compile.registry import checked_credentials, secret_manifest, write_private
from functionfuse.backends.addons._kfp.pod.wire import IN_POD, load
from functionfuse.backends.base import BaseWorkflow, refuse_blocked
from functionfuse.backends.objects import states_of
from functionfuse.errors import EngineError, OptionError, PlanError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from functionfuse.backends.addons._kfp.compile.pods import Cargo, Pod
    from functionfuse.backends.execution import Run
    from functionfuse.backends.planning import Planner
    from functionfuse.nodes import Item, Node
    from functionfuse.plan import Plan
    from functionfuse.stores import Store

_NAME = 100  # characters of a pipeline's name; Kubernetes adds to it


class _Package(NamedTuple):
    """A plan made ready for Kubeflow Pipelines."""

    pods: Sequence[Pod]
    code: Code
    build: Build


class KFPWorkflow(BaseWorkflow):
    """Runs a graph on Kubeflow Pipelines: each node is a task with a pod of its own, or shares one in a group.

    Args:
        nodes: nodes, or items of nodes, whose results :meth:`run` returns.
        workflow_name: names the pipeline, and the results in a store.
        baseimage: of pods that have no other; it needs Python of this program's minor version, and what the nodes
            import, but neither kfp nor Function Fuse. ``python:3.x`` by default.
        registry_credentials: "username" and "password", maybe "server" and "email", of the registry that images are
            pulled from; see :meth:`write_registry_secret`.
        kfp_host: the address of the API, like ``"http://localhost:8080"``. Without one, :meth:`run` is
            :meth:`run_local`.
        namespace: of Kubernetes, on hosts with many users.
        experiment: in which runs appear.
        pipeline_root: where artifacts are kept; for :meth:`run_local`, a folder.
        code: how the code gets to pods. "auto": on the command line of one root task, or where it is too large for
            that, through the store. "task" or "store": only so. "image": it is in the image; see
            :meth:`write_dockerfile`. Else a folder that all see, or an address that KFP imports from, like
            ``"s3://bucket/code"``; see :meth:`write_code`.
        image_pull_secrets: names of Secrets that images are pulled with.
        scope: "graph" or "ancestors"; see :class:`~functionfuse.backends.base.BaseWorkflow`.
    """

    query_class = KFPQuery

    def __init__(
        self,
        *nodes: Node | Item,
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
        self._namespace = namespace
        self._experiment = experiment
        self._root = pipeline_root
        if not isinstance(code, str) or not code:
            raise OptionError(f'code is "auto", "task", "store", "image", a folder or an address, got {code!r}')
        self._code = code
        if isinstance(image_pull_secrets, str):
            raise OptionError(f"image_pull_secrets takes a list of names, got {image_pull_secrets!r}")
        self._pull_secrets = list(image_pull_secrets)
        self.set_baseimage(baseimage or f"python:{PYTHON}")
        self.set_registry_credentials(registry_credentials)
        self.set_kfp_host(kfp_host)

    # -- what goes with it

    def set_baseimage(self, image: str) -> None:
        """Set the image of pods that have no other."""
        if not isinstance(image, str) or not image.strip():
            raise OptionError(f"an image is named by a text like 'python:3.11', got {image!r}")
        self._image = image

    def set_kfp_host(self, host: str | None, **client: Any) -> None:
        """Set the address of the API, and arguments of ``kfp.Client``, like ``existing_token`` or ``cookies``."""
        if host is not None and (not isinstance(host, str) or "://" not in host):
            raise OptionError(f"a host is an address like 'http://localhost:8080', got {host!r}")
        self._host = host
        self._client = client

    def set_registry_credentials(self, credentials: Mapping[str, str] | None) -> None:
        """Set the credentials of a registry; pods pull with the Secret of :meth:`write_registry_secret`."""
        self._credentials = None if credentials is None else checked_credentials(credentials)

    def write_registry_secret(self, path: str) -> str:
        """Write the manifest of a Secret with the registry's credentials; ``kubectl apply -f`` brings it in.

        Nobody but you can read the file. It is the only place that the credentials are written to.

        Returns:
            The name of the Secret.
        """
        if self._credentials is None:
            raise OptionError("there are no registry_credentials to write")
        manifest = secret_manifest(self._registry_secret, self._namespace, self._credentials)
        write_private(Path(path), json.dumps(manifest, indent=2))
        return self._registry_secret

    @property
    def _registry_secret(self) -> str:
        return f"{slug(self.workflow_name)}-registry"

    # -- without a cluster

    def generate_pipeline(self, *, on_error: str = "raise", reuse: str = "never") -> Any:
        """Return the pipeline as ``dsl.pipeline`` makes it, for use in a pipeline of your own."""
        return build(self._package(on_error, reuse).build)

    def compile(self, path: str, *, on_error: str = "raise", reuse: str = "never", check_limits: bool = True) -> Sizes:
        """Write the pipeline to a YAML file.

        Args:
            path: of the file.
            on_error: "raise", or "continue" to run what does not depend on a failure.
            reuse: as for :meth:`plan`; by default all nodes run, whenever the file is.
            check_limits: whether limits of Linux, etcd and KFP are checked.

        Returns:
            How large it is, next to what it may be.

        Raises:
            PlanError: it is too large to run.
            NodeError: a node cannot be pickled; it names the argument.
        """
        return self._compile(self._package(on_error, reuse), Path(path), check_limits)

    def write_code(self, folder: str) -> str:
        """Write the code that pods import to a folder, under a name that its content makes; return its path.

        For ``code="s3://..."``: upload it to there.
        """
        return str(write_code(self._package("raise", "never").code, Path(folder)))

    def write_dockerfile(self, folder: str) -> str:
        """Write a Dockerfile, and the code that it puts in an image, to a folder; return the Dockerfile's path.

        For ``code="image"``. The image is yours to build.
        """
        code = self._package("raise", "never").code
        write_code(code, Path(folder))
        path = Path(folder) / "Dockerfile"
        path.write_text(dockerfile(code, self._image), encoding="utf-8")
        return str(path)

    def run_local(self, *, on_error: str = "raise", reuse: str = "recipe", verbose: bool = False) -> Any:
        """Run the pipeline under ``kfp.local``, each pod a process of this machine, and return the results.

        Images, resources and Secrets play no role. Artifacts go to ``pipeline_root`` if that is a folder.

        Args:
            on_error: "raise" stops at the first failure; "continue" runs all that does not depend on it.
            reuse: "recipe", "name" or "never"; see :meth:`plan`.
            verbose: whether the log of ``kfp.local`` and what nodes print is shown.
        """
        self._refuse_in_pod()
        return self._run(on_error=on_error, reuse=reuse, go_on=on_error == "continue", verbose=verbose)

    # -- with a cluster

    def run(self, *, on_error: str = "raise", reuse: str = "recipe", timeout: float | None = None) -> Any:
        """Submit, wait, and return the results from the store; without a host, run locally.

        Args:
            on_error: "raise" stops at the first failure; "continue" runs all that does not depend on it.
            reuse: "recipe", "name" or "never"; see :meth:`plan`.
            timeout: seconds to wait for the run on the host, which goes on.

        Raises:
            NodeError: a node failed; its ``__cause__`` is what the function raised.
            WorkflowFailed: nodes failed, with ``on_error="continue"``; it carries the report.
            EngineError: the host does not answer, or ended the run.
        """
        if self._host is None:
            return self.run_local(on_error=on_error, reuse=reuse)
        self._refuse_in_pod()
        if self._store is None:
            raise OptionError("results come back through a store: set_storage(...); submit() runs without one")
        host = self._connected()
        return self._run(on_error=on_error, reuse=reuse, go_on=on_error == "continue", host=host, timeout=timeout)

    def submit(self, *, on_error: str = "raise", reuse: str = "recipe", name: str | None = None) -> KFPRun:
        """Start a run on the host, and return a handle of it.

        Args:
            on_error: "raise", or "continue" to run what does not depend on a failure.
            reuse: "recipe", "name" or "never"; see :meth:`plan`.
            name: of the run; the workflow's by default.

        Raises:
            EngineError: the host does not answer, or refuses the run.
            PlanError: the pipeline is too large to run.
        """
        self._refuse_in_pod()
        host = self._connected()
        if self._store is not None:
            self._store.new_workflow(self.workflow_name)
        planner = self._planner(reuse, {})
        plan = self._plan(planner)
        refuse_blocked(plan, type(self).__name__)
        run = self._new_run(planner, plan, on_error)
        package = _not_empty(self._packed(plan, on_error == "continue"))
        following = self._following(host, package, run, self._start(host, package, name), on_error == "continue")
        return KFPRun(following, None if self._store is None else lambda: self._results(run))

    def schedule(self, *, cron: str, name: str, on_error: str = "raise", reuse: str = "never") -> KFPSchedule:
        """Let the host start runs by the clock.

        Args:
            cron: six fields, with seconds, as Kubeflow Pipelines takes them: ``"0 0 6 * * *"`` is every day at six.
            name: of the recurring run.
            on_error: "raise", or "continue" to run what does not depend on a failure.
            reuse: as for :meth:`plan`; by default all nodes run every time.
        """
        self._refuse_in_pod()
        if not isinstance(cron, str) or len(cron.split()) != 6:
            raise OptionError(f"cron has six fields, seconds first, like '0 0 6 * * *', got {cron!r}")
        host = self._connected()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pipeline.yaml"
            self._compile(self._package(on_error, reuse), path, check_limits=True)
            return KFPSchedule(host, host.schedule(path, name, cron))

    # -- the engine

    def execute(
        self,
        run: Run,
        *,
        go_on: bool = False,
        host: Host | None = None,
        verbose: bool = False,
        timeout: float | None = None,
        **_: Any,
    ) -> None:
        """Execute a run on a host, or on this machine."""
        package = self._packed(run.root.plan, go_on, local=host is None)
        if not package.pods:
            return
        if host is None:
            self._execute_here(run, package, verbose)
            return
        following = self._following(host, package, run, self._start(host, package, None), go_on)
        try:
            following.settle(timeout)
        except KeyboardInterrupt:
            host.cancel(following.run_id)
            raise

    def _execute_here(self, run: Run, package: _Package, verbose: bool) -> None:
        places = {cargo: (pod.key, artifact) for pod in package.pods for cargo, artifact in pod.outputs.items()}
        with tempfile.TemporaryDirectory(prefix="functionfuse-") as own:
            folder = Path(self._root if self._root and "://" not in self._root else own)
            known = set(folder.glob("*")) if folder.exists() else set()

            def fetch(cargo: Cargo) -> Any:
                (this_run,) = (path for path in folder.glob(f"{package.build.name}-[0-9]*") if path not in known)
                return load(str(this_run.joinpath(*places[cargo])), (cargo.step, cargo.instance))

            outcomes = Outcomes(run, self._wanted())
            death = run_locally(lambda: build(package.build), outcomes, folder, verbose=verbose)
            if death is not None:
                steps = [step for pod in package.pods if pod.key == death.pod for step in pod.steps]
                if not steps:
                    raise EngineError(f"kfp.local failed: {death.said}")
                outcomes.died(steps, death.said)
            if package.build.go_on:
                outcomes.skip_the_rest()
            if not run.report.failed:
                outcomes.collect(fetch)

    def _package(self, on_error: str, reuse: str) -> _Package:
        self._refuse_in_pod()
        if on_error not in ("raise", "continue"):
            raise OptionError(f'unknown on_error {on_error!r}; known: "raise", "continue"')
        plan = self.plan(reuse=reuse)
        refuse_blocked(plan, type(self).__name__)
        return _not_empty(self._packed(plan, on_error == "continue"))

    def _packed(self, plan: Plan, go_on: bool, *, local: bool = False) -> _Package:
        pods = pods_of(plan, self._wanted(), all_ends=go_on)
        reuse, lost = self._planned
        config = {
            "workflow_name": self.workflow_name,
            "on_error": "continue" if go_on else "raise",
            "reuse": reuse,
            "lost": lost,
            "names": [name for name in plan.by_name if "/" in name],
            "has_store": self._store is not None,
        }
        shared = {"options": self._options} | ({} if self._store is None else {"store": self._store})
        code = pack_code(
            pods if local else [_without_retry(pod) for pod in pods], states_of(plan.steps).taken, config, shared
        )
        keys = {} if local or self._store is not None else cache_keys(pods, plan.steps, self._image)
        secrets = [*self._pull_secrets, *([self._registry_secret] if self._credentials else [])]
        origin = origin_of(
            code, "auto" if local and self._code == "image" else self._code, self._store, self.workflow_name
        )
        name = slug(self.workflow_name, _NAME)
        return _Package(
            pods, code, Build(name, self.workflow_name, pods, origin, self._image, secrets, keys, go_on, local)
        )

    def _compile(self, package: _Package, path: Path, check_limits: bool) -> Sizes:
        pipeline = build(package.build)
        on_command_line = len(package.code.text) if package.build.origin.kind == "task" else 0
        sizes = measure(pipeline, package.pods, on_command_line, check=check_limits)
        Compiler().compile(pipeline, str(path))
        return sizes

    def _start(self, host: Host, package: _Package, name: str | None) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pipeline.yaml"
            self._compile(package, path, check_limits=True)
            return host.submit(path, name or self.workflow_name)

    def _following(self, host: Host, package: _Package, run: Run, run_id: str, go_on: bool) -> Following:
        return Following(host, run_id, package.pods, Outcomes(run, self._wanted()), go_on=go_on)

    def _connected(self) -> Host:
        if self._host is None:
            raise OptionError("there is no kfp_host: set_kfp_host('http://...'); run_local() needs none")
        return Host(self._host, self._namespace, self._experiment, self._root, self._client)

    def _refuse_in_pod(self) -> None:
        """A pod that imports the user's program would start the run that it is a part of again."""
        if IN_POD in os.environ:
            raise PlanError(
                "a node imports the program that runs the workflow: put the run under if __name__ == '__main__', "
                "or the functions in a module of their own"
            )

    def _planner(self, reuse: str, lost: Mapping[str, str]) -> Planner:
        self._planned = reuse, dict(lost)
        return super()._planner(reuse, lost)

    def _store_of_runs(self) -> Store | None:
        return None if self._store is None else ReadOnly(self._store)


def _not_empty(package: _Package) -> _Package:
    if not package.pods:
        raise PlanError('there is nothing to run: all results are stored; reuse="never" makes them again')
    return package


def _without_retry(pod: Pod) -> Pod:
    """Return a pod that leaves to Kubeflow Pipelines the retries that it can do."""
    if engine_retry(pod) is None:
        return pod
    step = pod.steps[0]
    options = {name: value for name, value in step.options.items() if name != "retry"}
    return pod._replace(steps=[step._replace(options=options)])
