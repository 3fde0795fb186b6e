"""`functionfuse debug`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from functionfuse.backends import capsule
from functionfuse.errors import CapsuleError, TaskNotFound

from ..documents import plain, write_document
from ..exit_codes import DONE, FAILED, STORAGE, USAGE, Failure
from ..stores import complete_run, json_option, run_of, storage_option, store_at
from ..streams import note, prints_to_stderr, write
from ..texts import printable_lines, type_text, value_text

if TYPE_CHECKING:
    from functionfuse.backends.capsule import Capsule


@click.command("debug")
@click.argument("run", metavar="RUN|FILE", shell_complete=complete_run)
@click.argument("node", metavar="[NODE]", required=False)
@storage_option
@click.option("--pdb", is_flag=True, help="Open Python's debugger where it raises.")
@json_option
def _debug(run: str, node: str | None, storage: str | None, pdb: bool, as_json: bool) -> int:
    """Make the call of a NODE again that failed in a RUN, here, with the same arguments; or that of a capsule's FILE.

    NODE may be left out if one node failed. Writes the result, or shows how it fails and exits with 1. Capsules are
    pickles: debug those of people whom you trust.
    """
    if pdb and as_json:
        raise Failure(USAGE, "--pdb is for people, and --json for programs: leave one of them out")
    sys.path.insert(0, str(Path.cwd()))
    found = _in_file(Path(run), storage) if Path(run).is_file() else _in_store(run, node, storage)
    note(printable_lines(str(found).partition("\n\n")[0]))
    if pdb:
        found.debug()
        return DONE
    try:
        with prints_to_stderr():
            value = found.replay()
    except CapsuleError:
        raise
    except Exception as error:
        from functionfuse.backends.texts import described, traceback_text

        note(traceback_text(error).rstrip())
        if as_json:
            write_document("debug", {"node": found.name, "fails": True, "error": described(error), "result": None})
        return FAILED
    if as_json:
        result = {"type": type_text(value), "text": value_text(value), "value": plain(value)}
        write_document("debug", {"node": found.name, "fails": False, "error": None, "result": result})
    else:
        note(f"node {found.name!r} does not fail here")
        write(value_text(value))
    return DONE


command = _debug


def _in_file(path: Path, storage: str | None) -> Capsule:
    return capsule.open(path, store=None if storage is None else store_at(storage))


def _in_store(run: str, node: str | None, storage: str | None) -> Capsule:
    store = store_at(storage)
    record = run_of(store, run)
    failed = [step.name for step in record.steps.values() if step.state == "failed"]
    if node is None:
        if len(failed) != 1:
            listed = ", ".join(map(repr, failed)) or "none did"
            raise Failure(USAGE, f"name the node of run {record.id!r} that failed: {listed}")
        node = failed[0]
    try:
        return capsule.stored(store, record.workflow, node)
    except TaskNotFound as error:
        listed = ", ".join(map(repr, failed)) or "none did"
        raise Failure(
            STORAGE, f"there is no capsule of node {node!r} (failed in run {record.id!r}: {listed}): {error}"
        ) from error
