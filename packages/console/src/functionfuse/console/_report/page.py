"""The page of a run: a report, or the same page live."""

from __future__ import annotations

import json
from typing import Any

from .document import asset, document_of
from .packing import packed
from .summary import summary_of


def page_of(view: dict[str, Any], live: str | None = None, home: str | None = None) -> tuple[str, str]:
    """Return the page of a run as HTML, and its content security policy.

    Args:
        view: of the run (`view_of`).
        live: the address of an event source of changes (`changes_of`); None for a page that stays as it is.
        home: the address of a page with a list of runs; None without one.
    """
    data = {**view, "nodes": packed(view["nodes"]), "count": len(view["nodes"]["name"]), "live": live, "home": home}
    body = (
        f'<main id="report">{summary_of(view)}</main>\n'
        f'<script type="application/json" id="view">{_json_in_html(data)}</script>'
    )
    title = f"{view['run']['workflow']}: {view['run']['state']}"
    return document_of(title, body, script=asset("report.js"), connects=live is not None)


def _json_in_html(data: Any) -> str:
    """Return JSON that cannot end the element that it stands in."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
