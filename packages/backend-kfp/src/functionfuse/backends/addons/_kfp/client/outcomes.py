"""What becomes of the steps of a run, as their pods tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functionfuse.backends.calls import Outcome
from functionfuse.backends.frames import StoredResultLost, Task
from functionfuse.errors import NodeError, TaskNotFound, WorkerDiedError

from ..compile.pods import Cargo, wanted_cargo
from ..pod.wire import unpack_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from functionfuse.backends.execution import Run
    from functionfuse.plan import Ref, Step
    from functionfuse.stores import Store


class Outcomes:
    """Settles the tasks of a run.

    Args:
        run: the run.
        wanted: what the user asked for.
    """

    def __init__(self, run: Run, wanted: Iterable[Ref]) -> None:
        self.run = run
        self._steps = {step.name: step for step in run.root.plan if step.action == "run"}
        self._wanted = set(wanted_cargo(run.root.plan, wanted))
        self._open = dict.fromkeys(self._steps)
        self._started: set[str] = set()

    @property
    def explained(self) -> bool:
        """Whether it is known why the run failed."""
        return bool(self.run.report.failed)

    def take_in(self, kind: str, name: str, *said: Any) -> None:
        """Take in what a pod says. StoredResultLost when it could not read a result that the plan reuses."""
        if kind == "lost":
            raise StoredResultLost(name, TaskNotFound(said[0]))
        if kind == "skipped":
            self.run.report.skipped[name] = said[0]
        elif name in self._steps:
            self._take_in_own(kind, name, *said)
        else:
            seconds, packed = said
            self.run.heard(kind, name, seconds, None if packed is None else unpack_error(packed))  # type: ignore[arg-type]

    def started(self, name: str) -> None:
        """Take in that a step was started; once."""
        if name not in self._started:
            self._started.add(name)
            self.run.started(Task(self.run.root, self._steps[name]))

    def finished(self, name: str, seconds: float) -> None:
        """Take in that a step has finished."""
        if name not in self._open:
            return
        self.started(name)
        del self._open[name]
        step, root = self._steps[name], self.run.root
        self.run.settle(Task(root, step), Outcome(None, None, None, seconds))
        root.values.pop(name, None)  # whoever asks is given what the store has, or what is collected
        root.values.pop(step.instance or name, None)

    def collect(self, fetch: Callable[[Cargo], Any]) -> None:
        """Hold the results that the user asked for."""
        root = self.run.root
        for cargo in self._wanted:
            if cargo.step in self._steps and cargo.step not in root.failed:
                root.values[cargo.known_as] = fetch(cargo)

    def failed(self, name: str, seconds: float, error: NodeError) -> None:
        """Take in that a step has failed, or a step of the graph that it returned."""
        if name in self._open:
            del self._open[name]
            self.run.settle(Task(self.run.root, self._steps[name]), Outcome(None, None, error, seconds))

    def failed_within(self, error: NodeError) -> None:
        """Take in that a step has failed, wherever in the graph it is."""
        name = error.name
        while name not in self._steps and "/" in name:
            name = name.rpartition("/")[0]  # of the step that returned the graph
        if name in self._steps:
            self.started(name)
            self.failed(name, 0.0, error)

    def died(self, steps: Iterable[Step], said: str) -> None:
        """Take in that the process of a pod ended without a word; the first of its steps that is open was to blame."""
        name = next(step.name for step in steps if step.name in self._open)
        function = self._steps[name].target.qualname
        message = f"node {name!r} failed: its process ended while it ran; out of memory and crashes in native code are"
        self.failed(name, 0.0, WorkerDiedError(f"{message} the usual causes\n{said}", name=name, function=function))

    def skip_the_rest(self) -> None:
        """Settle what did not run because of a failure."""
        for name in list(self._open):
            if self.run.skip(Task(self.run.root, self._steps[name])):
                del self._open[name]

    def _take_in_own(self, kind: str, name: str, seconds: float | None = None, packed: bytes | None = None) -> None:
        if kind == "started":
            self.started(name)
        elif kind == "finished":
            self.finished(name, seconds or 0.0)
        elif packed is not None:
            self.failed(name, seconds or 0.0, unpack_error(packed))


class ReadOnly:
    """A store as the driver of a run sees it: pods save their results themselves."""

    always_read = False

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._store, verb)

    def save(self, *_: object, **__: object) -> Mapping[str, Any]:
        """Do nothing."""
        return {}
