"""The store that a verb looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from functionfuse.stores import Catalogue, open_store

from .exit_codes import STORAGE, USAGE, Failure
from .settings import folder_of, settings_of

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from functionfuse.runs import RunRecord

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def storage_option(command: F) -> F:
    """Add the option `--storage` to a verb."""
    said = "Where results are: a folder, file:FOLDER, s3://BUCKET/PREFIX ... [default: that of pyproject.toml]"
    return click.option("--storage", metavar="URL", help=said)(command)


def json_option(command: F) -> F:
    """Add the option `--json` to a verb."""
    return click.option("as_json", "--json", is_flag=True, help="Write one JSON document instead of text.")(command)


def store_at(storage: str | None) -> Catalogue:
    """Return the store that a verb reads.

    Args:
        storage: its location; None for that of the project.

    Raises:
        Failure: no store is named, there is none, or it cannot list what it has.
    """
    location = storage or settings_of(Path.cwd()).storage
    if location is None:
        raise Failure(
            USAGE, 'no store is named: --storage URL, or storage = "URL" under [tool.functionfuse] in pyproject.toml'
        )
    folder = folder_of(location)
    if folder is not None and not folder.is_dir():  # which a store would make
        raise Failure(STORAGE, f"there is no store at {location!r}: no folder {folder.absolute()}")
    store = open_store(location)
    if not isinstance(store, Catalogue):
        raise Failure(STORAGE, f"{store!r} cannot list what it has: it has not the verbs of a Catalogue")
    return store


def run_of(store: Catalogue, id: str) -> RunRecord:
    """Return the record of a run.

    Args:
        store: that has it.
        id: of the run, or "latest".
    """
    from functionfuse.runs import read_run

    return read_run(store, id)


def complete_run(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the ids of runs that begin with a text, for shells; none where there is no store.

    Args:
        context: of the verb.
        _: the argument.
        incomplete: the text.
    """
    from click.shell_completion import CompletionItem

    from functionfuse.runs import list_runs

    runs = _listed(context, list_runs)
    found = [CompletionItem(run.id, help=f"{run.workflow}, {run.state}") for run in runs]
    newest = [CompletionItem("latest", help="the newest run")] if found else []
    return [item for item in [*newest, *found] if item.value.startswith(incomplete)]


def complete_workflow(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of workflows that begin with a text, for shells; none where there is no store.

    Args:
        context: of the verb.
        _: the argument.
        incomplete: the text.
    """
    names = _listed(context, lambda store: store.list_workflows())
    return [name for name in names if name.startswith(incomplete)]


def _listed(context: click.Context, read: Callable[[Catalogue], Iterable[T]]) -> Iterable[T]:
    """Return what the store of a verb lists; nothing where there is no store."""
    from functionfuse.errors import FunctionFuseError

    try:
        return read(store_at(context.params.get("storage")))
    except (click.ClickException, FunctionFuseError):
        return []
