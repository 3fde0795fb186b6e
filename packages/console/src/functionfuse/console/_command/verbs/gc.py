"""`functionfuse gc`."""

from __future__ import annotations

from typing import Any

import click

from ..documents import write_document
from ..exit_codes import DONE, USAGE, Failure
from ..stores import json_option, storage_option, store_at
from ..streams import note, write
from ..texts import Duration, bytes_text


@click.command("gc")
@storage_option
@click.option(
    "--max-size",
    metavar="SIZE",
    help="The most that results may take: '10 GiB'. What was not used for longest goes first.",
)
@click.option("--keep-runs", metavar="N", type=click.IntRange(1), help="Keep what the last N runs of a workflow had.")
@click.option(
    "--older-than", metavar="DURATION", type=Duration(), help="Only what was not used for that long. [default: 1d]"
)
@click.option("--dry-run", is_flag=True, help="Remove nothing; say what would be removed.")
@json_option
def _gc(
    storage: str | None,
    max_size: str | None,
    keep_runs: int | None,
    older_than: float | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Remove results that no name and no recent run has, and what writers left that have ended."""
    store = store_at(storage)
    collect = getattr(store, "gc", None)
    if collect is None:
        raise Failure(USAGE, f"{store!r} does not collect what nothing needs")
    given = {"max_size": max_size, "keep_runs": keep_runs, "older_than": older_than}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    removed = collect(dry_run=dry_run, **options)
    if as_json:
        fields = {"dry_run": dry_run, "removed": list(removed), "freed": removed.freed, "problem": removed.problem}
        write_document("gc", fields)
        return DONE
    for name in removed:
        write(name)
    verb = "would be removed" if dry_run else "removed"
    problem = f"; {removed.problem}" if removed.problem else ""
    note(f"{len(removed):,} {verb}, {bytes_text(removed.freed)}{problem}")
    return DONE


command = _gc
