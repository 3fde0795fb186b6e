"""What a report says where JavaScript does not run: outcome, failures, results and environment."""

from __future__ import annotations

import time
from html import escape
from typing import Any

from .view import STATES

_SHOWN_FAILURES = 20


def summary_of(view: dict[str, Any]) -> str:
    """Return the summary of a run as HTML.

    Args:
        view: of the run.
    """
    run, nodes = view["run"], view["nodes"]
    counts = ((state, nodes["state"].count(state)) for state in STATES)
    counted = ", ".join(f"{count:,} {state}" for state, count in counts if count) or "no nodes"
    started = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(run["started"]))
    return "".join(
        [
            f"<header><h1>{escape(run['workflow'])}</h1>",
            f"<p>Run {escape(run['id'])} on {escape(run['engine'])}: {run['state']}. Started {started}, ",
            f"took {run['seconds']:,.1f} s. {counted}.</p></header>",
            f"<section><h2>Error</h2><pre>{escape(run['error'])}</pre></section>" if run["error"] else "",
            _failures(nodes),
            _results(view["wanted"], nodes),
            _environment(view["environment"]),
        ]
    )


def _failures(nodes: dict[str, list[Any]]) -> str:
    failed = [number for number, state in enumerate(nodes["state"]) if state == "failed"]
    if not failed:
        return ""
    shown = [
        f"<h3>{escape(nodes['name'][number])}</h3><pre>{escape(nodes['error'][number])}</pre>"
        for number in failed[:_SHOWN_FAILURES]
    ]
    more = len(failed) - len(shown)
    return f"<section><h2>Failures</h2>{''.join(shown)}{f'<p>And {more:,} more.</p>' if more else ''}</section>"


def _results(wanted: list[int], nodes: dict[str, list[Any]]) -> str:
    shown = [
        f"<h3>{escape(nodes['name'][number])}</h3>{_preview(nodes['preview'][number])}"
        for number in wanted
        if nodes["preview"][number]
    ]
    return f"<section><h2>Results</h2>{''.join(shown)}</section>" if shown else ""


def _preview(preview: dict[str, str]) -> str:
    return f"<p>{escape(preview['type'])} {escape(preview['shape'])}</p><pre>{escape(preview['text'])}</pre>"


def _environment(facts: list[list[str]]) -> str:
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    return f'<section><h2>Environment</h2><dl class="facts">{items}</dl></section>' if items else ""
