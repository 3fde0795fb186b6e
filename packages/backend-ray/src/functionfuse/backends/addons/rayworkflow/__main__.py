"""Look after durable workflows from a command line.

It is ``functionfuse durable list``, or ``python -m functionfuse.backends.addons.rayworkflow list`` without the console.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import ray

from functionfuse.backends.addons.rayworkflow import api
from functionfuse.backends.addons.rayworkflow._controller import actor
from functionfuse.backends.addons.rayworkflow._controller.lease import LeaseOwner, check_lease
from functionfuse.backends.addons.rayworkflow._records.journal import ids_with_events, stored_ids
from functionfuse.backends.addons.rayworkflow._records.workflow import StoredWorkflow, delete
from functionfuse.backends.addons.rayworkflow.exceptions import WorkflowNotFoundError
from functionfuse.errors import CorruptRecord, FunctionFuseError, StorageError, UnsupportedRecord
from functionfuse.stores import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from functionfuse.stores import Catalogue

_PROGRAM = "python -m functionfuse.backends.addons.rayworkflow"
_LISTENS, _CONNECTED = 4.0, 14.0  # seconds in which an address takes a connection, and a cluster answers there


def main(arguments: Sequence[str] | None = None, program: str = _PROGRAM) -> int:
    """Run a command; return 0, or 1 after an error, which is printed.

    Args:
        arguments: of the command; those of this process by default.
        program: how it was called.
    """
    given = _parser(program).parse_args(arguments)
    storage = given.storage or os.environ.get(actor.STORAGE)
    if not storage:
        print(f"say where the workflows are: --storage URL, or the variable {actor.STORAGE}", file=sys.stderr)
        return 1
    try:
        if given.command in ("resume", "cancel"):
            _in_a_cluster(given, storage)
        else:
            _refuse_missing_folder(storage)
            _in_the_store(given, open_store(storage))
    except (FunctionFuseError, RuntimeError, ValueError, ConnectionError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _in_the_store(given: argparse.Namespace, store: Catalogue) -> None:
    """Do what needs no cluster."""
    reader = LeaseOwner(store, "command", given.lease, shown=False)
    if given.command == "list":
        _show(given, list(_listed(store, reader)), "{1:10}  {0}")
        return
    if given.command == "delete":
        delete(store, given.id, reader)
        return
    stored = StoredWorkflow.find(store, given.id)
    if stored is None:
        raise WorkflowNotFoundError(given.id)
    _show(given, [(given.id, stored.status(reader).value)], "{1}")


def _listed(store: Catalogue, reader: LeaseOwner) -> Iterator[tuple[str, str]]:
    """Yield the ids of workflows, and of those that only events were sent to, with their states."""
    known = stored_ids(store)
    for workflow_id in known:
        try:
            stored = StoredWorkflow.find(store, workflow_id)
        except (CorruptRecord, UnsupportedRecord):
            yield workflow_id, "FAILED"
            continue
        if stored is not None:
            yield workflow_id, stored.status(reader).value
    for workflow_id in sorted(set(ids_with_events(store)) - set(known)):
        yield workflow_id, "NONE"


def _show(given: argparse.Namespace, states: Sequence[tuple[str, str]], line: str) -> None:
    """Print the states of workflows, by their ids, as lines or as one document."""
    if given.json:
        workflows = [{"id": workflow_id, "status": status} for workflow_id, status in states]
        print(json.dumps({"format": 1, "verb": f"durable {given.command}", "workflows": workflows}))
        return
    for state in states:
        print(line.format(*state))


def _in_a_cluster(given: argparse.Namespace, storage: str) -> None:
    """Do what the controller of a cluster does; without an address, one that runs here, or a new one."""
    if given.address:
        _connect(given.address)
    else:
        _refuse_missing_folder(storage)
        ray.init(log_to_driver=False, logging_level="ERROR")
    api.init(storage=storage)
    if given.command == "cancel":
        api.cancel(given.id)
    else:
        print(repr(api.resume(given.id)))


def _refuse_missing_folder(storage: str) -> None:
    """Refuse a folder that is not there, which a store would make: it is misspelt.

    Raises:
        StorageError: it is not there.
    """
    kind, colon, _ = storage.partition(":")
    if colon and len(kind) > 1 and kind.lower() != "file":
        return
    path = unquote(urlsplit(storage).path) if kind.lower() == "file" and colon else storage
    if not Path(path).expanduser().is_dir():
        raise StorageError(f"no workflows are stored at {storage!r}: there is no such folder")


def _connect(address: str) -> None:
    """Connect to a cluster, or end this process: Ray tries for minutes, and cannot be interrupted.

    Raises:
        ConnectionError: nothing listens at the address.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():  # else it is a word, such as "auto"
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_LISTENS).close()
        except (OSError, OverflowError) as error:
            raise ConnectionError(f"no cluster can be reached at {address!r}: {error}") from error
    limit = threading.Timer(_CONNECTED, _give_up, [address])
    limit.daemon = True
    limit.start()
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    finally:
        limit.cancel()


def _give_up(address: str) -> None:
    print(f"no cluster answers at {address!r} within {_CONNECTED:.0f} seconds", file=sys.stderr, flush=True)
    os._exit(1)


def _lease(text: str) -> float:
    try:
        seconds = float(text)
        check_lease(seconds)
    except ValueError:
        raise argparse.ArgumentTypeError(f"it must be a positive number of seconds of a lease: {text!r}") from None
    return seconds


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program, description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, description in (
        ("list", "all workflows, with their states"),
        ("status", "the state of one"),
        ("resume", "let one go on, and print its output"),
        ("cancel", "stop one"),
        ("delete", "remove one, and all that is stored of it"),
    ):
        command = commands.add_parser(name, help=description)
        command.add_argument("--storage", help="a folder, file:/folder or s3://bucket/prefix")
        command.add_argument("--lease", type=_lease, default=actor.LEASE, help="seconds of a lease (%(default)s)")
        if name in ("list", "status"):
            command.add_argument("--json", action="store_true", help="one JSON document instead of text")
        if name != "list":
            command.add_argument("id", help="of the workflow")
        if name in ("resume", "cancel"):
            command.add_argument("--address", help="of the cluster; by default the one that runs here, or a new one")
    return parser


if __name__ == "__main__":
    sys.exit(main())
