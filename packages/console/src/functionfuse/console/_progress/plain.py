"""Progress as lines now and then, for pipes, logs and terminals that cannot move their cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .words import counts_of, duration, line_of, phase_of

if TYPE_CHECKING:
    from functionfuse.backends.progress import Failure, ProgressSnapshot

_GAPS = ((5.0, 1.0), (120.0, 10.0))  # until so many seconds, so many between two lines
_LONG_GAP = 60.0


def gap_after(seconds: float) -> float:
    """Return how many seconds pass until the next line, of a run that has gone on for some."""
    return next((gap for end, gap in _GAPS if seconds < end), _LONG_GAP)


def line_for(snapshot: ProgressSnapshot) -> str:
    """Return the line that tells how far a run is."""
    name, took = line_of(snapshot.workflow), duration(snapshot.now - snapshot.started)
    if snapshot.state != "running":
        return f"{name}: {snapshot.state} in {took}{_counts(snapshot)}"
    phase = phase_of(snapshot)
    if phase == "planning":
        return f"{name}: {phase}, {took}"
    left = "" if snapshot.left is None else f", about {duration(snapshot.left)} left"
    return f"{name}: {snapshot.ended:,} of {snapshot.total:,}{_counts(snapshot)}, {took}{left}"


def failure_line(failure: Failure) -> str:
    """Return the line for a call that failed."""
    return f"failed {line_of(failure.name)}: {line_of(failure.text)}"


def _counts(snapshot: ProgressSnapshot) -> str:
    return "".join(f", {count:,} {state}" for state, count in counts_of(snapshot))
