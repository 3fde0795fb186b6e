"""Progress: what a run that is displayed counts of itself.

It assigns a few attributes for each step and calls nobody. A display asks for a `ProgressSnapshot` as often as it
draws, from a thread of its own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from functionfuse.backends.texts import described, masked, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from functionfuse.backends.frames import Frame, Task
    from functionfuse.backends.running_calls import RunningCalls
    from functionfuse.errors import NodeError
    from functionfuse.runs import RunState

LONG = 0.02  # seconds from which on the duration of a call is worth knowing
MOST_FAILURES = 200  # whose texts are kept
MOST_RUNNING = 100  # calls that a snapshot names


class RunningCall(NamedTuple):
    """A call that runs now.

    Attributes:
        name: the full name of its node.
        started: in seconds since the epoch.
        expected: how many seconds it takes, from an earlier run or other calls of its function; None if that is not
            known.
    """

    name: str
    started: float
    expected: float | None = None


class Failure(NamedTuple):
    """A call that failed.

    Attributes:
        name: the full name of its node.
        text: the error in one line.
    """

    name: str
    text: str


@dataclass(frozen=True)
class ProgressSnapshot:
    """How far a run is.

    Attributes:
        workflow: its name.
        state: of the run.
        started: in seconds since the epoch.
        now: when this was so, likewise.
        total: number of steps; it grows when a dynamic step returns a graph. 0 while the run is planned.
        finished: number of steps that ran to their end.
        reused: number of those whose stored results were reused.
        failed: number of those that failed.
        skipped: number of those that cannot run, because one that they need failed.
        running: calls that run, as far as the engine tells; the longest first.
        submitted: number of calls that the engine has, and that may not run yet.
        failures: the first of those that failed; a later snapshot has these and those that followed.
        left: seconds until the end, about; None where nothing tells.
    """

    workflow: str
    state: RunState
    started: float
    now: float
    total: int = 0
    finished: int = 0
    reused: int = 0
    failed: int = 0
    skipped: int = 0
    running: Sequence[RunningCall] = ()
    submitted: int = 0
    failures: Sequence[Failure] = ()
    left: float | None = None

    @property
    def ended(self) -> int:
        """Number of the steps of which it is known what became of them."""
        return self.finished + self.reused + self.failed + self.skipped

    @property
    def waiting(self) -> int:
        """Number of the steps that the engine has not got yet."""
        return max(0, self.total - self.ended - len(self.running) - self.submitted)


class ProgressSource(Protocol):
    """What a display asks how far a run is."""

    def snapshot(self) -> ProgressSnapshot:
        """Return how far the run is now."""


class RunProgress:
    """What a run counts of itself. The thread of the run writes, other threads read.

    Args:
        workflow_name: the workflow.

    Attributes:
        total: number of steps, and of each kind of end, as in a snapshot.
        submitted: by name of a step that the engine has: the function that it calls.
        here: the step that the thread of the run calls, where that alone is noted.
        here_since: since when, as `time.perf_counter` counts.
        seconds: that calls took, in all.
        calls: what tells which calls run; None as long as nobody asks.
        earlier: returns how long steps took in an earlier run, by name.
    """

    def __init__(self, workflow_name: str) -> None:
        self.workflow_name = workflow_name
        self.started = time.time()
        self.state: RunState = "running"
        self.total = self.finished = self.reused = self.failed = self.skipped = 0
        self.submitted: dict[str, str] = {}
        self.here: Task | None = None
        self.here_since = 0.0
        self.seconds = 0.0
        self.failures: list[Failure] = []
        self.calls: RunningCalls | None = None
        self.earlier: Callable[[], Mapping[str, float]] = dict
        self._made: Collection[str] = ()
        self._steps: list[str] = []  # names of the steps of the workflow itself that may run
        self._durations: dict[str, tuple[int, float]] = {}  # by function: number of long calls, and their seconds
        self._expected: Mapping[str, float] | None = None
        self._first_call = 0.0

    # -- what the run does

    def begin(self, made: Collection[str]) -> None:
        """Count anew: the run is planned, for the first time or again.

        Args:
            made: names of steps whose results this run has stored already, and reuses now.
        """
        self.total = self.finished = self.reused = self.failed = self.skipped = 0
        self.submitted.clear()
        self._made = made

    def opened(self, frame: Frame, reused: Sequence[str]) -> None:
        """Take in the steps of a frame.

        Args:
            frame: that was opened.
            reused: full names of those that are reused.
        """
        if frame.parent is None:
            made = sum(name in self._made for name in reused) if self._made else 0
            self.finished += made
            self.reused += len(reused) - made
            self._first_call = time.time()
        else:
            self.reused += len(reused)
            self.submitted.pop(frame.parent.name, None)  # its call has ended
        self.total += len(frame.plan)

    def finished_one(self, task: Task, seconds: float) -> None:
        """Take in that a call has ended well.

        Args:
            task: the step.
            seconds: how long it took.
        """
        self.finished += 1
        self.seconds += seconds
        if seconds > LONG or self.submitted:
            self._ended(task, seconds)

    def reused_one(self, task: Task, seconds: float) -> None:
        """Take in that the stored result of a step that was to be checked stands.

        Args:
            task: the step.
            seconds: how long it took to make it again, where that was done.
        """
        self.reused += 1
        self.seconds += seconds
        self._ended(task, seconds)

    def failed_one(self, task: Task, seconds: float, failure: NodeError) -> None:
        """Take in that a call has failed.

        Args:
            task: the step.
            seconds: how long it took.
            failure: why it failed.
        """
        self.note_failure(task.name, failure)
        self.seconds += seconds
        self._ended(task, seconds)

    def _ended(self, task: Task, seconds: float) -> None:
        if seconds > LONG:
            function = task.step.target.qualname
            count, known = self._durations.get(function, (0, 0.0))
            self._durations[function] = count + 1, known + seconds
        self.submitted.pop(task.name, None)

    def note_failure(self, name: str, failure: NodeError) -> None:
        """Count a step that failed, and keep what a display says of it.

        Args:
            name: the step's full name.
            failure: why; of another step, if the graph that this one returned has that.
        """
        self.failed += 1
        if failure.name in ("", name) and len(self.failures) < MOST_FAILURES:
            cause = failure.__cause__
            text = text_of(failure) if cause is None else described(cause)
            self.failures.append(Failure(name, masked(text).partition("\n")[0]))

    def began(self, name: str) -> None:
        """Take in that a call which the engine has runs now.

        Args:
            name: the full name of its step.
        """
        if self.calls is not None:
            self.calls.began(name)

    def noted(self, kind: str, name: str, error: NodeError | None) -> None:
        """Take in what became of a step that is known by its name alone.

        Args:
            kind: "started", "finished", "reused", "failed" or "skipped".
            name: the step's full name.
            error: why it failed.
        """
        if kind == "started":
            self.submitted.setdefault(name, "")
            self.began(name)
            return
        self.submitted.pop(name, None)
        if kind == "failed":
            assert error is not None
            self.note_failure(name, error)
        else:
            setattr(self, kind, getattr(self, kind) + 1)

    # -- what displays ask

    def snapshot(self) -> ProgressSnapshot:
        """Return how far the run is now."""
        now = time.time()
        running, submitted = self._running()
        return ProgressSnapshot(
            self.workflow_name,
            self.state,
            self.started,
            now,
            self.total,
            self.finished,
            self.reused,
            self.failed,
            self.skipped,
            running,
            submitted,
            self.failures,
            self._left(now),
        )

    def _running(self) -> tuple[list[RunningCall], int]:
        """Return the calls that run, the longest first, and the number of others that the engine has."""
        handed, here, since = self.submitted.copy(), self.here, self.here_since
        found = {} if self.calls is None else {k: v for k, v in self.calls.started().items() if k in handed}
        if here is not None:
            handed[here.name], found[here.name] = here.step.target.qualname, time.time() - time.perf_counter() + since
        longest = sorted(found.items(), key=lambda one: one[1])
        running = [RunningCall(name, started, self._usual(name, handed[name])) for name, started in longest]
        return running[:MOST_RUNNING], len(handed) - min(len(running), MOST_RUNNING)

    def _usual(self, name: str, function: str) -> float | None:
        """Return how many seconds a call is expected to take."""
        earlier = self._from_earlier().get(name)
        count, seconds = self._durations.get(function, (0, 0.0))
        return seconds / count if earlier is None and count else earlier

    def _from_earlier(self) -> Mapping[str, float]:
        if self._expected is None:
            self._expected = {}
            self._expected = self.earlier()
        return self._expected

    def _left(self, now: float) -> float | None:
        """Return the seconds until the end, from earlier durations where they are known, else from the mean so far."""
        done, took = self.finished + self.failed, now - self._first_call
        left = self.total - self.reused - self.skipped - done
        if left <= 0 or not done or took < 1:
            return None
        expected = self._from_earlier()
        work = sum(expected.values())
        part = min(self.seconds / work, 0.999) if work else 0.0
        if part > 0.02 and len(expected) >= self.total - self.reused:
            return took * (1 - part) / part
        return took / done * left
