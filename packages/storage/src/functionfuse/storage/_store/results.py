"""What a workflow has results of: a sequence that notebooks show as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, overload

from functionfuse._tables import SHOWN, Table
from functionfuse.errors import StorageError
from functionfuse.sizes import readable_size

from .parallel import in_threads
from .transport import Absent

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._record.format import Footer
    from .lookup import Records

_HEADER = ("name", "type", "shape", "size", "created", "took")


@dataclass(frozen=True, slots=True)
class Result:
    """What is known of a result without reading it. A damaged one has only its name and the problem."""

    name: str
    type: str = ""
    shape: tuple[int | None, ...] | None = None
    """Of arrays and tables; None in it is a size that was not known when the result was saved."""
    size: int = 0
    """Bytes, with what serializers keep beside the record."""
    created: datetime | None = None
    """When it was saved, in UTC."""
    duration: float | None = None
    """Seconds that its node took; None when it was saved by hand."""
    problem: str = ""
    """Why it cannot be read; empty when nothing is known to be wrong."""

    def cells(self) -> tuple[str, ...]:
        """Return what a table shows."""
        if self.problem:
            return self.name, f"damaged: {self.problem}"
        created = self.created.astimezone().strftime("%Y-%m-%d %H:%M:%S") if self.created else ""
        return (
            self.name,
            self.type,
            _readable_shape(self.shape),
            readable_size(self.size),
            created,
            _readable_duration(self.duration),
        )


class Results(Sequence[Result]):
    """The results of a workflow, by name, as they were when this was made; rows are read when they are needed.

    Args:
        workflow_name: the workflow.
        listed: names, each with where its record is; for `read`.
        read: reads the rows of some that are listed.
    """

    def __init__(
        self,
        workflow_name: str,
        listed: Sequence[tuple[str, str]],
        read: Callable[[str, Sequence[tuple[str, str]]], list[Result]],
    ) -> None:
        self._workflow_name = workflow_name
        self._listed = listed
        self._read = read

    def __len__(self) -> int:
        return len(self._listed)

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> Results: ...
    def __getitem__(self, index: int | slice) -> Result | Results:
        if isinstance(index, slice):
            return Results(self._workflow_name, self._listed[index], self._read)
        return self._read(self._workflow_name, [self._listed[index]])[0]

    def __repr__(self) -> str:
        return self._table().text()

    def _repr_html_(self) -> str:
        return self._table().html()

    def _table(self) -> Table:
        rows = [row.cells() for row in self._read(self._workflow_name, self._listed[:SHOWN])]
        number = f"{len(self):,} result{'' if len(self) == 1 else 's'}"
        title = f"{number} of workflow {self._workflow_name!r}"
        return Table(title, _HEADER, rows, frozenset({"size", "took"}), len(self) - len(rows))


def read_rows(records: Records, workflow_name: str, listed: Sequence[tuple[str, str]]) -> list[Result]:
    """Return what is known of results, by their names and the stems of their records.

    Args:
        records: of the store.
        workflow_name: of the workflow.
        listed: names of results, each with the stem of its record.
    """
    return in_threads(lambda one: _read(records, workflow_name, *one), listed)


def workflows_table(title: str, counts: Sequence[tuple[str, int]], more: int) -> Table:
    """Return a table of workflows and how many results each has.

    Args:
        title: of the table.
        counts: names of workflows, each with the number of its results.
        more: how many workflows are left out.
    """
    return Table(title, ("workflow", "results"), [(name, f"{n:,}") for name, n in counts], frozenset({"results"}), more)


def _read(records: Records, workflow_name: str, name: str, stem: str) -> Result:
    folder = records.encode(workflow_name)
    try:
        footer = records.footer_at(folder, stem, records.key())
        if (footer["name"], footer["workflow"]) != (name, workflow_name):
            return Result(name, problem=f"its record is of {footer['name']!r} of workflow {footer['workflow']!r}")
        return _row(footer)
    except Absent:
        return Result(name, problem="removed since it was listed")
    except StorageError as error:
        return Result(name, problem=str(error))
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError, OSError) as error:
        return Result(name, problem=f"its footer is not one of a store: {error!r}")


def _row(footer: Footer) -> Result:
    shape = footer.get("shape")
    beside = [blob["size"] for blob in footer["blobs"] if blob["id"] != footer.get("content")]
    return Result(
        name=footer["name"],
        type=str(footer["type"]),
        shape=None if shape is None else tuple(None if size is None else int(size) for size in shape),
        size=sum(segment[1] for segment in footer["segs"]) + sum(beside),
        created=datetime.fromtimestamp(footer["created"], UTC),
        duration=_seconds(footer["meta"].get("seconds")),
    )


def _seconds(value: Any) -> float | None:
    """Return a duration if that is what backends, or anybody else, put into `meta`."""
    is_duration = isinstance(value, float) and math.isfinite(value) and value >= 0
    return value if is_duration else None


def _readable_shape(shape: tuple[int | None, ...] | None) -> str:
    if shape is None:
        return ""
    return " x ".join("?" if size is None else f"{size:,}" for size in shape) or "scalar"


def _readable_duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 0.9995:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
