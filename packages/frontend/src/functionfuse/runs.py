"""Runs: what was done when, as a store with run records tells, and how two runs differ.

Every run of a workflow with a store leaves a record there, on every backend.

::

    store.runs("training")                  # newest first; notebooks show a table
    run = store.run("latest")
    run.steps["fit"].seconds
    store.diff(other, run)                  # where a difference begins, and which part of a recipe it is in
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from math import inf
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

from functionfuse._suggestions import did_you_mean
from functionfuse._tables import SHOWN, Table
from functionfuse.errors import CorruptRecord, OptionError, StorageError, TaskNotFound
from functionfuse.previews import Preview, as_data, from_data
from functionfuse.stores import runs_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from functionfuse.stores import Catalogue

RunState = Literal["running", "finished", "failed", "cancelled", "interrupted", "damaged"]
StepState = Literal["finished", "reused", "failed", "skipped", "running", "stopped", "not run"]

_READERS = 8  # footers that are read at the same time
_SILENT = 86400.0  # seconds without a word after which a run of another machine is taken for interrupted
_MICRO = 1e-6
_MOST_READ = 32 << 20  # bytes of a record that a plan reads
_COUNTED = ("finished", "reused", "failed", "skipped")


@dataclass(frozen=True)
class RunSummary:
    """What a list of runs shows of one.

    Attributes:
        id: of the run; those of later runs are greater.
        workflow: its name.
        state: "running", "finished", "failed", "cancelled" (Ctrl-C, or `cancel`), "interrupted" (its process ended
            before it did), or "damaged" (its record cannot be read).
        started: in seconds since the epoch.
        ended: likewise; None if it has not ended.
        engine: the name of the backend.
        labels: what `run(labels=)` was given.
        counts: numbers of steps, by what became of them: "finished", "reused", "failed", "skipped"; and all "steps".
        problem: why its record cannot be read.
    """

    id: str
    workflow: str
    state: RunState
    started: float = 0.0
    ended: float | None = None
    engine: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class RunStep:
    """What a run did with one step. What is not known is None, or empty.

    Attributes:
        name: the full name, `parent/child` for a node of a dynamic graph.
        action: what the plan said: "run", "check", "reuse" or "blocked".
        reason: why.
        state: "finished", "reused", "failed", "skipped" (a step that it needs failed), "running" (it was handed to the
            engine, and had its inputs, when the record was last written), "stopped" (likewise, and the run ended
            without it), or "not run".
        function: the qualified name of what it calls.
        needs: the full names of the steps that it takes results of, or comes after.
        recipe: the digest of all that makes its result.
        parts: digests of the parts of its recipe.
        arguments: short texts of the values among its arguments, by parameter; those of secret names are left out.
        globals: likewise of the numbers, texts and short containers that its function itself takes from its module.
        uses: short digests of the "code" of its function, and of the helpers, globals, classes and modules that this
            uses, at any depth, by names such as "helper clean() of features.py"; "=" and a text where a value is short.
        size: bytes of its stored result.
        content: a digest of its stored result.
        started: in seconds since the epoch.
        seconds: how long it took.
        cpu: seconds of processors that it used.
        memory: the most memory that its process had meanwhile, in bytes.
        host: the machine that it ran on.
        process: the number of the process there.
        attempts: how many there were.
        output: what it printed, logged and warned of; of much the beginning and the end.
        warnings: those among it.
        error: why it failed.
        preview: of its result; None without one.
    """

    name: str
    action: str = ""
    reason: str = ""
    state: StepState = "not run"
    function: str = ""
    needs: tuple[str, ...] = ()
    recipe: str | None = None
    parts: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)
    globals: Mapping[str, str] = field(default_factory=dict)
    uses: Mapping[str, str] = field(default_factory=dict, repr=False)
    size: int | None = None
    content: str | None = None
    started: float | None = None
    seconds: float | None = None
    cpu: float | None = None
    memory: int | None = None
    host: str = ""
    process: int | None = None
    attempts: int = 1
    output: str = ""
    warnings: tuple[str, ...] = ()
    error: str = ""
    preview: Preview | None = field(default=None, repr=False)


@dataclass(frozen=True)
class RunRecord(RunSummary):
    """The whole record of a run. `print` shows a table of its steps, and so do notebooks.

    Attributes:
        error: why the run failed, or was cancelled.
        wanted: names of the steps whose results were asked for.
        options: how the run went, such as "on_error" and "reuse".
        environment: "host", "user", "process", "python", "platform", "program", "folder", "packages" (the versions of
            those that were imported), "git" ("commit", and whether files were "dirty").
        steps: by full name, in the order of the graph.
    """

    error: str = ""
    wanted: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, RunStep] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data; images of previews are texts in base 64."""
        data = super().as_dict()
        for name, step in self.steps.items():
            if step.preview is not None:
                data["steps"][name]["preview"] = as_data(step.preview)
        return data

    def __str__(self) -> str:
        return self._table().text()

    def _repr_html_(self) -> str:
        return self._table().html()

    def _table(self) -> Table:
        header = ("step", "state", "took", "memory", "reason")
        steps = list(self.steps.values())
        rows = [
            (
                step.name,
                step.state,
                _seconds(step.seconds),
                _mebibytes(step.memory),
                step.error.partition("\n")[0] or step.reason,
            )
            for step in steps[:SHOWN]
        ]
        title = f"run {self.id} of workflow {self.workflow!r}: {self.state}, {_counts(self.counts)}"
        return Table(title, header, rows, frozenset({"took", "memory"}), len(steps) - len(rows))


class RunList(Sequence[RunSummary]):
    """Runs, newest first. `print` shows a table, and so do notebooks.

    Args:
        runs: the runs.
    """

    def __init__(self, runs: Iterable[RunSummary]) -> None:
        self._runs = tuple(runs)

    def __len__(self) -> int:
        return len(self._runs)

    @overload
    def __getitem__(self, index: int) -> RunSummary: ...
    @overload
    def __getitem__(self, index: slice) -> RunList: ...
    def __getitem__(self, index: int | slice) -> RunSummary | RunList:
        return RunList(self._runs[index]) if isinstance(index, slice) else self._runs[index]

    def as_dicts(self) -> list[dict[str, Any]]:
        """Return them as plain data."""
        return [run.as_dict() for run in self]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunList) and self._runs == other._runs

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return self._table().text()

    def _repr_html_(self) -> str:
        return self._table().html()

    def _table(self) -> Table:
        header = ("run", "workflow", "state", "started", "took", "steps", "labels")
        rows = [_row(run) for run in self._runs[:SHOWN]]
        title = f"{len(self):,} run{'' if len(self) == 1 else 's'}"
        return Table(title, header, rows, frozenset({"took"}), len(self) - len(rows))


def list_runs(store: Catalogue, workflow: str | None = None, labels: Mapping[str, str] | None = None) -> RunList:
    """Return the runs that a store has records of, newest first.

    Args:
        store: the store.
        workflow: of which workflow; None for all.
        labels: that the runs must have, among others.

    Raises:
        OptionError: the labels are no mapping.
    """
    from concurrent.futures import ThreadPoolExecutor

    if labels is not None and not isinstance(labels, Mapping):
        raise OptionError(f'labels are texts by names, {{"experiment": "7"}}, got {labels!r}')
    listed = list(_listed(store, workflow))
    with ThreadPoolExecutor(_READERS) as pool:
        runs = [run for run in pool.map(lambda one: _summary(store, *one), listed) if run is not None]
    return RunList(run for run in runs if (labels or {}).items() <= run.labels.items())


def read_run(store: Catalogue, id: str = "latest", workflow: str | None = None) -> RunRecord:
    """Return the whole record of a run.

    Args:
        store: that has it.
        id: of the run; "latest" for the newest one.
        workflow: which workflow it is of; None if that is not known.

    Raises:
        TaskNotFound: there is no such run.
        CorruptRecord: the record is damaged.
    """
    listed = list(_listed(store, workflow))
    found = listed[:1] if id == "latest" else [one for one in listed if one[1] == id]
    if not found:
        raise _not_found(id, workflow, [known for _, known in listed])
    name, known = found[0]
    meta = _meta(store.info(runs_of(name), known))
    content = store.read_task(runs_of(name), known)
    try:
        return record_of(known, name, meta, content)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CorruptRecord(f"run {known!r} of workflow {name!r}: its record is not one of a run: {error!r}") from error


def summary_of(id: str, workflow: str, footer: Mapping[str, Any]) -> RunSummary:
    """Return what the footer of a record says of its run, in little time.

    Args:
        id: of the run.
        workflow: its name.
        footer: of the record, as `store.info(runs_of(workflow), id)` returns it.

    Raises:
        CorruptRecord: it is not the record of a run.
    """
    return RunSummary(**_of_meta(id, workflow, _meta(footer)))


def last_records(store: Catalogue, workflow: str, id: str = "latest") -> tuple[RunRecord, RunRecord | None]:
    """Return the record of a run, and that of the run of its workflow before it, if there is one that can be read.

    Args:
        store: that has them.
        workflow: the name of the workflow.
        id: of the run; "latest" for the newest one.

    Raises:
        TaskNotFound: there is no such run.
        CorruptRecord: its record is damaged.
    """
    record = read_run(store, id, workflow)
    for _, known in _listed(store, workflow):
        if known < record.id:
            with suppress(StorageError):
                return record, read_run(store, known, workflow)
    return record, None


def planned_steps(content: bytes) -> dict[str, RunStep]:
    """Return the steps of a record as they were planned, by full name; of a very long record those at its beginning.

    Args:
        content: of the record.
    """
    by_number: list[dict[str, Any]] = []
    uses: dict[str, Mapping[str, str]] = {}
    for document in _documents(content, _MOST_READ, '{"plan":'):
        by_number += _planned(document["plan"], by_number, uses)
    return {step["name"]: RunStep(**step) for step in by_number}


def counted(content: bytes) -> dict[str, int]:
    """Return the numbers of steps in a record, by what became of them.

    Args:
        content: of the record.
    """
    states = [step["state"] for step in _steps(_documents(content), 0.0).values()]
    return {**{state: states.count(state) for state in _COUNTED}, "steps": len(states)}


class RecipesOfRuns(NamedTuple):
    """Digests of the recipes of the steps of runs."""

    of_last: set[str]
    """Of the last runs, as far as their records can be read."""
    of_running: set[str]
    """Of those that have not ended."""
    problem: str
    """What cannot be read of the last runs; empty if there is nothing of that kind."""


def recipes_of_runs(store: Catalogue, workflow: str, count: int | None) -> RecipesOfRuns:
    """Return the digests of the recipes of steps of the last runs of a workflow, and of all that have not ended.

    Args:
        store: that has their records.
        workflow: its name.
        count: how many runs are the last ones; with None, none of those that have ended are read.
    """
    runs = list_runs(store, workflow)
    of_last: set[str] = set()
    of_running: set[str] = set()
    problem = ""
    for run in runs[: count or 0]:
        problem = problem or (f"the record of run {run.id!r}: {run.problem}" if run.problem else "")
    for n, run in enumerate(runs):
        is_last = n < (count or 0)
        if run.problem or not (is_last or run.state == "running"):
            continue
        try:
            digests = _recipes_in(store.read_task(runs_of(workflow), run.id))
        except TaskNotFound:
            continue
        except (StorageError, LookupError, TypeError, ValueError, AttributeError) as error:
            problem = problem or (f"the record of run {run.id!r}: {error}" if is_last else "")
            continue
        if is_last:
            of_last |= digests
        if run.state == "running":
            of_running |= digests
    return RecipesOfRuns(of_last | of_running, of_running, problem)


def _recipes_in(content: bytes) -> set[str]:
    digests: set[str] = set()
    for document in _documents(content):
        digests.update(document.get("plan", {}).get("recipes", ()))
        digests.update(document.get("found", ()))
    digests.discard(None)
    return digests


# -- finding records


def _listed(store: Catalogue, workflow: str | None) -> list[tuple[str, str]]:
    """Return the workflows and ids of runs, newest first."""
    if workflow is not None and (not isinstance(workflow, str) or not workflow):
        raise OptionError(f"workflow is the name of one, got {workflow!r}")
    workflows = store.list_workflows() if workflow is None else [workflow]
    listed = [(name, known) for name in workflows for known in store.list_tasks(runs_of(name))]
    return sorted(listed, key=lambda one: one[1], reverse=True)


def _not_found(id: str, workflow: str | None, known: list[str]) -> TaskNotFound:
    where = "in this store" if workflow is None else f"of workflow {workflow!r}"
    if not known:
        return TaskNotFound(f"no run {id!r}: there are no runs {where}; a run with a store leaves a record")
    hint = did_you_mean(str(id), known) or f"; the newest is {known[0]!r}"
    return TaskNotFound(f"no run {id!r} {where} (runs() lists what there is){hint}")


def _meta(footer: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = (footer.get("meta") or {}).get("run")
    if not isinstance(meta, Mapping):
        raise CorruptRecord("it is not the record of a run")
    return meta


def _summary(store: Catalogue, workflow: str, id: str) -> RunSummary | None:
    """Return what a footer says of a run; None for one that was removed meanwhile."""
    try:
        return summary_of(id, workflow, store.info(runs_of(workflow), id))
    except TaskNotFound:
        return None
    except StorageError as error:
        problem = str(error)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        problem = f"it is not the record of a run: {error!r}"
    return RunSummary(id, workflow, "damaged", problem=problem)


def _of_meta(id: str, workflow: str, meta: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": id,
        "workflow": workflow,
        "state": _state(meta),
        "started": float(meta["started"]),
        "ended": meta.get("ended"),
        "engine": str(meta["engine"]),
        "labels": dict(meta["labels"]),
        "counts": dict(meta["counts"]),
    }


def _state(meta: Mapping[str, Any]) -> RunState:
    """Return the state of a run; one that its process left is interrupted."""
    if meta["state"] != "running":
        return meta["state"]  # type: ignore[no-any-return]
    from functionfuse.backends.provenance import host_name, is_alive

    if meta["host"] == host_name():
        return "running" if is_alive(meta["process"], meta["mark"]) else "interrupted"
    return "running" if time.time() - meta["updated"] < _SILENT else "interrupted"


# -- reading records


def record_of(id: str, workflow: str, meta: Mapping[str, Any], content: bytes) -> RunRecord:
    """Return the record of a run from what is stored of it.

    Args:
        id: of the run.
        workflow: its name.
        meta: what the footer says of the run.
        content: the record itself.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: it is no record of a run.
    """
    documents = _documents(content)
    head = documents[0]["run"]
    end: Mapping[str, Any] = next((one["end"] for one in reversed(documents) if "end" in one), {})
    described = {"workflow", "started", "engine", "labels", "options", "wanted", "mark"}
    known = {one.name for one in fields(RunStep)}
    summary = _of_meta(id, workflow, meta)
    found = _steps(documents, head["started"])
    running = [step for step in found.values() if step["state"] == "running"]
    for step in running:
        if _was_handed_ahead(step, found):
            step.update(state="not run", started=None)
        elif summary["state"] != "running":
            step["state"] = "stopped"
    steps = {
        name: RunStep(**{key: value for key, value in step.items() if key in known}) for name, step in found.items()
    }
    return RunRecord(
        **summary,
        error=end.get("error", ""),
        wanted=tuple(head["wanted"]),
        options=head["options"],
        environment={
            **{key: value for key, value in head.items() if key not in described},
            "packages": end.get("packages", {}),
            "git": end.get("git", {}),
        },
        steps=steps,
    )


def _was_handed_ahead(step: Mapping[str, Any], steps: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return True if an engine was given a step for later: one that it needs has no result, and had not failed yet."""
    for name in step["needs"]:
        needed = steps[name]
        if needed["state"] not in ("finished", "reused"):
            ended = needed["started"] + needed["seconds"] if needed["state"] in ("failed", "skipped") else inf
            if step["started"] < ended:
                return True
    return False


def _documents(content: bytes, most: int = 0, prefix: str = "") -> list[dict[str, Any]]:
    """Return the lines of a record, which has no end while its run goes on.

    Args:
        content: of the record.
        most: bytes that are read of it; 0 for all.
        prefix: what the lines begin with; others are left out.
    """
    import json
    import zlib

    try:
        data = zlib.decompressobj().decompress(content, most)
    except zlib.error as error:
        raise ValueError(f"it cannot be decompressed: {error}") from error
    lines = data[: data.rfind(b"\n")].decode("utf-8").split("\n")
    return [json.loads(line) for line in lines if line.startswith(prefix)]


def _steps(documents: Iterable[Mapping[str, Any]], since: float) -> dict[str, dict[str, Any]]:
    """Return what is known of each step, by full name."""
    by_number: list[dict[str, Any]] = []
    running: Mapping[str, float] = {}
    notes: list[Mapping[str, Any]] = []
    uses: dict[str, Mapping[str, str]] = {}
    for document in documents:
        if "plan" in document:
            by_number += _planned(document["plan"], by_number, uses)
        elif "ended" in document:
            for number, facts in _ended(document["ended"], document["workers"], since):
                by_number[number].update(facts)
        elif "details" in document:
            for key, details in document["details"].items():
                by_number[int(key)].update(details)
        elif "note" in document:
            notes.append(document["note"])
        running = document.get("running", running)
    for key, begun in running.items():
        by_number[int(key)].update(state="running", started=begun)
    return _by_name(by_number, notes)


def _by_name(by_number: Iterable[dict[str, Any]], notes: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return steps by name. One that was planned again after a stored result was lost did what it did before, too."""
    steps: dict[str, dict[str, Any]] = {}
    for step in by_number:
        before = steps.get(step["name"])
        if before is None or step["state"] != "reused" or before["state"] != "finished":
            steps[step["name"]] = step
    for note in notes:
        steps.setdefault(note["name"], {}).update(note)
    for step in steps.values():
        step["warnings"] = tuple(step.get("warnings", ()))
        if "preview" in step:
            step["preview"] = from_data(step["preview"])
    return steps


def _planned(
    plan: Mapping[str, Any], before: Sequence[Mapping[str, Any]], uses: dict[str, Mapping[str, str]]
) -> Iterator[dict[str, Any]]:
    uses.update(plan["uses"])
    names, parent, first = plan["names"], plan["parent"], plan["first"]
    prefix = "" if parent is None else f"{before[parent]['name']}/"
    columns = {key: _whole(plan[key], len(names)) for key in ("functions", "actions", "reasons", "recipes")}
    parts = {part: _whole(column, len(names)) for part, column in plan["parts"].items()}
    for n, name in enumerate(names):
        action = columns["actions"][n]
        needs = [prefix + names[number - first] for number in plan["needs"].get(str(first + n), ())]
        yield {
            "name": prefix + name,
            "action": action,
            "reason": columns["reasons"][n],
            "state": "reused" if action == "reuse" else "not run",
            "function": columns["functions"][n],
            "needs": tuple(needs),
            "recipe": columns["recipes"][n],
            "parts": {part: column[n] for part, column in parts.items() if column[n] is not None},
            "arguments": _arguments(plan, first + n, columns["functions"][n]),
            "globals": plan["globals"].get(columns["functions"][n], {}),
            "uses": uses.get(parts["function"][n] or "", {}) if "function" in parts else {},
        }


def _arguments(plan: Mapping[str, Any], number: int, function: str) -> dict[str, str]:
    """Return the texts of the arguments of a step; numbers are kept as they are, and "" for results of steps."""
    given = plan["positional"].get(str(number), ())
    parameters = [*plan["parameters"][function], *map(str, range(len(given)))][: len(given)]
    positional = {
        name: value if isinstance(value, str) else repr(value) for name, value in zip(parameters, given, strict=True)
    }
    keywords: dict[str, str] = plan["keywords"].get(str(number), {})
    return {name: text for name, text in positional.items() if text} | keywords


def _ended(
    ended: Mapping[str, Any], workers: Sequence[Sequence[Any]], since: float
) -> Iterator[tuple[int, dict[str, Any]]]:
    numbers = ended["numbers"]
    count = len(numbers)
    measured = numbers if ended["measured"] is None else ended["measured"]
    usages = zip(
        ended["cpu"],
        _whole(ended["memory"], len(measured)),
        _whole(ended["workers"], len(measured)),
        strict=True,
    )
    used = dict(zip(measured, usages, strict=True))
    states, sizes = _whole(ended["states"], count), _whole(ended["sizes"], count)
    for n, number in enumerate(numbers):
        facts = {"state": states[n], "size": sizes[n], "content": ended["contents"][n]}
        if states[n] not in ("reused", "skipped"):
            facts |= {
                "started": since + ended["started"][n] * _MICRO,
                "seconds": ended["seconds"][n] * _MICRO,
            }
        if number in used:
            cpu, memory, worker = used[number]
            process, host = workers[worker]
            facts |= {"cpu": cpu * _MICRO, "memory": memory << 10, "host": host, "process": process}
        yield number, facts


def _whole(column: Sequence[Any], count: int) -> Sequence[Any]:
    """Return a column of which one value was kept, if all are the same."""
    return column if len(column) == count else [column[0]] * count


# -- what tables show


def _row(run: RunSummary) -> tuple[str, ...]:
    if run.problem:
        return run.id, f"damaged: {run.problem}"
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.started))
    took = _seconds(None if run.ended is None else run.ended - run.started)
    labels = ", ".join(f"{name}={text}" for name, text in run.labels.items())
    return run.id, run.workflow, run.state, started, took, _counts(run.counts), labels


def _counts(counts: Mapping[str, int]) -> str:
    """Return numbers of steps as a text: "3 finished, 2 reused"."""
    shown = [f"{counts[state]:,} {state}" for state in _COUNTED if counts.get(state)]
    return ", ".join(shown) or f"{counts.get('steps', 0):,} steps"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:,.1f} s"


def _mebibytes(count: int | None) -> str:
    return "" if count is None else f"{count / (1 << 20):,.0f} MiB"
