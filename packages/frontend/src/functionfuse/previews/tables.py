"""Previews of tables: the first rows of pandas, Polars and Arrow."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse.backends.short_texts import text_of_value
from functionfuse.backends.texts import HIDDEN, looks_secret

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_ROWS = 10
_MOST_COLUMNS = 12
_LONGEST = 40  # characters of a cell
_SCALARS = frozenset({"numpy", "pandas", "datetime", "decimal"})  # modules whose values without a length are short


class ColumnHead(NamedTuple):
    """The beginning of a column."""

    name: str
    type: str
    values: Sequence[Any]


class TableHead(NamedTuple):
    """The beginning of a table, with the shape of the whole."""

    shape: tuple[int, ...]
    columns: list[ColumnHead]


def table_of(value: Any) -> TableHead | None:
    """Return the beginning of a table; None for another value.

    Args:
        value: of any type.
    """
    for library, read in (("pandas", _of_pandas), ("polars", _of_polars), ("pyarrow", _of_arrow)):
        module = sys.modules.get(library)
        if module is not None:
            table = read(module, value)
            if table is not None:
                return table
    return None


def table_text(table: TableHead) -> str:
    """Return the names and types of columns, and the first rows, as aligned text.

    Args:
        table: the beginning of a table.
    """
    cells = [_cells(column) for column in table.columns]
    widths = [max(map(len, column)) for column in cells]
    lines = [
        "  ".join(column[n].rjust(width) for column, width in zip(cells, widths, strict=True)).rstrip()
        for n in range(len(cells[0]) if cells else 0)
    ]
    rows, columns = table.shape[0], (*table.shape, 1)[1]
    lines += [f"... and {rows - _MOST_ROWS:,} more rows"] if rows > _MOST_ROWS else []
    lines += [f"... and {columns - _MOST_COLUMNS:,} more columns"] if columns > _MOST_COLUMNS else []
    return "\n".join(lines)


def _cells(column: ColumnHead) -> list[str]:
    is_secret = looks_secret(column.name)
    values = [HIDDEN if is_secret else _cell(value) for value in column.values]
    return [_short(column.name), column.type, *values]


def _cell(value: Any) -> str:
    if type(value).__module__.partition(".")[0] in _SCALARS and not hasattr(value, "__len__"):
        return _short(f"{value:.6g}" if isinstance(value, float) else str(value))
    if isinstance(value, float):
        return f"{value:.6g}"
    text = text_of_value("", value)
    return _short(text[1:-1] if type(value) is str and text[:1] in ("'", '"') else text)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _of_pandas(pandas: Any, value: Any) -> TableHead | None:
    if isinstance(value, pandas.Series):
        head = value.iloc[:_MOST_ROWS]
        return TableHead(value.shape, [*_index(pandas, head), _pandas_column(str(value.name or ""), head)])
    if not isinstance(value, pandas.DataFrame):
        return None
    head = value.iloc[:_MOST_ROWS, :_MOST_COLUMNS]
    columns = [_pandas_column(str(name), head.iloc[:, n]) for n, name in enumerate(head.columns)]
    return TableHead(value.shape, [*_index(pandas, head), *columns])


def _pandas_column(name: str, column: Any) -> ColumnHead:
    return ColumnHead(name, str(column.dtype), list(column))


def _index(pandas: Any, head: Any) -> list[ColumnHead]:
    """Return the index as a column; none if it numbers the rows."""
    if isinstance(head.index, pandas.RangeIndex):
        return []
    return [ColumnHead(str(head.index.name or ""), "", list(head.index))]


def _of_polars(polars: Any, value: Any) -> TableHead | None:
    if isinstance(value, polars.Series):
        value = value.to_frame()
        columns = _polars_columns(value)
        return TableHead((value.height,), columns)
    return TableHead(value.shape, _polars_columns(value)) if isinstance(value, polars.DataFrame) else None


def _polars_columns(frame: Any) -> list[ColumnHead]:
    head = frame.head(_MOST_ROWS)
    columns = map(head.get_column, head.columns[:_MOST_COLUMNS])
    return [ColumnHead(column.name, str(column.dtype), column.to_list()) for column in columns]


def _of_arrow(arrow: Any, value: Any) -> TableHead | None:
    if not isinstance(value, arrow.Table | arrow.RecordBatch):
        return None
    head = value.slice(0, _MOST_ROWS)
    fields = list(value.schema)[:_MOST_COLUMNS]
    columns = [ColumnHead(field.name, str(field.type), head.column(n).to_pylist()) for n, field in enumerate(fields)]
    return TableHead((value.num_rows, value.num_columns), columns)
