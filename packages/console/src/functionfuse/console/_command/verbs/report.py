"""`functionfuse report`."""

from __future__ import annotations

import re
import webbrowser
from pathlib import Path

import click

from functionfuse.console import write_report
from functionfuse.runs import last_records

from ..documents import write_document
from ..exit_codes import DONE, REFUSED, Failure
from ..stores import complete_run, json_option, run_of, storage_option, store_at
from ..streams import write


@click.command("report")
@click.argument("run", metavar="[RUN]", default="latest", shell_complete=complete_run)
@storage_option
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of the page. [default: <workflow>-<run>.html]",
)
@click.option(
    "--before", metavar="RUN", shell_complete=complete_run, help="The run to compare it with. [default: the one before]"
)
@click.option("opens", "--open", is_flag=True, help="Open it in a browser.")
@json_option
def _report(run: str, storage: str | None, output: Path | None, before: str | None, opens: bool, as_json: bool) -> int:
    """Write the report of a RUN, by default of the newest, as one HTML file; its path goes to standard output."""
    store = store_at(storage)
    record = run_of(store, run)
    path = output or Path(re.sub(r"[^\w .,()+-]", "_", f"{record.workflow}-{record.id}.html"))
    earlier = last_records(store, record.workflow, record.id)[1] if before is None else run_of(store, before)
    try:
        written = write_report(record, path, before=earlier)
    except OSError as error:
        raise Failure(REFUSED, f"the report cannot be written to {str(path)!r}: {error}") from error
    if as_json:
        write_document("report", {"run": record.id, "file": str(written)})
    else:
        write(str(written))
    if opens:
        webbrowser.open(written.resolve().as_uri())
    return DONE


command = _report
