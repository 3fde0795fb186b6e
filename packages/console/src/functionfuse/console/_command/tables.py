"""Tables: with colours, in the width of the terminal; as aligned lines where no terminal shows them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .streams import write
from .texts import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from rich.table import Table as RichTable
    from rich.text import Text

_COLOURS = {
    "finished": "green",
    "reused": "cyan",
    "reuse": "cyan",
    "stored": "cyan",
    "ok": "green",
    "failed": "red",
    "damaged": "red",
    "blocked": "red",
    "wrong": "red",
    "skipped": "yellow",
    "running": "yellow",
    "interrupted": "yellow",
    "cancelled": "yellow",
    "run": "yellow",
    "check": "yellow",
}


def write_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[str] = ()
) -> bool:
    """Write a table to standard output; return False if nobody reads it any more.

    Args:
        title: a line above it; none if it is empty.
        header: the names of the columns; one that is empty in all rows is left out.
        rows: the cells; what is in them is shown, never obeyed.
        numbers: columns that are aligned to the right.
    """
    if not title and not rows:
        return True
    filled = [place for place in range(len(header)) if any(row[place] for row in rows)]
    header = [header[place] for place in filled]
    cells = [[printable(row[place]) for place in filled] for row in rows]
    if sys.stdout.isatty():
        return write(_for_terminal(title, header, cells, numbers))
    lines = [header, *cells] if cells else []
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = [
        "  ".join(
            cell.rjust(width) if name in numbers else cell.ljust(width)
            for name, cell, width in zip(header, line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]
    return write("\n".join([*([title] if title else []), *aligned]))


_NARROW = 70  # columns of a terminal in which no table can be read


def _for_terminal(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[str]) -> str:
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout)
    with console.capture() as captured:
        if title:
            console.print(Text(title))
        if console.width < _NARROW:
            for row in rows:
                console.print(_block(header, row))
        elif rows:
            console.print(_columns(header, rows, numbers, console.width))
    return captured.get().rstrip("\n")


def _columns(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[str], width: int) -> RichTable:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    longest = max(len(row[0]) for row in rows)
    for name in header:
        is_number = name in numbers
        table.add_column(
            name,
            justify="right" if is_number else "left",
            no_wrap=is_number,
            overflow="fold",
            min_width=min(longest, width // 2) if name == header[0] else len(name),
        )
    for row in rows:
        table.add_row(*map(_coloured, row))
    return table


def _block(header: Sequence[str], row: Sequence[str]) -> Text:
    """Return a row as lines of its own, one for each cell."""
    from rich.text import Text

    lines = [
        Text.assemble(f"  {name} ", _coloured(cell)) for name, cell in zip(header[1:], row[1:], strict=True) if cell
    ]
    return Text("\n").join([Text(row[0], style="bold"), *lines])


def _coloured(cell: str) -> Text:
    from rich.text import Text

    return Text(cell, style=_COLOURS.get(cell, ""))
