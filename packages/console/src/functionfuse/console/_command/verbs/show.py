"""`functionfuse show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from functionfuse._suggestions import did_you_mean

from ..documents import write_document
from ..exit_codes import DONE, STORAGE, Failure
from ..stores import complete_run, json_option, run_of, storage_option, store_at
from ..streams import write
from ..tables import write_table
from ..texts import bytes_text, counts_text, printable, printable_lines, seconds_text, time_text

if TYPE_CHECKING:
    from functionfuse.runs import RunRecord, RunStep

_LINE = "\n"
_HEADER = ("step", "state", "took", "memory", "why")


@click.command("show")
@click.argument("run", metavar="RUN", shell_complete=complete_run)
@click.argument("node", metavar="[NODE]", required=False)
@storage_option
@click.option("--failed", is_flag=True, help="Only nodes that failed, or were skipped for that.")
@json_option
def _show(run: str, node: str | None, storage: str | None, failed: bool, as_json: bool) -> int:
    """Show a RUN, given by its id or as `latest`: what became of its nodes; or all that is known of one NODE."""
    record = run_of(store_at(storage), run)
    steps = [step_of(record, node)] if node is not None else list(record.steps.values())
    steps = [step for step in steps if not failed or step.state in ("failed", "skipped")]
    if as_json:
        write_document("show", {"run": run_document(record), "steps": [step_document(step) for step in steps]})
    elif node is not None:
        for step in steps:
            write(_step_text(step))
    else:
        write_table(f"{_run_text(record)}\n", _HEADER, [_row(step) for step in steps], {"took", "memory"})
    return DONE


command = _show


def step_of(record: RunRecord, name: str) -> RunStep:
    """Return a step of a run.

    Args:
        record: the run.
        name: the full name of the step.

    Raises:
        Failure: there is none of this name.
    """
    if name not in record.steps:
        hint = did_you_mean(name, record.steps) or f"; functionfuse show {record.id} lists them"
        raise Failure(STORAGE, f"run {record.id!r} has no node {name!r}{hint}")
    return record.steps[name]


def run_document(record: RunRecord) -> dict[str, Any]:
    """Return what is known of a run itself, for JSON."""
    fields = ("id", "workflow", "state", "started", "ended", "engine", "labels", "counts", "problem", "error", "wanted")
    known = {name: getattr(record, name) for name in (*fields, "options", "environment")}
    return {**known, "labels": dict(record.labels), "wanted": list(record.wanted)}


def step_document(step: RunStep) -> dict[str, Any]:
    """Return what is known of a step, for JSON."""
    fields = ("name", "action", "reason", "state", "function", "recipe", "size", "content", "started", "seconds", "cpu")
    known = {
        name: getattr(step, name) for name in (*fields, "memory", "host", "process", "attempts", "output", "error")
    }
    listed = {"needs": list(step.needs), "warnings": list(step.warnings)}
    return {**known, **listed, "arguments": dict(step.arguments), "globals": dict(step.globals)}


def _row(step: RunStep) -> tuple[str, ...]:
    why = step.error.partition("\n")[0] or step.reason
    return step.name, step.state, seconds_text(step.seconds), bytes_text(step.memory), why


def _run_text(record: RunRecord) -> str:
    took = None if record.ended is None else record.ended - record.started
    labels = ", ".join(f"{name}={text}" for name, text in record.labels.items())
    git = record.environment.get("git") or {}
    commit = f"{git['commit']}{', with changes' if git.get('dirty') else ''}" if git.get("commit") else ""
    facts = {
        "run": record.id,
        "workflow": record.workflow,
        "state": f"{record.state}{f': {record.error.partition(_LINE)[0]}' if record.error else ''}",
        "started": f"{time_text(record.started)}{f', took {seconds_text(took)}' if took is not None else ''}",
        "nodes": counts_text(record.counts),
        "backend": f"{record.engine} on {record.environment.get('host', '')}",
        "labels": labels,
        "commit": commit,
    }
    return _lines(facts)


def _step_text(step: RunStep) -> str:
    facts = {
        "node": step.name,
        "state": f"{step.state}{f' ({step.reason})' if step.reason else ''}",
        "function": step.function,
        "arguments": ", ".join(f"{name}={text}" for name, text in step.arguments.items()),
        "needs": ", ".join(step.needs),
        "started": time_text(step.started),
        "took": f"{seconds_text(step.seconds)}{f', {step.attempts} attempts' if step.attempts > 1 else ''}",
        "processor": seconds_text(step.cpu),
        "memory": bytes_text(step.memory),
        "worker": f"process {step.process} of {step.host}" if step.process is not None else "",
        "result": bytes_text(step.size),
        "recipe": step.recipe or "",
    }
    parts = [_lines(facts)]
    parts += [f"error:\n{printable_lines(step.error.rstrip())}"] if step.error else []
    parts += [f"output:\n{printable_lines(step.output.rstrip())}"] if step.output else []
    return "\n\n".join(parts)


def _lines(facts: dict[str, str]) -> str:
    known = {name: text for name, text in facts.items() if text}
    width = max(map(len, known))
    return "\n".join(f"{name:{width}}  {printable(text)}" for name, text in known.items())
