"""`functionfuse diff`."""

from __future__ import annotations

import click

from functionfuse.run_diff import diff_of

from ..documents import write_document
from ..exit_codes import DONE, FAILED
from ..stores import complete_run, json_option, run_of, storage_option, store_at
from ..tables import write_table


@click.command("diff")
@click.argument("a", metavar="RUN", shell_complete=complete_run)
@click.argument("b", metavar="[RUN]", default="latest", shell_complete=complete_run)
@storage_option
@json_option
def _diff(a: str, b: str, storage: str | None, as_json: bool) -> int:
    """Compare a RUN with another one, by default the newest: where a difference begins, and what differs.

    Exits with 1 if they differ.
    """
    store = store_at(storage)
    diff = diff_of(run_of(store, a), run_of(store, b))
    if as_json:
        steps = [
            {**step, "parts": list(step["parts"]), "changes": list(step["changes"])} for step in diff.as_dict()["steps"]
        ]
        write_document("diff", {"a": diff.a, "b": diff.b, "differs": bool(diff), "steps": steps})
    else:
        differing = diff.differing
        count = f"{len(differing):,} of {len(diff.steps):,} nodes differ" if differing else "no node differs"
        rows = [(step.name, "begins here" if step.begins else "", str(step)) for step in differing]
        write_table(f"{diff.a} -> {diff.b}: {count}", ("node", "difference", "what"), rows)
    return FAILED if diff else DONE


command = _diff
