"""How progress looks on a terminal: lines of styled text, made from a snapshot alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len
from rich.text import Text

from .words import STATES, counts_of, duration, line_of, phase_of

if TYPE_CHECKING:
    from functionfuse.backends.progress import Failure, ProgressSnapshot, RunningCall

_STYLES = {
    "finished": "green",
    "reused": "blue",
    "failed": "red",
    "skipped": "magenta",
    "running": "yellow",
    "submitted": "cyan",
}
_OUTCOMES = {"finished": "green", "failed": "red", "cancelled": "yellow", "interrupted": "yellow"}
_LONGEST_NAME, _LONGEST_BAR, _SHORTEST_BAR = 28, 40, 6
_NARROW = 60  # columns below which the time left is not shown


class Marks(NamedTuple):
    """Characters that stand for states, and that a bar is made of."""

    by_state: dict[str, str]
    done: str
    rest: str
    gap: str


UNICODE = Marks({"finished": "✓", "reused": "↺", "failed": "✕", "skipped": "⊘", "running": "▸"}, "━", "─", "…")
ASCII = Marks({"finished": "+", "reused": "=", "failed": "x", "skipped": "-", "running": ">"}, "#", "-", "~")


def lines_of(snapshot: ProgressSnapshot, width: int, rows: int, marks: Marks = UNICODE) -> list[Text]:
    """Return what is shown of a run that goes on: a bar, the counts, and the calls that run.

    Args:
        snapshot: how far it is.
        width: columns of the terminal.
        rows: lines that there is room for, two or more.
        marks: the characters to draw with.
    """
    lines = [_bar_line(snapshot, width, marks)]
    tally = _tally(snapshot, width, marks)
    if tally.plain:
        lines.append(tally)
    room = max(0, rows - 2)
    fits = len(snapshot.running) <= room
    shown = snapshot.running[: room if fits else max(0, room - 1)]
    lines += [_call_line(call, snapshot.now, width, marks) for call in shown]
    more = len(snapshot.running) - len(shown)
    if more and room:
        lines.append(Text(f"    and {more:,} more", "dim"))
    return lines


def outcome_of(snapshot: ProgressSnapshot, width: int, marks: Marks = UNICODE) -> Text:
    """Return the line that stays of a run that has ended.

    Args:
        snapshot: how far it came.
        width: columns of the terminal.
        marks: the characters to draw with.
    """
    name = cut(line_of(snapshot.workflow), max(8, width // 3), marks)
    took = duration(snapshot.now - snapshot.started)
    line = Text.assemble(
        (name, "bold"), " ", (snapshot.state, _OUTCOMES.get(snapshot.state, "")), f" in {took}", no_wrap=True
    )
    line.append_text(_tally(snapshot, width - line.cell_len, marks))
    return line


def failure_line(failure: Failure, width: int, marks: Marks = UNICODE) -> Text:
    """Return the line for a call that failed.

    Args:
        failure: the call.
        width: columns of the terminal.
        marks: the characters to draw with.
    """
    name = cut(line_of(failure.name), max(8, width // 2), marks)
    text = f"{marks.by_state['failed']} {name}  {line_of(failure.text)}"
    return Text(_shortened(text, width, marks), "red", no_wrap=True)


def cut(text: str, most: int, marks: Marks = UNICODE) -> str:
    """Return a text in at most so many columns: of a longer one the beginning and the end.

    Args:
        text: in one line.
        most: columns.
        marks: the characters to draw with.
    """
    if cell_len(text) <= most:
        return text
    tail = _fitting(text[::-1], (most - 1) // 2)[::-1]
    return _fitting(text, most - 1 - cell_len(tail)) + marks.gap + tail


def _shortened(text: str, most: int, marks: Marks) -> str:
    return text if cell_len(text) <= most else _fitting(text, most - 1) + marks.gap


def _fitting(text: str, most: int) -> str:
    """Return the beginning of a text that takes at most so many columns."""
    text = text[: max(0, most)]
    while cell_len(text) > most:
        text = text[:-1]
    return text


def _bar_line(snapshot: ProgressSnapshot, width: int, marks: Marks) -> Text:
    took = duration(snapshot.now - snapshot.started)
    phase = phase_of(snapshot)
    if phase == "planning":
        name = cut(line_of(snapshot.workflow), max(8, width - len(took) - 14), marks)
        return Text.assemble((name, "bold"), f"  {phase}  ", (took, "dim"), no_wrap=True)
    tail = f" {_percent(snapshot):3d} %  {took}"
    if phase and width > _NARROW:
        tail += f"  {phase}"
    elif snapshot.left is not None and width > _NARROW:
        tail += f"  about {duration(snapshot.left)} left"
    room = width - len(tail) - 1
    name = ""
    if room > _LONGEST_NAME:
        name = cut(line_of(snapshot.workflow), min(_LONGEST_NAME, room - 16), marks) + " "
    bar = _bar(snapshot, max(_SHORTEST_BAR, min(_LONGEST_BAR, room - cell_len(name))), marks)
    return Text.assemble((name, "bold"), bar, tail, no_wrap=True)


def _percent(snapshot: ProgressSnapshot) -> int:
    return min(100, snapshot.ended * 100 // max(1, snapshot.total))


def _bar(snapshot: ProgressSnapshot, width: int, marks: Marks) -> Text:
    """Return a bar with a part for each state; one that a step is in has a column at least."""
    bar, used, done = Text(), 0, 0
    for state in STATES:
        count = getattr(snapshot, state)
        done += count
        end = round(done / max(1, snapshot.total) * width)
        columns = min(width - used, max(end - used, 1 if count else 0))
        bar.append(marks.done * columns, _STYLES[state])
        used += columns
    return bar.append(marks.rest * (width - used), "dim")


def _tally(snapshot: ProgressSnapshot, width: int, marks: Marks) -> Text:
    """Return the counts, as many as there is room for."""
    line = Text(no_wrap=True)
    for state, count in counts_of(snapshot):
        mark = marks.by_state.get(state, "")
        part = f"  {mark} {count:,} {state}" if mark else f"  {count:,} {state}"
        if line.cell_len + cell_len(part) > width:
            break
        line.append(part, _STYLES.get(state, "dim"))
    return line


def _call_line(call: RunningCall, now: float, width: int, marks: Marks) -> Text:
    took = f"  {duration(max(0.0, now - call.started))}"
    if call.expected is not None:
        took += f" of about {duration(call.expected)}"
    name = cut(line_of(call.name), max(4, width - len(took) - 4), marks)
    return Text.assemble(("  " + marks.by_state["running"], "yellow"), f" {name}", (took, "dim"), no_wrap=True)
