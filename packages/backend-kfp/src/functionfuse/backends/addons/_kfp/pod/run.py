"""The run of a pod: its part of the plan, executed as one process would, with results of other pods as artifacts.

This module travels with the code of a workflow, and imports the frontend only.
"""

from __future__ import annotations

import functools
import pickle
from typing import TYPE_CHECKING, Any

from functionfuse.backends.execution import Run
from functionfuse.backends.recordings import Recordings
from functionfuse.errors import UsageError
from functionfuse.file_check import files_of
from functionfuse.plan import Plan, Ref

from .artifacts import (
    Failures,
    WithoutRecipe,
    load_artifact,
    read_failures,
    serialize_artifact,
    write_artifact,
    write_bundle,
)
from .serialization import first_error, serialize_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from functionfuse.backends.expanding import Expander
    from functionfuse.backends.frames import Task
    from functionfuse.backends.recording import CallRecord
    from functionfuse.errors import NodeError
    from functionfuse.plan import Step

    from .artifacts import OutputKey
    from .messages import PodConnection
    from .plan import PodConfig, PodPlan, ReadEntry


class PodReporter:
    """Receives the events of a pod's run, and sends them to the client.

    Args:
        connection: sends events to the client of a local run.
        names: names of the pod's own steps.

    Attributes:
        failures: serialized failures by step.
        measured: how long each finished step took, and what was recorded of its call.
        finished: names of the pod's own steps whose outputs are written.
    """

    def __init__(self, connection: PodConnection, names: Sequence[str]) -> None:
        self.connection = connection
        self.names = names
        self.failures: dict[str, bytes] = {}
        self.measured: dict[str, tuple[float, CallRecord | None]] = {}
        self.finished: list[str] = []

    def report(
        self,
        kind: str,
        name: str,
        seconds: float | None = None,
        error: NodeError | None = None,
        record: CallRecord | None = None,
        reason: str = "",  # noqa: ARG002
    ) -> None:
        """Receive an event, as the frontend's `EventChannel` does.

        That one of the pod's own steps finished is sent later, when its outputs are written; what was skipped, at the
        end.

        Args:
            kind: "started", "finished", "reused", "failed" or "skipped".
            name: full name of the step.
            seconds: how long the step took.
            error: why it failed.
            record: what was recorded of its call.
            reason: why it runs, which is not sent.
        """
        if kind == "skipped":
            return
        if record is not None:  # the capsule is kept here
            record = record._replace(capsule=None)
        if name in self.names and kind == "finished":
            self.measured[name] = seconds or 0.0, record
        elif name not in self.names or kind != "reused":
            failure = None if error is None else serialize_error(error)
            if error is not None and failure is not None:
                self.failures[error.name or name] = failure
            self.connection.send(kind, name, seconds, failure, record)


class PodRun:
    """Runs the steps of a pod. Results of other pods are read when they are first needed.

    Attributes:
        run: the run of the pod's part of the plan.

    Args:
        pod_plan: the pod's part of the plan.
        config: what every pod of the workflow has to know.
        read: reads an entry of the zip.
        reporter: receives events.
        arguments: the paths of the pod's inputs first.
    """

    def __init__(
        self,
        pod_plan: PodPlan,
        config: PodConfig,
        read: ReadEntry,
        reporter: PodReporter,
        arguments: Sequence[str],
    ) -> None:
        self.pod_plan = pod_plan
        self.config = config
        self.read = read
        self.reporter = reporter
        self.input_paths = {key: arguments[index] for key, index in pod_plan.inputs.items()}
        self.loaded_states: set[OutputKey] = set()
        self.written: set[OutputKey] = set()
        self.bundle: dict[OutputKey, bytes] = {}  # the outputs of a group
        self.upstream_failures: dict[str, bytes] = {}
        self.store = pickle.loads(read("store")) if config.has_store else None
        self.run = Run(
            Plan([*pod_plan.stored, *pod_plan.steps], workflow_name=config.spec.workflow_name),
            [Ref(instance or step) for step, instance in pod_plan.outputs],
            expand=self.expand,
            store=self.store,
            events=reporter,  # type: ignore[arg-type]  # it receives what an event channel does
            on_error=config.spec.on_error,
            recordings=Recordings(config.spec, self.store, pod_plan.results),
            inputs={
                key[0]: functools.partial(self.load, path, key)
                for key, path in self.input_paths.items()
                if key[1] is None
            },
        )
        for key, path in self.input_paths.items():
            failures = read_failures(path, key)
            self.upstream_failures.update(failures)
            if failures and key[1] is None:
                self.run.root.failed[key[0]] = first_error(failures)

    def expand(self, steps: list[Step], task: Task, wanted: Sequence[Ref]) -> Plan:
        """Plan the graph that a dynamic step returned.

        Args:
            steps: the graph's steps.
            task: the dynamic step.
            wanted: the results of the graph that the step's own is made of.
        """
        return self._expander(steps, task, wanted)

    @functools.cached_property
    def _expander(self) -> Expander:
        """Plans the graphs of dynamic steps; what it takes is imported only where there are some."""
        from functionfuse.backends.expanding import Expander
        from functionfuse.backends.planning import Planner

        # The graph runs in this pod.
        options = pickle.loads(self.read("options"))
        spec = self.config.spec._replace(options=options, store=self.store, shares_files=True)
        return Expander(Planner(spec, lost=self.config.lost), self.config.names, spec)

    def execute(self, paths: Mapping[str, str]) -> None:
        """Run the steps, and write each output, or the failures instead of it, as soon as it is there.

        When a stored result turns out lost, the steps before it are saved, and no more is written.

        Args:
            paths: by artifact: the path of its file.
        """
        run = self.run
        for task in run.in_order():
            if task.frame is not run.root or self.load_states(task):
                run.perform_here(task)
            for done in list(run.done):
                if done.frame is run.root and done.step.name not in run.root.failed:
                    self.write_outputs(done, paths)
        if run.lost is not None:
            return
        for key, artifact in self.pod_plan.outputs.items():
            if key not in self.written:
                self.write_output(key, paths[artifact], Failures(self.failures_of(key)))
        if self.pod_plan.is_group:
            write_bundle(self.bundle, paths["out"])
        for name, cause in run.report.skipped.items():
            if name not in self.reporter.names:
                self.reporter.connection.send("skipped", name, cause)

    def load_states(self, task: Task) -> bool:
        """Load the states of stateful objects that a step takes from other pods; return True if it can start."""
        frame, step = task
        for instance, after in self.pod_plan.states.get(step.name, {}).items():
            key = (after, instance)
            path = self.input_paths.get(key)
            if path is None or key in self.loaded_states:
                continue
            failures = read_failures(path, key)
            if failures:
                frame.failed[instance] = first_error(failures)
                if self.run.skip(task):
                    return False
                continue
            try:
                frame.values[instance] = self.load(path, key)
            except Exception as error:
                self.run.started(task)
                self.run.fail(task, error, "the stateful object of the call cannot be loaded")
                return False
            self.loaded_states.add(key)
        return True

    def load(self, path: str, key: OutputKey) -> Any:
        """Return what another pod made.

        Args:
            path: path of the artifact's file.
            key: which output.
        """
        value = load_artifact(path, key)
        if isinstance(value, WithoutRecipe):
            self.run.root.without_recipe.add(key[0])
            return value.value
        return value

    def write_outputs(self, task: Task, paths: Mapping[str, str]) -> None:
        """Write what other pods, or the user, take of a step that is done; once.

        Args:
            task: the step.
            paths: by artifact: the path of its file.
        """
        name = task.step.name
        if (name, "") in self.written:
            return
        try:
            for key, artifact in self.pod_plan.outputs.items():
                if key[0] == name:
                    value = self.run.root.values[key[1] or name]
                    self.refuse_files(value)
                    self.write_output(
                        key, paths[artifact], WithoutRecipe(value) if name in self.run.root.without_recipe else value
                    )
                    self.written.add(key)
        except Exception as error:
            self.run.fail(task, error, "it ran, but its result cannot be written", *self.reporter.measured[name])
            return
        self.written.add((name, ""))
        self.reporter.finished.append(name)
        seconds, record = self.reporter.measured[name]
        self.reporter.connection.send("finished", name, seconds, None, record)

    def refuse_files(self, value: Any) -> None:
        """Refuse a file that a step returned, if other pods do not have it.

        Args:
            value: the result.

        Raises:
            UsageError: it holds one whose content does not travel along.
        """
        files = [] if self.config.spec.shares_files else files_of(value)
        if files:
            raise UsageError(
                f"it returned File({files[0][0]!r}), which other pods and the user do not have; File(path, ship=True) "
                "takes the content along"
            )

    def write_output(self, key: OutputKey, path: str, value: Any) -> None:
        """Write one output; those of a group are kept until all are there.

        Args:
            key: which output.
            path: path of the artifact's file.
            value: the value, or `Failures`.
        """
        if self.pod_plan.is_group:
            self.bundle[key] = serialize_artifact(value)
        else:
            write_artifact(value, path)

    def failures_of(self, key: OutputKey) -> dict[str, bytes]:
        """Return all failures so far; the one because of which an output is missing comes first."""
        step, instance = key
        failures = {**self.upstream_failures, **self.reporter.failures}
        failed = self.run.root.failed
        error = failed.get(step) or failed.get(instance or step)
        first = {error.name: failures[error.name]} if error is not None and error.name in failures else {}
        return {**first, **failures}
