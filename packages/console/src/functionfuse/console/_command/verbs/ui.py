"""`functionfuse ui`."""

from __future__ import annotations

import click

from functionfuse.console import serve

from ..exit_codes import DONE, REFUSED, Failure
from ..stores import storage_option, store_at


@click.command("ui")
@storage_option
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of the page. [default: a free one]")
@click.option("--no-browser", is_flag=True, help="Print the link only.")
def _ui(storage: str | None, port: int, no_browser: bool) -> int:
    """Show the runs of a store in a browser on this machine, live, until Ctrl-C."""
    store = store_at(storage)
    try:
        serve(store, port=port, browser=not no_browser)
    except ModuleNotFoundError as error:
        raise Failure(REFUSED, str(error)) from error
    return DONE


command = _ui
