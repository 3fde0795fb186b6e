"""`functionfuse watch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..documents import write_document
from ..exit_codes import DONE, FAILED
from ..following import snapshots
from ..stores import complete_run, json_option, storage_option, store_at
from ..streams import note, write
from ..texts import Duration, counts_text, printable, seconds_text
from .show import run_document

if TYPE_CHECKING:
    from functionfuse.runs import RunRecord


@click.command("watch")
@click.argument("run", metavar="RUN", default="latest", shell_complete=complete_run)
@storage_option
@click.option("--timeout", metavar="DURATION", type=Duration(), help="Exit with 5 if it takes longer: 30s, 15m ...")
@json_option
def _watch(run: str, storage: str | None, timeout: float | None, as_json: bool) -> int:
    """Follow a RUN that another process makes until it ends, by default the newest.

    Exits with 1 if it failed, or ended before its time.
    """
    store = store_at(storage)
    said = ""
    told: set[str] = set()
    for record in snapshots(store, run, timeout):
        for step in record.steps.values():
            if step.state == "failed" and step.name not in told:
                told.add(step.name)
                note(f"failed: {printable(step.name)}: {printable(step.error.partition(chr(10))[0])}")
        now = _state_text(record)
        if now != said and record.state == "running":
            note(now)
        said = now
    if as_json:
        write_document("watch", {"run": run_document(record)})
    else:
        took = (record.ended or record.started) - record.started
        write(f"{record.id}: {record.state} after {seconds_text(took)}, {counts_text(record.counts)}")
    return DONE if record.state == "finished" else FAILED


command = _watch


def _state_text(record: RunRecord) -> str:
    states = [step.state for step in record.steps.values()]
    counts = {state: states.count(state) for state in ("finished", "reused", "failed", "skipped", "running")}
    shown = ", ".join(f"{count:,} {state}" for state, count in counts.items() if count)
    return f"{record.id}: {shown or 'nothing yet'} of {len(states):,}"
