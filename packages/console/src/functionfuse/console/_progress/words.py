"""Texts that every way to show progress uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._report.texts import plain_output

if TYPE_CHECKING:
    from functionfuse.backends.progress import ProgressSnapshot

STATES = ("finished", "reused", "failed", "skipped")


def duration(seconds: float) -> str:
    """Return a duration as a short text, "0.3 s" or "1:05:09"."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def line_of(text: str) -> str:
    """Return a text of a user in one line, without anything that moves a cursor or turns text around."""
    return " ".join(plain_output(text).split())


def phase_of(snapshot: ProgressSnapshot) -> str:
    """Return what a run does before its first call; empty once there is one."""
    if not snapshot.total:
        return "planning"
    is_begun = snapshot.ended > snapshot.reused or snapshot.running or snapshot.submitted
    return "" if is_begun or snapshot.ended >= snapshot.total else "starting"


def counts_of(snapshot: ProgressSnapshot) -> list[tuple[str, int]]:
    """Return the states that there are steps in, each with their number, in the order in which they are shown."""
    counts = [(state, getattr(snapshot, state)) for state in STATES]
    counts += [("running", len(snapshot.running)), ("submitted", snapshot.submitted)]
    counts.append(("waiting" if snapshot.state == "running" else "not run", snapshot.waiting))
    return [(state, count) for state, count in counts if count]
