"""Collect results that no name has: which ones, in which order, and what was removed.

Results are listed before names. The listings tell which results names have, and the footers of the names that they do
not explain; if one of those cannot be read, results tell which names they were saved under. A result is removed only if
nothing has used it since it was listed: a name that is given later is a use, so what a run finds meanwhile stays.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from functionfuse._tables import SHOWN, Table
from functionfuse.errors import OptionError, StorageError
from functionfuse.file_check import marked
from functionfuse.runs import recipes_of_runs
from functionfuse.sizes import bytes_of, readable_size
from functionfuse.stores import CAPSULES, RUNS

from .._record.names import is_shortened
from .layout import RESULTS, SAME
from .lookup import STATE
from .parallel import in_threads
from .transport import Absent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from functionfuse.stores import Catalogue

    from .lookup import Records
    from .shared import SharedResults
    from .transport import Use

_DAY = 86400.0
_BATCH = 1000  # results that are removed before the time is looked at
_HEADER = ("name", "result of", "type", "size")


class Collected(list[str]):
    """The names of what was removed, or with `dry_run` would be; `print` and notebooks show a table.

    A result goes by the digest of its recipe.

    Args:
        names: of what was removed.
        freed: see there.
        rows: what a table shows of each.
        problem: see there.

    Attributes:
        freed: bytes of the results among it, and of what was kept beside results.
        problem: why results stay that would be removed otherwise; empty if there is nothing of that kind.
    """

    def __init__(self, names: Iterable[str], freed: int, rows: Sequence[tuple[str, ...]], problem: str = "") -> None:
        super().__init__(names)
        self.freed = freed
        self.problem = problem
        self._rows = rows[:SHOWN]

    def __str__(self) -> str:
        return self._table().text()

    def _repr_html_(self) -> str:
        return self._table().html()

    def _table(self) -> Table:
        problem = f"; {self.problem}" if self.problem else ""
        title = f"{len(self):,} removed, {readable_size(self.freed)}{problem}"
        return Table(title, _HEADER, self._rows, frozenset({"size"}), len(self) - len(self._rows))


@dataclass(frozen=True, slots=True)
class Limits:
    """Which results are kept that no name has."""

    keep_runs: int | None = 10
    """Those of the last runs of each workflow; None for all."""
    max_size: int | None = None
    """Bytes that all results may take, whatever runs had them."""
    older_than: float = _DAY
    """Those made or read within so many seconds stay."""


def check_keep_runs(value: object) -> int | None:
    """Return how many runs are kept, checked.

    Args:
        value: as given.

    Raises:
        OptionError: it is no number above 0, and not None.
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise OptionError(f"keep_runs must be a number of runs above 0, or None for all, got {value!r}")


def check_max_size(value: object) -> int | None:
    """Return a number of bytes.

    Args:
        value: as given: a number, or text like `"10 GiB"`; None for no limit.

    Raises:
        OptionError: it is anything else.
    """
    if value is None:
        return None
    try:
        return bytes_of(value)  # type: ignore[arg-type]
    except OptionError:
        raise OptionError(f"max_size must be a number of bytes, or text like '10 GiB', got {value!r}") from None


def check_seconds(name: str, value: object) -> float:
    """Return a number of seconds, checked.

    Args:
        name: of the option.
        value: given for it.

    Raises:
        OptionError: it is no number, or negative.
    """
    if not isinstance(value, (int, float)) or not value >= 0:
        raise OptionError(f"{name} must be 0 seconds or more, got {value!r}")
    return value


@dataclass(frozen=True, slots=True)
class Removal:
    """A result, or a note about one, that is removed."""

    stem: str
    uses: Mapping[str, Use]
    """Of the record, and of the references to it, as they were listed."""
    size: int
    """Bytes of these."""
    name: str = ""
    """Of the task that it was saved under."""
    type: str = ""
    blobs: int = 0
    """Bytes of what is kept beside it."""

    def cells(self) -> tuple[str, ...]:
        """Return what a table shows."""
        if "@" in self.stem:
            return self.stem, "a reference that no name has, or a note about a result that is gone"
        return self.stem, self.name, self.type, readable_size(self.size + self.blobs)


class ResultCollector:
    """Removes results that no name has, references that no name has, and notes about results that are gone.

    Args:
        store: whose runs are kept.
        records: of the store.
        shared: the results.
        limits: which results are kept.
        grace: seconds for which references and notes are kept.
        dry_run: remove nothing.
        seconds: after which no more is removed; what was not used for the longest time goes first.

    Attributes:
        problem: why results stay that would be removed otherwise.
    """

    def __init__(
        self,
        store: Catalogue,
        records: Records,
        shared: SharedResults,
        limits: Limits,
        *,
        grace: float,
        dry_run: bool,
        seconds: float = math.inf,
    ) -> None:
        self.problem = ""
        self._store = store
        self._records = records
        self._shared = shared
        self._transport = records.transport
        self._limits = limits
        self._grace = grace
        self._dry_run = dry_run
        self._seconds = seconds
        self._are_names_known = True
        self._now = time.time()

    def collect(self) -> list[Removal]:
        """Return what was removed: results in the order of their last use, then the rest."""
        uses = self._transport.uses(RESULTS)
        references: dict[str, list[str]] = {}
        last_use = {stem: use.used for stem, use in uses.items() if "@" not in stem}
        for stem, use in uses.items():
            result, separator, _ = stem.partition("@")
            if separator and result in last_use:
                references.setdefault(result, []).append(stem)
                last_use[result] = max(last_use[result], use.used)
        limited = self._limits.keep_runs is not None or self._limits.max_size is not None
        old = [stem for stem in last_use if limited and self._is_old(last_use[stem], self._limits.older_than)]
        old_references = [stem for stem in uses if "@" in stem and self._is_old(uses[stem].used, self._grace)]
        removals: list[Removal] = []
        if old or old_references:
            held = self._held(uses)
            named = {stem.partition("@")[0] for stem in held}
            unnamed = sorted((stem for stem in old if stem not in named), key=last_use.__getitem__)
            removals = self._results(unnamed, references, uses) if unnamed else []
            gone = {stem for removal in removals for stem in removal.uses}
            removals += self._references(set(old_references) - held - gone, uses)
        removals = self._removed(RESULTS, removals)
        kept = last_use.keys() - {removal.stem for removal in removals}
        return removals + self._removed(SAME, self._notes(kept))

    def _is_old(self, used: float, seconds: float) -> bool:
        return max(0.0, self._now - used) >= seconds

    def _held(self, uses: Mapping[str, Use]) -> set[str]:
        """Return the stems of the results and references that names have."""
        by_identity = {use.identity: stem for stem, use in uses.items()}
        held, others = set(), []
        for folder in self._transport.folders():
            if (self._records.workflow_of(folder) or "").endswith((RUNS, CAPSULES)):
                continue
            for stem, identity in self._transport.identities(folder).items():
                known = by_identity.get(identity)
                if known is None:
                    others.append((folder, stem))
                else:
                    held.add(known)
        for found in in_threads(lambda one: self._shared.held_by(*one), others):
            if found is None:
                self._are_names_known = False
            else:
                held.update(found)
        return held

    def _results(
        self, unnamed: Sequence[str], references: Mapping[str, Sequence[str]], uses: Mapping[str, Use]
    ) -> list[Removal]:
        """Return the results to remove: those that no run keeps, then those that are too much."""
        kept, of_running = self._stems_of_runs()
        chosen: dict[str, Removal] = {}
        freed = 0
        blobs = self._transport.size_of_blobs(RESULTS) if self._limits.max_size is not None else 0

        def choose(stem: str) -> None:
            nonlocal freed
            stems = (stem, *references.get(stem, ()))
            if not self._are_names_known and self._shared.is_named(stems, stem):
                return
            listed = {one: uses[one] for one in stems}
            removal = chosen[stem] = Removal(stem, listed, sum(use.size for use in listed.values()))
            if blobs or len(chosen) <= SHOWN:
                removal = chosen[stem] = self._described(removal)
            freed += removal.size + removal.blobs

        if self._limits.keep_runs is not None and kept is not None:
            for stem in unnamed:
                if _digest_in(stem) not in kept:
                    choose(stem)
        if self._limits.max_size is not None:
            total = sum(use.size for use in uses.values()) + blobs
            for stem in unnamed:
                if total - freed <= self._limits.max_size:
                    break
                if stem not in chosen and _digest_in(stem) not in of_running:
                    choose(stem)
        return list(chosen.values())

    def _stems_of_runs(self) -> tuple[set[str] | None, set[str]]:
        """Return the stems of results of the last runs, if all can be read, and of those that have not ended."""
        of_last: set[str] | None = set()
        of_running: set[str] = set()
        for folder in self._transport.folders():
            workflow = self._records.workflow_of(folder)
            if workflow is None and is_shortened(folder) and self._transport.stems(folder):
                self.problem = f"no result is removed that a run may refer to: whose runs {folder!r} has is not known"
                of_last = None
            if workflow is None or not workflow.endswith(RUNS):
                continue
            found = recipes_of_runs(self._store, workflow.removesuffix(RUNS), self._limits.keep_runs)
            of_running |= self._stems(found.of_running)
            if found.problem:
                self.problem = f"no result is removed that a run may refer to: {found.problem}"
                of_last = None
            elif of_last is not None:
                of_last |= self._stems(found.of_last)
        return of_last, of_running

    def _stems(self, digests: Iterable[str]) -> set[str]:
        return {self._records.encode(digest) for digest in digests}

    def _described(self, removal: Removal) -> Removal:
        """Return a removal with what the footer of the result says."""
        try:
            footer = self._records.footer_at(RESULTS, removal.stem, None)
        except (Absent, StorageError) as error:
            return replace(removal, name=f"it cannot be read: {error}")
        blobs = sum(blob["size"] for blob in footer["blobs"])
        name = f"{footer['name']} of {footer['workflow']}"
        return replace(removal, name=name, type=str(footer["type"]), blobs=blobs)

    def _references(self, stems: Iterable[str], uses: Mapping[str, Use]) -> list[Removal]:
        return [
            Removal(stem, {stem: uses[stem]}, uses[stem].size)
            for stem in sorted(stems)
            if not self._shared.is_named([stem], stem.partition("@")[0])
        ]

    def _notes(self, results: Iterable[str]) -> list[Removal]:
        """Return the notes about equal results of results that are gone."""
        there = set(results)
        return [
            Removal(stem, {stem: use}, use.size)
            for stem, use in sorted(self._transport.uses(SAME).items())
            if stem.partition("@")[0] not in there and self._is_old(use.used, self._grace)
        ]

    def _removed(self, folder: str, removals: list[Removal]) -> list[Removal]:
        """Remove what nothing has used since it was listed, and return it."""
        if self._dry_run:
            return removals
        removed: set[str] = set()
        for start in range(0, len(removals), _BATCH):
            if time.time() - self._now > self._seconds:
                break
            batch = removals[start : start + _BATCH]
            uses = {stem: use for removal in batch for stem, use in removal.uses.items()}
            removed |= self._transport.remove_unused(folder, uses)
        return [removal for removal in removals if removal.stem in removed]


def _digest_in(stem: str) -> str:
    """Return what is the same in the stems of all that one recipe makes: result, state, and result with files."""
    return stem.removesuffix(STATE).removesuffix(marked(""))
