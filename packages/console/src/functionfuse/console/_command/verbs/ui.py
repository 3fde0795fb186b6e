"""`functionfuse ui`."""

from __future__ import annotations

import click

from ..documents import write_document
from ..exit_codes import DONE, REFUSED, Failure
from ..stores import json_option, storage_option, store_at


@click.command("ui")
@storage_option
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of the page. [default: a free one]")
@click.option("--no-browser", is_flag=True, help="Print the link only.")
@json_option
def _ui(storage: str | None, port: int, no_browser: bool, as_json: bool) -> int:
    """Show the runs of a store in a browser on this machine, live, until Ctrl-C."""
    store = store_at(storage)
    try:
        from ..._page.server import serve_store
    except ModuleNotFoundError as error:
        raise Failure(REFUSED, str(error)) from error

    def announce(address: str) -> None:
        write_document("ui", {"address": address})

    serve_store(store, port=port, browser=not no_browser, announce=announce if as_json else None)
    return DONE


command = _ui
