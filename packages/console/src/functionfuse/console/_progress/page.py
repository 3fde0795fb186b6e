"""Progress as HTML, for notebooks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from .words import STATES, counts_of, duration, line_of, phase_of

if TYPE_CHECKING:
    from functionfuse.backends.progress import ProgressSnapshot

_COLOURS = {"finished": "#23896b", "reused": "#7795d8", "failed": "#d3291c", "skipped": "#a05ca8"}
_MOST_CALLS, _MOST_FAILURES, _LONGEST = 4, 5, 160
_ROW = "overflow:hidden;text-overflow:ellipsis;white-space:nowrap"


def html_of(snapshot: ProgressSnapshot) -> str:
    """Return how far a run is as HTML, which is safe whatever is in the names of nodes."""
    total = max(1, snapshot.total)
    parts = "".join(
        f'<span style="display:inline-block;height:8px;width:{100 * getattr(snapshot, state) / total:.2f}%;'
        f'background:{_COLOURS[state]}"></span>'
        for state in STATES
    )
    counts = " · ".join(f"{count:,} {state}" for state, count in counts_of(snapshot))
    calls = snapshot.running[:_MOST_CALLS] if snapshot.state == "running" else ()
    rows = [
        f'<div style="opacity:.75;{_ROW}">▸ {_text(call.name)} · {duration(max(0.0, snapshot.now - call.started))}'
        f"{'' if call.expected is None else f' of about {duration(call.expected)}'}</div>"
        for call in calls
    ]
    rows += [
        f'<div style="color:{_COLOURS["failed"]};{_ROW}">✕ {_text(failure.name)}: {_text(failure.text)}</div>'
        for failure in snapshot.failures[:_MOST_FAILURES]
    ]
    return (
        '<div style="font:13px system-ui,sans-serif;max-width:720px">'
        f'<div style="{_ROW}"><b>{_text(snapshot.workflow)}</b> '
        f'<span style="opacity:.7">{_state(snapshot)}</span></div>'
        '<div role="progressbar" aria-valuemin="0" '
        f'aria-valuemax="{snapshot.total}" aria-valuenow="{snapshot.ended}" '
        'style="background:#8883;border-radius:4px;overflow:hidden;line-height:0;margin:4px 0;font-size:0">'
        f'{parts}</div><div style="opacity:.8">{counts}</div>{"".join(rows)}</div>'
    )


def _state(snapshot: ProgressSnapshot) -> str:
    took = duration(snapshot.now - snapshot.started)
    if snapshot.state != "running":
        return f"{snapshot.state} in {took}"
    phase = phase_of(snapshot)
    if phase:
        return f"{phase} · {took}"
    left = "" if snapshot.left is None else f" · about {duration(snapshot.left)} left"
    return f"{snapshot.ended:,} of {snapshot.total:,} · {took}{left}"


def _text(text: str) -> str:
    return f"<bdi>{escape(line_of(text)[:_LONGEST])}</bdi>"
