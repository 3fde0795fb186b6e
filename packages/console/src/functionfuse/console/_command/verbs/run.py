"""`functionfuse run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from functionfuse.backends.texts import traceback_text
from functionfuse.errors import NodeError, OptionError, WorkflowFailed

from ..documents import plain, write_document
from ..exit_codes import DONE, FAILED, REFUSED, Failure
from ..streams import note, prints_to_stderr, write
from ..texts import Label, printable, printable_lines, type_text, value_text
from ..workflows import Prepared, prepared, target_command

if TYPE_CHECKING:
    from functionfuse.runs import RunRecord

_MOST_TRACEBACKS = 5


@target_command(
    name="run",
    help="""Run the graph that TARGET names, and write the results of its nodes to standard output.

    TARGET is file.py:name or module:name: a node, nodes in a list, tuple, dict or sweep, or a function that returns
    them. The parameters of a function are options behind the target: --help behind it shows them.
    """,
)
@click.option(
    "--on-error",
    type=click.Choice(["raise", "continue"]),
    default="raise",
    help="At a failure: stop, or run all that does not depend on it. [default: raise]",
)
@click.option(
    "labels", "--label", metavar="NAME=TEXT", type=Label(), multiple=True, help="A label of the run; can be repeated."
)
@click.option(
    "--report",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the report of the run as one HTML file, also if it fails.",
)
@click.option("--quiet", is_flag=True, help="Show no progress. [default: shown on a terminal]")
def _run(
    as_json: bool,
    on_error: str,
    labels: tuple[tuple[str, str], ...],
    report: Path | None,
    quiet: bool,
    **values: Any,
) -> int:
    """Run a graph."""
    with prepared(values) as made:
        options: dict[str, Any] = {**made.run_options, "on_error": on_error, "labels": dict(labels)}
        if quiet:
            options["progress"] = False
        failure: NodeError | WorkflowFailed | None = None
        results: list[Any] = []
        try:
            with prints_to_stderr():
                given = made.workflow.run(**options)
            results = [given] if len(made.wanted) == 1 else given
        except (NodeError, WorkflowFailed) as error:
            failure = error
        if report is not None:
            _write_report(made, report)
        document = _document(made, results, failure, report) if as_json else {}
    if as_json:
        write_document("run", document)
    elif failure is None:
        _write_results(made.wanted, results)
    if failure is not None:
        note(_failure_text(failure))
        return FAILED
    return DONE


command = _run


def _write_report(made: Prepared, path: Path) -> None:
    try:
        made.workflow.report(path)
    except OSError as error:
        raise Failure(REFUSED, f"the report cannot be written to {str(path)!r}: {error}") from error
    note(f"report: {path}")


def _write_results(wanted: list[str], results: list[Any]) -> None:
    """Write one result as it is, and of several each behind the name of its node."""
    if len(wanted) == 1:
        write(value_text(results[0]))
        return
    for name, value in zip(wanted, results, strict=True):
        text = value_text(value)
        write(f"{printable(name)}:\n{text}" if "\n" in text else f"{printable(name)}: {text}")


def _document(
    made: Prepared, results: list[Any], failure: NodeError | WorkflowFailed | None, report: Path | None
) -> dict[str, Any]:
    named = zip(made.wanted, results, strict=True) if failure is None else ()
    record = _record_of(made)
    return {
        "run": record.id if record is not None and made.has_store else None,
        "counts": dict(record.counts) if record is not None else {},
        "report": report,
        "workflow": made.workflow.workflow_name,
        "backend": made.backend,
        "state": "finished" if failure is None else "failed",
        "error": None if failure is None else str(failure),
        "failed": {name: str(error) for name, error in _failed(failure).items()},
        "results": [
            {"name": name, "type": type_text(value), "text": value_text(value), "value": plain(value)}
            for name, value in named
        ],
    }


def _record_of(made: Prepared) -> RunRecord | None:
    """Return the record of the run; None of a very long one without a store, or of a backend that runs nothing."""
    try:
        return made.workflow.last_run()
    except OptionError:
        return None


def _failed(failure: NodeError | WorkflowFailed | None) -> dict[str, NodeError]:
    if isinstance(failure, WorkflowFailed):
        return failure.report.failed
    return {} if failure is None else {failure.name: failure}


def _failure_text(failure: NodeError | WorkflowFailed) -> str:
    """Return what failed, with the traceback of each of the user's own errors."""
    causes = [error.__cause__ for error in _failed(failure).values()]
    shown = [
        printable_lines(traceback_text(cause).rstrip()) for cause in causes[:_MOST_TRACEBACKS] if cause is not None
    ]
    return "\n\n".join([*shown, f"functionfuse run: {printable_lines(str(failure))}"])
