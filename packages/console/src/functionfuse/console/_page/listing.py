"""The page with the list of runs."""

from __future__ import annotations

import time
from html import escape
from typing import TYPE_CHECKING, NamedTuple, Self, get_args

from functionfuse.runs import RunState

from .html import asset, attribute, date, duration, page, table, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from functionfuse.runs import RunSummary

_MOST = 200  # runs that are shown
_STATES = ("finished", "reused", "failed", "skipped")
_HEADER = (
    ("", "choice"),
    ("Workflow", "name"),
    ("Run", "id"),
    ("State", ""),
    ("Nodes", "nodes"),
    ("Started", "time"),
    ("Took", "number"),
    ("Engine", ""),
    ("Labels", "labels"),
)


class Filter(NamedTuple):
    """Which runs are shown; what is empty does not count.

    Attributes:
        workflow: its name.
        state: of the run.
        label: a part of a label, written "name=text".
    """

    workflow: str = ""
    state: str = ""
    label: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Self:
        """Return the filter of a query.

        Args:
            query: that of an address.
        """
        return cls(*(query.get(name, "").strip() for name in cls._fields))

    def takes(self, run: RunSummary) -> bool:
        """Return True for a run that is shown.

        Args:
            run: a run.
        """
        labels = (f"{name}={value}" for name, value in run.labels.items())
        return (
            self.workflow in ("", run.workflow)
            and self.state in ("", run.state)
            and (not self.label or any(self.label in label for label in labels))
        )


def runs_page(runs: Sequence[RunSummary], chosen: Filter) -> tuple[str, str]:
    """Return the page, and its content security policy.

    Args:
        runs: all runs, newest first.
        chosen: which of them are shown.
    """
    found = [run for run in runs if chosen.takes(run)]
    is_live = any(run.state == "running" for run in found)
    title = "1 run" if len(found) == 1 else f"{len(found):,} runs"
    if found:
        shown = table("runs", "Runs", _HEADER, map(_row, found[:_MOST]))
        more = f"<p>And {len(found) - _MOST:,} more.</p>" if len(found) > _MOST else ""
        compare = '<p><button>Compare two runs</button> <span class="hint">chosen in the first column</span></p>'
        content = f'<form action="/compare">{compare}{shown}</form>{more}'
    else:
        hint = "no run is like this" if runs else "there are no runs yet: a run with a store leaves a record"
        content = f'<p class="hint">{hint.capitalize()}.</p>'
    live = f'<p class="hint" id="live" data-live="{str(is_live).lower()}" aria-live="polite">'
    live += f"{'Shown live.' if is_live else ''}</p>"
    body = f"<h1>{title}</h1>{_form(runs, chosen)}{live}{content}"
    return page("Runs", body, script=asset("page.js"), submits=True)


def _form(runs: Iterable[RunSummary], chosen: Filter) -> str:
    workflows = sorted({run.workflow for run in runs})
    return (
        f'<form class="filter" action="/">{_select("workflow", "Workflow", workflows, chosen.workflow)}'
        f"{_select('state', 'State', get_args(RunState), chosen.state)}"
        f'<label>Label <input name="label" placeholder="name=text" value={attribute(chosen.label)}></label>'
        "<button>Filter</button></form>"
    )


def _select(name: str, title: str, values: Iterable[str], chosen: str) -> str:
    options = "".join(
        f"<option value={attribute(value)}{' selected' if value == chosen else ''}>{text(value)}</option>"
        for value in values
    )
    return f'<label>{title} <select name="{name}"><option value="">all</option>{options}</select></label>'


def _row(run: RunSummary) -> list[str]:
    id = escape(run.id)
    ended = run.ended if run.state != "running" else time.time()
    return [
        f'<input type="checkbox" name="run" value={attribute(run.id)} aria-label="Compare run {id}">',
        text(run.workflow),
        f'<a href="/runs/{id}">{id}</a>',
        badge(run.state),
        text(run.problem) if run.problem else _nodes(run.counts),
        date(run.started) if run.started else "",
        duration(None if ended is None else ended - run.started),
        text(run.engine),
        " ".join(f'<span class="label">{text(f"{name}={value}")}</span>' for name, value in run.labels.items()),
    ]


def badge(state: str) -> str:
    """Return the state of a run or step.

    Args:
        state: of `RunState` or `StepState`.
    """
    return f'<span class="badge {escape(state).replace(" ", "-")}">{escape(state)}</span>'


def _nodes(counts: Mapping[str, int]) -> str:
    """Return the numbers of nodes by state, as a bar and as text."""
    known = [(state, counts[state]) for state in _STATES if counts.get(state)]
    left = counts.get("steps", 0) - sum(count for _, count in known)
    x, whole, bars = 0.0, max(1, counts.get("steps", 0)), []
    for state, count in known:
        width = 100 * count / whole
        bars.append(f'<rect class="{state}" x="{x:.2f}" width="{width:.2f}" height="6"/>')
        x += width
    said = ", ".join(f"{count:,} {state}" for state, count in [*known, *([("to run", left)] if left else [])])
    bar = f'<svg viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">{"".join(bars)}</svg>'
    return f"{bar}<span>{said}</span>"
