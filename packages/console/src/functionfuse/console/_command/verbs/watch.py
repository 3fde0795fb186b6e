"""`functionfuse watch`."""

from __future__ import annotations

import click

from ..._progress.recorded import RecordedRun
from ..._progress.showing import shown
from ..documents import write_document
from ..exit_codes import DONE, FAILED
from ..following import snapshots
from ..stores import complete_run, json_option, storage_option, store_at
from ..streams import write
from ..texts import Duration, counts_text, seconds_text
from .show import run_document


@click.command("watch")
@click.argument("run", metavar="[RUN]", default="latest", shell_complete=complete_run)
@storage_option
@click.option("--timeout", metavar="DURATION", type=Duration(), help="Exit with 5 if it takes longer: 30s, 15m ...")
@json_option
def _watch(run: str, storage: str | None, timeout: float | None, as_json: bool) -> int:
    """Follow a RUN that another process makes until it ends, by default the newest.

    Exits with 1 if it failed, or ended before its time.
    """
    read = snapshots(store_at(storage), run, timeout)
    record = next(read)
    if record.state == "running":
        watched = RecordedRun(record)
        with shown(watched):
            for record in read:
                watched.record = record
    if as_json:
        write_document("watch", {"run": run_document(record)})
    else:
        took = (record.ended or record.started) - record.started
        write(f"{record.id}: {record.state} after {seconds_text(took)}, {counts_text(record.counts)}")
    return DONE if record.state == "finished" else FAILED


command = _watch
