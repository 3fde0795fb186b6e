"""`functionfuse logs`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..documents import write_document
from ..exit_codes import DONE, USAGE, Failure
from ..following import snapshots
from ..stores import complete_run, json_option, run_of, storage_option, store_at
from ..streams import write
from ..texts import Duration, printable, printable_lines
from .show import step_of

if TYPE_CHECKING:
    from functionfuse.runs import RunRecord, RunStep


@click.command("logs")
@click.argument("run", metavar="RUN", shell_complete=complete_run)
@click.argument("node", metavar="[NODE]", required=False)
@storage_option
@click.option("--failed", is_flag=True, help="Only of nodes that failed.")
@click.option("--follow", is_flag=True, help="Go on until the run ends.")
@click.option("--timeout", metavar="DURATION", type=Duration(), help="Exit with 5 if that takes longer: 30s, 15m ...")
@json_option
def _logs(
    run: str,
    node: str | None,
    storage: str | None,
    failed: bool,
    follow: bool,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Show what the nodes of a RUN printed, logged and warned of, and why they failed; or only one NODE."""
    if as_json and follow:
        raise Failure(USAGE, "--json writes one document, and --follow goes on: leave one of them out")
    store = store_at(storage)
    if not follow:
        record = run_of(store, run)
        logs = [(step.name, step.state, _log_of(step)) for step in _steps(record, node, failed=failed)]
        if as_json:
            write_document("logs", {"run": record.id, "logs": [_document(*log) for log in logs]})
        else:
            _write_all([(name, text) for name, _, text in logs if text], heads=node is None)
        return DONE
    shown: set[str] = set()
    for record in snapshots(store, run, timeout):
        new = [
            (step.name, _log_of(step))
            for step in _steps(record, node, failed=failed, must_be=record.state != "running")
            if step.name not in shown and step.state not in ("running", "not run")
        ]
        shown.update(name for name, _ in new)
        if not _write_all([one for one in new if one[1]], heads=node is None):
            break
    return DONE


command = _logs


def _steps(record: RunRecord, node: str | None, *, failed: bool, must_be: bool = True) -> list[RunStep]:
    if node is not None and not must_be and node not in record.steps:
        return []  # it may be of a graph that another node returns
    steps = list(record.steps.values()) if node is None else [step_of(record, node)]
    return [step for step in steps if not failed or step.state == "failed"]


def _log_of(step: RunStep) -> str:
    return "\n".join(printable_lines(text.rstrip()) for text in (step.output, step.error) if text)


def _document(name: str, state: str, text: str) -> dict[str, str]:
    return {"name": name, "state": state, "text": text}


def _write_all(logs: list[tuple[str, str]], *, heads: bool) -> bool:
    return all(write(f"== {printable(name)}\n{text}" if heads else text) for name, text in logs)
