"""Tables for terminals and for notebooks. What is in their cells is shown, never obeyed."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SHOWN = 100  # rows; more would be scrolled past

_LONGEST = 60  # characters of a cell
# No colours: those of the notebook stay, dark or light.
_TEXT = "text-align:left;white-space:nowrap;padding:0.2em 0.6em"
_LONG_TEXT = "text-align:left;overflow-wrap:anywhere;padding:0.2em 0.6em"
_NUMBER = "text-align:right;white-space:nowrap;padding:0.2em 0.6em;font-variant-numeric:tabular-nums"


@dataclass(frozen=True)
class Table:
    """Rows of text. The first cell of a row is its name; a row of two cells gives the second the whole line."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    numbers: frozenset[str]
    """Columns that are aligned to the right."""
    left_out: int = 0
    """How many rows there are beside those shown."""

    def text(self) -> str:
        """Return lines with aligned columns."""
        lines = [_cells(row) for row in (self.header, *self.rows)]
        full = [line for line in lines if len(line) == len(self.header)]
        widths = [max(_width(line[n]) for line in (full if n else lines)) for n in range(len(self.header))]
        return "\n".join([_printable(self.title), *(self._aligned(line, widths) for line in lines), *self._rest()])

    def html(self) -> str:
        """Return a table that screen readers can read, too: cells have row and column headers."""
        head = "".join(f'<th scope="col" style="{self._style(name)}">{escape(name)}</th>' for name in self.header)
        body = "".join(f"<tr>{self._html_cells(_cells(row))}</tr>\n" for row in self.rows)
        line = f'<tr><td colspan="{len(self.header)}" style="{_TEXT}">'
        foot = "".join(f"{line}{text}</td></tr>" for text in self._rest())
        title = escape(_printable(self.title))
        return (
            f'<table style="color:inherit">\n<caption style="{_TEXT};caption-side:top">{title}</caption>\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n<tfoot>{foot}</tfoot>\n</table>"
        )

    def _aligned(self, cells: list[str], widths: list[int]) -> str:
        is_full = len(cells) == len(widths)
        padded = []
        for name, cell, width in zip(self.header, cells, widths, strict=False):
            padding = " " * (width - _width(cell))
            padded.append(padding + cell if is_full and name in self.numbers else cell + padding)
        return "  ".join(padded).rstrip()

    def _html_cells(self, cells: list[str]) -> str:
        name, *rest = map(escape, cells)
        html_cells = [f'<th scope="row" style="{_TEXT}">{name}</th>']
        if len(cells) < len(self.header):
            html_cells.append(f'<td colspan="{len(self.header) - 1}" style="{_LONG_TEXT}">{rest[0]}</td>')
        else:
            columns = zip(self.header[1:], rest, strict=True)
            html_cells += [f'<td style="{self._style(name)}">{cell}</td>' for name, cell in columns]
        return "".join(html_cells)

    def _style(self, column: str) -> str:
        return _NUMBER if column in self.numbers else _TEXT

    def _rest(self) -> list[str]:
        return [f"… and {self.left_out:,} more"] if self.left_out else []


def _cells(row: tuple[str, ...]) -> list[str]:
    """Return what is shown of a row: all but the last cell are cut to a length for columns."""
    *most, last = map(_printable, row)
    return [*(cell if len(cell) <= _LONGEST else f"{cell[: _LONGEST - 20]}…{cell[-19:]}" for cell in most), last]


def _printable(text: str) -> str:
    """Return text in which what would break a line, or turn its direction, is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum((unicodedata.east_asian_width(c) in "WF") + (not unicodedata.combining(c)) for c in text)
