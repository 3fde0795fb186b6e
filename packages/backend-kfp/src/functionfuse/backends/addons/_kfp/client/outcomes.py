"""The outcomes of a run's steps, as their pods report them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functionfuse.backends.calls import Outcome
from functionfuse.backends.frames import StoredResultLost, Task
from functionfuse.backends.serialization import worker_died
from functionfuse.errors import EngineError, NodeError, TaskNotFound

from ..compile.pods import PodOutput, wanted_outputs
from ..pod.serialization import deserialize_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from functionfuse.backends.execution import Run
    from functionfuse.backends.recording import CallRecord
    from functionfuse.plan import Ref, Step
    from functionfuse.stores import Store


class StepOutcomes:
    """Receives the outcomes of steps, and settles the tasks of a run.

    Args:
        run: the run.
        wanted: the results that the user asked for.
    """

    def __init__(self, run: Run, wanted: Iterable[Ref]) -> None:
        self.run = run
        self._steps = {step.name: step for step in run.root.plan if step.may_run}
        self._wanted = set(wanted_outputs(run.root.plan, wanted))
        self._open = dict.fromkeys(self._steps)
        self._started: set[str] = set()

    @property
    def explained(self) -> bool:
        """True if it is known why the run ended."""
        report = self.run.report
        return self.run.lost is not None or not report.failed.keys() <= set(report.tolerated)

    def receive(self, kind: str, name: str, *details: Any) -> None:
        """Receive an event of a pod.

        Args:
            kind: "started", "finished", "reused", "failed", "skipped" or "lost".
            name: full name of the step.
            details: what belongs to an event of this kind.
        """
        if kind == "lost":
            self.lost(name, details[0])
        elif kind == "skipped":
            self._skipped(name, details[0])
        elif name in self._steps:
            self._receive_own(kind, name, *details)
        else:
            seconds, failure, record = details
            error = None if failure is None else deserialize_error(failure)
            self.run.log.noted(kind, name, seconds, error, record)  # type: ignore[arg-type]

    def lost(self, name: str, cause: str) -> None:
        """Record that a pod could not read a stored result that the plan reuses.

        Args:
            name: the name of the result.
            cause: why.
        """
        self.run.lose(StoredResultLost(name, TaskNotFound(cause)))

    def started(self, name: str) -> None:
        """Report that a step started; once."""
        if name not in self._started:
            self._started.add(name)
            self.run.started(Task(self.run.root, self._steps[name]))
            self.run.log.runs(name)

    def finished(self, name: str, seconds: float, record: CallRecord | None = None) -> None:
        """Settle a step that finished.

        Args:
            name: of the step.
            seconds: how long it took.
            record: what was recorded of its call.
        """
        if name not in self._open:
            return
        self.started(name)
        del self._open[name]
        step, root = self._steps[name], self.run.root
        self.run.settle(Task(root, step), Outcome(None, None, None, seconds, record=record))
        root.values.pop(name, None)  # they are read from the store, or collected
        root.values.pop(step.instance or name, None)

    def collect(self, read: Callable[[PodOutput], Any]) -> None:
        """Read the results that the user asked for into the run."""
        root = self.run.root
        for output in self._wanted:
            if output.step in self._steps and output.step not in root.failed:
                root.values[output.taken_as] = read(output)

    def failed(self, name: str, seconds: float, error: NodeError, record: CallRecord | None = None) -> None:
        """Settle a step that failed, or in whose graph a step failed.

        Args:
            name: of the step.
            seconds: how long it took.
            error: why it failed.
            record: what was recorded of its call.
        """
        if name in self._open:
            del self._open[name]
            outcome = Outcome(None, None, error, seconds, record=record)
            self.run.settle(Task(self.run.root, self._steps[name]), outcome)

    def failed_anywhere(self, error: NodeError) -> None:
        """Settle the step that an error names, or the step that returned the graph of that one."""
        name = error.name
        while name not in self._steps and "/" in name:
            name = name.rpartition("/")[0]
        if name in self._steps:
            self.started(name)
            self.failed(name, 0.0, error)

    def worker_died(self, steps: Iterable[Step], log: str) -> None:
        """Settle the step that ran when the process of a pod exited without reporting an error.

        Args:
            steps: of the pod; the first that is not settled is the one that ran.
            log: the end of the log.
        """
        name = next(step.name for step in steps if step.name in self._open)
        function = self._steps[name].target.qualname
        self.failed(name, 0.0, worker_died(name, function, EngineError(log), " while it ran"))

    def count_failure(self) -> None:
        """Let the run fail, after a step failed in the graph that another one returned, and ended the pod with that."""
        if self.run.lost is None and not self.run.has_failures:
            self.run.count_failure(list(self.run.report.failed.values())[-1])

    def skip_remaining(self) -> None:
        """Settle the steps that did not run because of a failure."""
        for name in list(self._open):
            if self.run.skip(Task(self.run.root, self._steps[name])):
                del self._open[name]

    def _skipped(self, name: str, cause: str) -> None:
        """Record that a step in the graph of a dynamic one cannot run.

        Args:
            name: its full name.
            cause: the name of the step that failed.
        """
        error = self.run.report.failed.get(cause)
        if error is None:
            self.run.report.skipped[name] = cause
        else:
            self.run.log.noted("skipped", name, None, error)

    def _receive_own(
        self,
        kind: str,
        name: str,
        seconds: float | None = None,
        failure: bytes | None = None,
        record: CallRecord | None = None,
    ) -> None:
        if kind == "started":
            self.started(name)
        elif kind == "finished":
            self.finished(name, seconds or 0.0, record)
        elif failure is not None:
            self.failed(name, seconds or 0.0, deserialize_error(failure), record)


class ReadOnlyStore:
    """The store of a run in the client, which saves nothing: pods save their results themselves."""

    always_read = False

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._store, verb)

    def save(self, *args: object, **kwargs: object) -> Mapping[str, Any]:  # noqa: ARG002
        """Save nothing.

        Args:
            args: positional arguments of a store's `save`.
            kwargs: keyword arguments of it.
        """
        return {}
