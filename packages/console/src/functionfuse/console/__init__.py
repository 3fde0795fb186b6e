"""The view of Function Fuse: a command line, live progress, reports of runs, and a local page.

`write_report` makes one HTML file of the record of a run::

    from functionfuse.console import write_report

    write_report(store.run("latest"), "report.html")
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from pathlib import Path

    from functionfuse.runs import RunRecord
    from functionfuse.stores import Catalogue

__all__ = ["serve", "write_report"]


def write_report(run: RunRecord, path: str | os.PathLike[str], *, before: RunRecord | None = None) -> Path:
    """Write what a run did as one HTML file, which loads nothing from elsewhere, and return its path.

    Args:
        run: the record of the run, as `store.run(id)` returns it.
        path: of the file; one that exists is replaced.
        before: the record of the run to compare it with.

    Returns:
        The path of the file.

    Raises:
        TypeError: `run` or `before` is not the record of a run.
        OSError: the file cannot be written.
    """
    from pathlib import Path

    from functionfuse.console._report.page import page_of
    from functionfuse.console._report.view import view_of

    html, _ = page_of(view_of(run, before))
    file = Path(path)
    file.write_text(html, encoding="utf-8")
    return file


def serve(store: Catalogue | str, *, port: int = 0, browser: bool = True) -> None:
    """Show the runs of a store in a browser on this machine, live, until Ctrl-C.

    Args:
        store: the store, or its location, such as `"file:results"` or `"s3://bucket/prefix"`.
        port: of the page; 0 for a free one.
        browser: whether the page is opened; else its link is printed only.

    Raises:
        OptionError: the port or the location cannot be used, or the store cannot list what it has.
        ModuleNotFoundError: the extra `ui` is not installed.
    """
    from functionfuse.console._page.server import serve_store

    serve_store(store, port=port, browser=browser)
