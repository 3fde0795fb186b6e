"""A run under `kfp.local`: the same pipeline, with each pod as a process of this machine."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kfp import local

from functionfuse.errors import EngineError

from ..compile.pipeline import make_pipeline
from ..pod.artifacts import read_artifact
from ..pod.messages import ADDRESS_VARIABLE
from .engine import LocalEngine
from .events import EventServer
from .outcomes import StepOutcomes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from functionfuse.backends.execution import Run
    from functionfuse.plan import Ref

    from ..compile.package import PipelinePackage
    from ..compile.pods import PodOutput

_LOCK = threading.Lock()  # kfp.local has one configuration for the whole process


class UnreportedExit(NamedTuple):
    """The end of a run in which a pod, or `kfp.local`, exited without reporting an error.

    Attributes:
        pod: key of the pod that started last; "" when none did.
        log: the error of `kfp.local`, and the end of its log.
    """

    pod: str
    log: str


def check_supported() -> None:
    """Check that this system can run pipelines.

    Raises:
        EngineError: the system has no Unix sockets, through which pods report.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise EngineError(
            "run_local() needs Linux or macOS, because pods report through Unix sockets; on this system use compile(), "
            "or kfp_host and run()"
        )


def execute_locally(
    run: Run, package: PipelinePackage, wanted: Sequence[Ref], pipeline_root: str | None, *, verbose: bool
) -> None:
    """Execute a run under `kfp.local`.

    Args:
        run: the run, whose tasks are settled.
        package: the pipeline.
        wanted: the results that the user asked for.
        pipeline_root: folder of artifacts; a temporary one if it is None or a URI.
        verbose: whether the log of `kfp.local`, and what nodes print, is shown.

    Raises:
        EngineError: `kfp.local` failed before a pod started, or this system cannot run pipelines.
    """
    check_supported()
    artifacts = {output: (pod.key, artifact) for pod in package.pods for output, artifact in pod.outputs.items()}
    with tempfile.TemporaryDirectory(prefix="functionfuse-") as own:
        folder = Path(pipeline_root if pipeline_root and "://" not in pipeline_root else own)
        earlier = set(folder.glob("*")) if folder.exists() else set()

        def read(output: PodOutput) -> Any:
            (this_run,) = (path for path in folder.glob(f"{package.definition.name}-[0-9]*") if path not in earlier)
            return read_artifact(str(this_run.joinpath(*artifacts[output])), (output.step, output.instance))

        outcomes = StepOutcomes(run, wanted)
        ended = _run_pipeline(package, outcomes, folder, verbose)
        if ended is not None:
            steps = [step for pod in package.pods if pod.key == ended.pod for step in pod.steps]
            if not steps:
                raise EngineError(f"kfp.local failed: {ended.log}")
            outcomes.worker_died(steps, ended.log)
        if run.lost is not None or run.interruption.requested:
            return
        if package.definition.checks_failures:
            outcomes.skip_remaining()
        if not run.has_failures:
            outcomes.collect(read)


def _run_pipeline(
    package: PipelinePackage, outcomes: StepOutcomes, folder: Path, verbose: bool
) -> UnreportedExit | None:
    """Run a pipeline, and receive events while it runs; return how it ended if no pod reported that."""
    with _LOCK, ExitStack() as stack:
        pipeline = make_pipeline(package.definition)  # under the lock: once configured, kfp.local runs what is made
        scratch = Path(tempfile.mkdtemp(prefix="ff-"))  # short: the path of a socket has at most 107 characters
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        log = stack.enter_context((scratch / "log").open("w", encoding="utf-8"))
        address = str(scratch / "events")
        events = stack.enter_context(EventServer(address, outcomes))
        stack.enter_context(_environment_variable(ADDRESS_VARIABLE, address))
        stack.enter_context(_environment_variable("PYTHONUNBUFFERED", "1"))
        local.init(
            runner=local.SubprocessRunner(use_venv=False),
            pipeline_root=str(folder),
            workspace_root=str(scratch / "work"),
        )
        engine = stack.enter_context(LocalEngine(pipeline, None if verbose else log))
        outcomes.run.interruption.at_stop(events.stop)
        try:
            events.receive_while(engine.is_alive, outcomes.run.interrupted)
        except BaseException:
            events.stop()
            engine.join()
            raise
        log.flush()
        if engine.error is None or outcomes.run.interruption.requested:
            return None
        if outcomes.explained:
            outcomes.count_failure()
            return None
        lines = (scratch / "log").read_text(encoding="utf-8").splitlines()[-20:]
        return UnreportedExit(events.last_pod, "\n".join([str(engine.error), *lines]))


@contextmanager
def _environment_variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for the processes that start meanwhile."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
