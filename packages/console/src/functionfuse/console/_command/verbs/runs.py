"""`functionfuse runs`."""

from __future__ import annotations

import click

from functionfuse.runs import RunSummary, list_runs

from ..documents import write_document
from ..exit_codes import DONE
from ..stores import complete_workflow, json_option, storage_option, store_at
from ..tables import write_table
from ..texts import Label, counts_text, seconds_text, time_text

_HEADER = ("run", "workflow", "state", "started", "took", "steps", "labels")


@click.command("runs")
@click.argument("workflow", metavar="[WORKFLOW]", required=False, shell_complete=complete_workflow)
@storage_option
@click.option("labels", "--label", metavar="NAME=TEXT", type=Label(), multiple=True, help="Only runs that have it.")
@click.option("--failed", is_flag=True, help="Only runs that failed.")
@click.option("--limit", metavar="N", type=click.IntRange(1), help="Only the newest of them.")
@json_option
def _runs(
    workflow: str | None,
    storage: str | None,
    labels: tuple[tuple[str, str], ...],
    failed: bool,
    limit: int | None,
    as_json: bool,
) -> int:
    """List the runs that a store has records of, newest first: of one WORKFLOW, or of all."""
    found = list_runs(store_at(storage), workflow, dict(labels))
    runs = [run for run in found if not failed or run.state == "failed"][:limit]
    if as_json:
        write_document("runs", {"runs": [run.as_dict() for run in runs]})
        return DONE
    write_table(f"{len(runs):,} run{'' if len(runs) == 1 else 's'}", _HEADER, list(map(_row, runs)), {"took"})
    return DONE


command = _runs


def _row(run: RunSummary) -> tuple[str, ...]:
    if run.problem:
        return run.id, run.workflow, run.state, "", "", run.problem, ""
    took = None if run.ended is None else run.ended - run.started
    labels = ", ".join(f"{name}={text}" for name, text in run.labels.items())
    return run.id, run.workflow, run.state, time_text(run.started), seconds_text(took), counts_text(run.counts), labels
