"""What runs in a pod: its part of the plan, as one process would, with what comes from other pods in its place.

This module travels with the code of a workflow, and imports the frontend only.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from functionfuse.backends.calls import traceback_text
from functionfuse.backends.execution import Run
from functionfuse.backends.frames import StoredResultLost
from functionfuse.errors import NodeError
from functionfuse.plan import Plan, Ref, Step

from .wire import (
    FAILED,
    LOST,
    Channel,
    Marked,
    as_line,
    dump,
    failures_in,
    load,
    open_new,
    pack_error,
    packed,
    unpack_error,
    write_bundle,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from functionfuse.backends.frames import Frame, Task

    from .wire import Source

    Read = Callable[[str], bytes]


class Part(NamedTuple):
    """One pod's part of the plan, as it travels.

    Attributes:
        steps: in plan order, without their targets.
        targets: numbers of the targets.
        stored: steps whose stored results are read; what kind of target they have stands for it.
        states: by step, by object: the step after which it takes the object's state.
        inputs: what comes from other pods, and the number of the argument that tells where it is.
        outputs: what goes out, and the name of the artifact for it.
        is_group: whether all that goes out is in one artifact.
    """

    steps: Sequence[Step]
    targets: Sequence[int]
    stored: Sequence[Step]
    states: Mapping[str, Mapping[str, str]]
    inputs: Mapping[Source, int]
    outputs: Mapping[Source, str]
    is_group: bool


class Reporter:
    """Hears what happens to steps, and passes it on to the driver."""

    def __init__(self, channel: Channel, names: Sequence[str]) -> None:
        self.channel = channel
        self.names = names
        self.failures: dict[str, bytes] = {}
        self.seconds: dict[str, float] = {}

    def tell(self, kind: str, name: str, seconds: float | None = None, error: NodeError | None = None) -> None:
        """Pass it on; that a step of the pod's own is finished is told later, once its result was handed out."""
        if name in self.names and kind == "finished":
            self.seconds[name] = seconds or 0.0
        elif name not in self.names or kind != "reused":
            failure = None if error is None else pack_error(error)
            if error is not None and failure is not None:
                self.failures[error.name or name] = failure
            self.channel.tell(kind, name, seconds, failure)


class PodRun(Run):
    """Runs the steps of a pod. Results of other pods are loaded when they are first needed."""

    def __init__(
        self, part: Part, config: Mapping[str, Any], read: Read, reporter: Reporter, arguments: Sequence[str]
    ) -> None:
        self.part = part
        self.config = config
        self.read = read
        self.reporter = reporter
        self.paths = {source: arguments[number] for source, number in part.inputs.items()}
        self.loaded: set[Source] = set()
        self.handed_out: set[Source] = set()
        self.bundle: dict[Source, bytes] = {}  # what a group hands out
        self.foreign: dict[str, bytes] = {}  # failures of other pods
        store = pickle.loads(read("store")) if config["has_store"] else None
        super().__init__(
            Plan([*part.stored, *part.steps], workflow_name=config["workflow_name"]),
            [Ref(instance or step) for step, instance in part.outputs],
            expand=self.expand,
            store=store,
            announcer=reporter,  # type: ignore[arg-type]  # it hears what an announcer is told
            on_error=config["on_error"],
        )
        for source, path in self.paths.items():
            failures = failures_in(path, source)
            self.foreign.update(failures)
            if failures and source[1] is None:
                self.root.failed[source[0]] = _first(failures)

    def expand(self, steps: list[Step], task: Task) -> Plan:
        """Plan the graph that a dynamic step returned."""
        from functionfuse.backends.base import Expander
        from functionfuse.backends.planning import Planner

        config, options = self.config, pickle.loads(self.read("options"))
        planner = Planner(
            config["workflow_name"], self._store, config["reuse"], options.of if options else None, {}, config["lost"]
        )
        self._expand = Expander(planner, config["names"])
        return self._expand(steps, task)

    def execute(self, places: Mapping[str, tuple[str, str]]) -> None:
        """Run the steps, and hand out their results as soon as they are there, or what failed in their place."""
        for task in self.in_order():
            if task.frame is not self.root or self.supply(task):
                self.perform_here(task)
            for done in list(self.done):
                if done.frame is self.root and done.step.name not in self.root.failed:
                    self.hand_out(done, places)
        for source, artifact in self.part.outputs.items():
            if source not in self.handed_out:
                self.write(source, places[artifact][0], Marked(self.failures_behind(source)))
        if self.part.is_group:
            write_bundle(self.bundle, places["out"][0])
        for name, cause in self.report.skipped.items():
            if name not in self.reporter.names:
                self.reporter.channel.tell("skipped", name, cause)

    def supply(self, task: Task) -> bool:
        """Put the states of objects that a step takes from other pods in their places; whether it can start."""
        frame, step = task
        for instance, after in self.part.states.get(step.name, {}).items():
            path = self.paths.get((after, instance))
            if path is None or (after, instance) in self.loaded:
                continue
            source = (after, instance)
            failures = failures_in(path, source)
            if failures:
                frame.failed[instance] = _first(failures)
                return not self.skip(task)
            try:
                frame.values[instance] = load(path, source)
            except Exception as error:
                self.started(task)
                self._failed(task, error, "the object of the call cannot be loaded", 0.0)
                return False
            self.loaded.add(source)
        return True

    def hand_out(self, task: Task, places: Mapping[str, tuple[str, str]]) -> None:
        """Write what other pods, or the user, take of a step that is done."""
        name = task.step.name
        if (name, "") in self.handed_out:
            return
        try:
            for source, artifact in self.part.outputs.items():
                if source[0] == name:
                    self.write(source, places[artifact][0], self.root.values[source[1] or name])
                    self.handed_out.add(source)
        except Exception as error:
            self._failed(task, error, "it ran, but its result cannot be handed out", self.reporter.seconds[name])
            return
        self.handed_out.add((name, ""))
        self.reporter.channel.tell("finished", name, self.reporter.seconds[name])

    def write(self, source: Source, path: str, value: Any) -> None:
        """Write a result, or what is marked as failed in its place."""
        if self.part.is_group:
            self.bundle[source] = packed(value)
        else:
            dump(value, path)

    def failures_behind(self, source: Source) -> dict[str, bytes]:
        """All failures so far; the one that is to blame for a missing result comes first."""
        step, instance = source
        failures = {**self.foreign, **self.reporter.failures}
        blamed = self.root.failed.get(step) or self.root.failed.get(instance or step)
        first = {blamed.name: failures[blamed.name]} if blamed is not None and blamed.name in failures else {}
        return {**first, **failures}

    def _read(self, frame: Frame, name: str) -> Any:
        path = self.paths.get((name, None)) if frame is self.root else None
        return super()._read(frame, name) if path is None else load(path, (name, None))


def main(read: Read, key: str, output_file: str, *arguments: str) -> None:
    """Run the steps of a pod, or tell the verdict over all.

    Args:
        read: reads what travels with the code.
        key: the pod's.
        output_file: where Kubeflow Pipelines wants to be told of artifacts.
        arguments: the paths of the inputs, and path and address of each output.
    """
    if key == "verdict":
        _verdict(arguments)
        return
    names, body = pickle.loads(read(f"pods/{key}"))
    reporter = Reporter(Channel(), names)
    reporter.channel.tell("begun", key, os.getpid())
    try:
        config = pickle.loads(read("config"))
        part = _unpacked(body, read)
        run = PodRun(part, config, read, reporter, arguments)
    except Exception as error:
        _refuse(reporter, error)
    ends = arguments[len(set(part.inputs.values())) :]
    artifacts = dict.fromkeys(part.outputs.values())
    places = dict(zip(artifacts, zip(ends[::2], ends[1::2], strict=True), strict=True))
    try:
        run.execute(places)
    except StoredResultLost as loss:
        reporter.channel.tell("lost", loss.name, str(loss.cause))
        _leave(LOST, (loss.name, str(loss.cause)))
    if reporter.failures and config["on_error"] == "raise":
        _leave(FAILED, reporter.failures)
    _write_output(output_file, places, names[0])


def _unpacked(body: bytes, read: Read) -> Part:
    """Return a pod's part of the plan, with the targets in their places."""
    part = Part(*pickle.loads(body))
    targets = {number: pickle.loads(read(f"targets/{number}")) for number in set(part.targets)}
    steps = [
        step._replace(target=targets[number], recipe=step.recipe and _Recipe(step.recipe))  # type: ignore[arg-type]
        for step, number in zip(part.steps, part.targets, strict=True)
    ]
    stored = [step._replace(target=_Stored(step.target)) for step in part.stored]  # type: ignore[arg-type]
    return part._replace(steps=steps, stored=stored)


class _Recipe(dict[str, str]):
    """A recipe as a store keeps it; the frontend's own takes long to import."""

    def as_dict(self) -> dict[str, str]:
        return dict(self)


class _Stored:
    """In the place of the target of a step that does not run."""

    function = None

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.qualname = kind


def _first(failures: Mapping[str, bytes]) -> NodeError:
    """Return an error that bears the name of the step that is to blame."""
    name = next(iter(failures))
    return NodeError(f"node {name!r} failed", name=name)


def _refuse(reporter: Reporter, cause: Exception) -> NoReturn:
    """End a pod whose code cannot be unpacked."""
    for name in reporter.names:
        said = f"its code cannot be unpacked in the pod: {type(cause).__name__}: {cause}"
        if isinstance(cause, ModuleNotFoundError):
            said += f"; the image needs {cause.name!r}"
        error = NodeError(f"node {name!r} cannot run: {said}", name=name)
        error.__cause__ = cause
        reporter.tell("failed", name, 0.0, error)
    _leave(FAILED, reporter.failures)


def _leave(head: str, said: object) -> NoReturn:
    """End the pod as failed, with a line in its log that the driver can read."""
    if head == FAILED:
        for failure in said.values():  # type: ignore[attr-defined]
            print(traceback_text(unpack_error(failure)), file=sys.stderr)
    print(as_line(head, said))
    sys.exit(1)


def _verdict(paths: Sequence[str]) -> None:
    """End the run as failed if any step failed; for runs that go on after failures."""
    failures: dict[str, bytes] = {}
    for path in paths:
        failures.update(failures_in(path))
    if failures:
        _leave(FAILED, failures)


def _write_output(path: str, places: Mapping[str, tuple[str, str]], name: str) -> None:
    """Tell Kubeflow Pipelines of the artifacts; kfp.local knows of no other."""
    if not path.startswith("/"):  # not replaced: the engine does not want it
        return
    artifacts = {
        artifact: {"artifacts": [{"name": artifact, "uri": uri, "metadata": {"node": name}}]}
        for artifact, (_, uri) in places.items()
    }
    with open_new(path) as file:
        file.write(json.dumps({"artifacts": artifacts}).encode())
