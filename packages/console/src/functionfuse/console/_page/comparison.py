"""The page that compares two runs."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING

from .html import date, duration, page, table, text
from .listing import badge

if TYPE_CHECKING:
    from functionfuse.run_diff import RunDiff, StepDiff
    from functionfuse.runs import RunRecord, RunStep

_MOST = 500  # nodes that are shown
_SLOWER = (1.5, 0.1)  # by what factor, and by how many seconds
_RUN_HEADER = (
    ("", ""),
    ("Workflow", "name"),
    ("Run", "id"),
    ("State", ""),
    ("Started", "time"),
    ("Took", "number"),
    ("Nodes", ""),
    ("Labels", "labels"),
)
_HEADER = (
    ("Node", "name"),
    ("Difference", ""),
    ("What changed", "changes"),
    ("Result", ""),
    ("Before", "number"),
    ("After", "number"),
)


def comparison_page(a: RunRecord, b: RunRecord, diff: RunDiff) -> tuple[str, str]:
    """Return the page, and its content security policy.

    Args:
        a: the earlier run.
        b: the later one.
        diff: of both.
    """
    differing = diff.differing
    said = f"{len(differing):,} of {len(diff.steps):,} nodes differ" if differing else "No node differs"
    parts = [f"<h1>{said}</h1>", _runs(a, b)]
    if differing:
        parts.append("<h2>Where differences begin</h2>")
        parts.append(_nodes("begins", "Nodes where differences begin", diff.begins, a, b))
        followers = [step for step in differing if not step.begins]
        if followers:
            parts.append("<h2>What follows from them</h2>")
            parts.append(_nodes("follows", "Nodes that differ because others do", followers, a, b))
    slower = _slower(a, b, diff)
    if slower:
        parts.append("<h2>Slower than before</h2>")
        parts.append(_nodes("slower", "Nodes that took longer", slower, a, b))
    return page("Comparison of two runs", "".join(parts))


def _runs(a: RunRecord, b: RunRecord) -> str:
    return table("compared", "The two runs", _RUN_HEADER, [_run("before", a), _run("after", b)])


def _run(title: str, run: RunRecord) -> list[str]:
    counts = Counter(step.state for step in run.steps.values())
    id = escape(run.id)
    return [
        title,
        text(run.workflow),
        f'<a href="/runs/{id}">{id}</a>',
        badge(run.state),
        date(run.started),
        duration(None if run.ended is None else run.ended - run.started),
        ", ".join(f"{count:,} {state}" for state, count in counts.items()),
        " ".join(f'<span class="label">{text(f"{name}={value}")}</span>' for name, value in run.labels.items()),
    ]


def _nodes(id: str, caption: str, steps: list[StepDiff], a: RunRecord, b: RunRecord) -> str:
    shown = table(id, caption, _HEADER, [_row(step, a, b) for step in steps[:_MOST]])
    return f"{shown}<p>And {len(steps) - _MOST:,} more.</p>" if len(steps) > _MOST else shown


def _row(step: StepDiff, a: RunRecord, b: RunRecord) -> list[str]:
    result = {None: "", True: "differs", False: "equal"}[step.content]
    return [
        text(step.name),
        _kind(step, a),
        "<br>".join(map(text, step.causes)),
        result,
        _time(a.steps.get(step.name)),
        _time(b.steps.get(step.name)),
    ]


def _kind(step: StepDiff, a: RunRecord) -> str:
    if step.only_in:
        return "only before" if step.only_in == a.id else "only after"
    if step.recipe:
        return "recipe"
    return "result" if step.content else ""


def _time(step: RunStep | None) -> str:
    if step is None:
        return ""
    return duration(step.seconds) if step.seconds is not None else escape(step.state)


def _slower(a: RunRecord, b: RunRecord, diff: RunDiff) -> list[StepDiff]:
    """Return the nodes that took notably longer, those first that lost most time."""
    lost: dict[str, float] = {}
    factor, least = _SLOWER
    for name, after in b.steps.items():
        before = a.steps.get(name)
        if before is None or before.seconds is None or after.seconds is None:
            continue
        if after.seconds > factor * before.seconds and after.seconds > before.seconds + least:
            lost[name] = after.seconds - before.seconds
    return [diff.steps[name] for name in sorted(lost, key=lost.__getitem__, reverse=True)]
