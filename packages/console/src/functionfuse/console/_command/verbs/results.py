"""`functionfuse results`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from functionfuse.errors import StorageError

from ..documents import plain, write_document
from ..exit_codes import DONE, FAILED, STORAGE, USAGE, Failure
from ..stores import complete_workflow, json_option, storage_option, store_at
from ..streams import note, prints_to_stderr, write
from ..tables import write_table
from ..texts import Duration, bytes_text, seconds_text, time_text, type_text, value_text

if TYPE_CHECKING:
    from functionfuse.stores import Catalogue

_workflow = click.argument("workflow", metavar="WORKFLOW", shell_complete=complete_workflow)
_HEADER = ("name", "type", "shape", "size", "created", "took")
_UNKNOWN = {"type": "", "shape": None, "size": None, "created": None, "seconds": None, "problem": ""}


@click.group("results", context_settings={"help_option_names": ["-h", "--help"]})
def _results() -> None:
    """List, read, remove and verify the results in a store. Patterns of names are globs: '*-model'."""


@_results.command("list", short_help="List workflows, or the results of one.")
@click.argument("workflow", metavar="[WORKFLOW]", required=False, shell_complete=complete_workflow)
@click.argument("pattern", metavar="[GLOB]", default="*")
@storage_option
@json_option
def _list_results(workflow: str | None, pattern: str, storage: str | None, as_json: bool) -> int:
    """List the results of a WORKFLOW, all or those whose names match a GLOB; without one, the workflows."""
    store = store_at(storage)
    if workflow is None:
        counts = {name: len(store.list_tasks(name)) for name in store.list_workflows()}
        if as_json:
            listed = [{"name": name, "results": count} for name, count in counts.items()]
            write_document("results list", {"workflows": listed})
        else:
            rows = [(name, f"{count:,}") for name, count in counts.items()]
            write_table("", ("workflow", "results"), rows, {"results"})
        return DONE
    results = _facts(store, workflow, pattern)
    if as_json:
        write_document("results list", {"workflow": workflow, "results": results})
    else:
        write_table("", _HEADER, [_row(result) for result in results], {"size", "took"})
    return DONE


@_results.command("read", short_help="Write a result to standard output.")
@_workflow
@click.argument("name", metavar="NAME")
@storage_option
@json_option
def _read_result(workflow: str, name: str, storage: str | None, as_json: bool) -> int:
    """Write the result of the node NAME of a WORKFLOW to standard output.

    Results are pickles: read those of people whom you trust.
    """
    sys.path.insert(0, str(Path.cwd()))  # where classes of results may be
    with prints_to_stderr():
        value = store_at(storage).read_task(workflow, name)
    if as_json:
        result = {"name": name, "type": type_text(value), "text": value_text(value), "value": plain(value)}
        write_document("results read", {"workflow": workflow, "result": result})
    else:
        write(value_text(value))
    return DONE


@_results.command("rm", short_help="Remove the results whose names match globs.")
@_workflow
@click.argument("patterns", metavar="GLOB...", nargs=-1, required=True)
@storage_option
@click.option("--older-than", metavar="DURATION", type=Duration(), help="Only results that old: 12h, 7d, 2w ...")
@click.option("--dry-run", is_flag=True, help="Remove nothing; say what would be removed.")
@json_option
def _remove_results(
    workflow: str,
    patterns: tuple[str, ...],
    storage: str | None,
    older_than: float | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Remove the results of a WORKFLOW whose names match a GLOB; '*' are all. Runs make them again."""
    store = store_at(storage)
    names = list(dict.fromkeys(name for pattern in patterns for name in _names(store, workflow, pattern)))
    if older_than is not None:
        names = [name for name in names if _age(store, workflow, name) >= older_than]
    removed = names if dry_run else [name for name in names if _remove(store, workflow, name)]
    if as_json:
        write_document("results rm", {"workflow": workflow, "dry_run": dry_run, "removed": removed})
        return DONE
    for name in removed:
        write(name)
    note(f"{len(removed):,} {'would be removed' if dry_run else 'removed'}")
    return DONE


@_results.command("verify", short_help="Check every result.")
@click.argument("workflow", metavar="[WORKFLOW]", required=False, shell_complete=complete_workflow)
@click.argument("pattern", metavar="[GLOB]", default="*")
@storage_option
@json_option
def _verify_results(workflow: str | None, pattern: str, storage: str | None, as_json: bool) -> int:
    """Read and check every result of a WORKFLOW, or of all. Exits with 1 if one is damaged."""
    store = store_at(storage)
    names = store.list_workflows() if workflow is None else [workflow]
    check = getattr(store, "check_workflow", None)
    if check is None:
        raise Failure(USAGE, f"{store!r} cannot check what it has")
    checked = sum(len(_names(store, name, pattern, must_be=workflow is not None)) for name in names)
    damaged = [(name, result, problem) for name in names for result, problem in check(name, pattern)]
    if as_json:
        listed = [{"workflow": name, "name": result, "problem": problem} for name, result, problem in damaged]
        write_document("results verify", {"checked": checked, "damaged": listed})
    else:
        title = f"{checked:,} results checked, {len(damaged):,} damaged"
        write_table(title, ("workflow", "name", "problem"), damaged)
    return FAILED if damaged else DONE


command = _results


def _names(store: Catalogue, workflow: str, pattern: str, *, must_be: bool = True) -> list[str]:
    names = store.list_tasks(workflow, pattern)
    if not names and must_be and workflow not in store.list_workflows():
        from functionfuse._suggestions import did_you_mean

        known = store.list_workflows()
        listed = ", ".join(map(repr, known[:10])) or "it has none"
        raise Failure(
            STORAGE, f"the store has no workflow {workflow!r}{did_you_mean(workflow, known)} (workflows: {listed})"
        )
    return names


def _remove(store: Catalogue, workflow: str, name: str) -> bool:
    try:
        return bool(store.remove_task(workflow, name))
    except FileNotFoundError:  # removed meanwhile
        return False


def _facts(store: Any, workflow: str, pattern: str) -> list[dict[str, Any]]:
    """Return what is known of results without reading them; of a store that does not tell, only the names."""
    names = _names(store, workflow, pattern)
    if not hasattr(store, "results"):
        return [{"name": name, **_UNKNOWN} for name in names]
    return [
        {
            "name": row.name,
            "type": row.type,
            "shape": None if row.shape is None else list(row.shape),
            "size": row.size,
            "created": None if row.created is None else row.created.timestamp(),
            "seconds": row.duration,
            "problem": row.problem,
        }
        for row in store.results(workflow, pattern)
    ]


def _row(result: dict[str, Any]) -> tuple[str, ...]:
    if result["problem"]:
        return result["name"], f"damaged: {result['problem']}", "", "", "", ""
    return (
        result["name"],
        result["type"],
        "" if result["shape"] is None else " x ".join("?" if size is None else f"{size:,}" for size in result["shape"]),
        bytes_text(result["size"]),
        time_text(result["created"]),
        seconds_text(result["seconds"]),
    )


def _age(store: Catalogue, workflow: str, name: str) -> float:
    try:
        return time.time() - float(store.info(workflow, name)["created"])
    except (StorageError, LookupError, TypeError, ValueError):  # how old it is, nobody knows
        return -1.0
