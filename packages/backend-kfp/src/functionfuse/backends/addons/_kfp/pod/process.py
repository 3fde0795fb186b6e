"""The process of a pod: loads its part of the plan, runs it, and exits with a status and a log for the client.

This module travels with the code of a workflow, and imports the frontend only.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from typing import TYPE_CHECKING, NoReturn

from functionfuse.backends.texts import traceback_text
from functionfuse.errors import NodeError

from .artifacts import create_file, read_failures
from .messages import FAILED, FINISHED, LOST, PodConnection, format_log_line
from .plan import CHECK_FAILURES, load_pod_plan
from .run import PodReporter, PodRun
from .serialization import deserialize_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .plan import PodConfig, ReadEntry


def run_pod(read: ReadEntry, key: str, output_file: str, *arguments: str) -> None:
    """Run the steps of a pod, or check whether any step of the run failed.

    Args:
        read: reads an entry of the zip.
        key: key of the pod.
        output_file: the file in which Kubeflow Pipelines expects a list of the artifacts.
        arguments: the paths of the inputs, then the path and the URI of each output.

    Raises:
        SystemExit: a step failed, and with it the pod.
    """
    if key == CHECK_FAILURES:
        _check_failures(arguments, pickle.loads(read("config")).tolerated)
        return
    names, body = pickle.loads(read(f"pods/{key}"))
    reporter = PodReporter(PodConnection(), names)
    reporter.connection.send("pod_started", key, os.getpid())
    try:
        config: PodConfig = pickle.loads(read("config"))
        pod_plan = load_pod_plan(body, config, read)
        pod_run = PodRun(pod_plan, config, read, reporter, arguments)
    except Exception as error:
        _exit_before_start(reporter, error)
    ends = arguments[len(set(pod_plan.inputs.values())) :]
    artifacts = list(dict.fromkeys(pod_plan.outputs.values()))
    pod_run.execute(dict(zip(artifacts, ends[::2], strict=True)))
    loss = pod_run.run.lost
    has_more = config.spec.on_error == "continue" or bool(config.tolerated)
    if not reporter.connection.is_open and (loss is not None or has_more):
        print(format_log_line(FINISHED, reporter.finished))  # the status of the pod does not tell
    if loss is not None and not pod_run.run.failed:
        reporter.connection.send("lost", loss.name, str(loss.cause))
        print(format_log_line(LOST, (loss.name, str(loss.cause))))
        sys.exit(1)
    if pod_run.run.failed:
        _exit_failed(reporter.failures)
    _list_artifacts(output_file, dict(zip(artifacts, ends[1::2], strict=True)), names[0])


def _exit_before_start(reporter: PodReporter, cause: Exception) -> NoReturn:
    """Exit a pod whose code cannot be unpickled, or whose inputs cannot be read; all of its steps fail."""
    message = f"its code cannot be loaded in the pod: {type(cause).__name__}: {cause}"
    if isinstance(cause, ModuleNotFoundError):
        message += f"; the image needs {repr(cause.name) if cause.name else 'it'}"
    for name in reporter.names:
        error = NodeError(f"node {name!r} cannot run: {message}", name=name)
        error.__cause__ = cause
        reporter.report("failed", name, 0.0, error)
    _exit_failed(reporter.failures)


def _exit_failed(failures: Mapping[str, bytes]) -> NoReturn:
    """Exit with tracebacks for the user, and a line in the log that the client can read."""
    for failure in failures.values():
        print(traceback_text(deserialize_error(failure)), file=sys.stderr)
    print(format_log_line(FAILED, failures))
    sys.exit(1)


def _check_failures(paths: Sequence[str], tolerated: Sequence[str]) -> None:
    """Exit as failed if an artifact of the run holds failures that are not tolerated; report the others.

    Args:
        paths: of the artifacts.
        tolerated: names of the steps without which the run goes on.
    """
    failures: dict[str, bytes] = {}
    for path in paths:
        failures.update(read_failures(path))
    if not all(_is_within(name, tolerated) for name in failures):
        _exit_failed(failures)
    if failures:
        print(format_log_line(FAILED, failures))


def _is_within(name: str, steps: Sequence[str]) -> bool:
    """Return True if a name is that of one of some steps, or of a step of the graph that one returned."""
    while name and name not in steps:
        name = name.rpartition("/")[0]
    return bool(name)


def _list_artifacts(path: str, uris: Mapping[str, str], node: str) -> None:
    """Write the list of artifacts for Kubeflow Pipelines; kfp.local finds only those that are in it."""
    if not os.path.isabs(path):  # noqa: PTH117  a placeholder that the engine did not replace: it wants no list
        return
    artifacts = {
        artifact: {"artifacts": [{"name": artifact, "uri": uri, "metadata": {"node": node}}]}
        for artifact, uri in uris.items()
    }
    with create_file(path) as file:
        file.write(json.dumps({"artifacts": artifacts}).encode())
