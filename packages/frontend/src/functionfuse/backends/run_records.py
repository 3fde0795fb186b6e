"""Run records: what a run with a store did, kept as an ordinary record of the store while the run goes on.

The record is one JSON document a line, compressed. What a run adds is appended, so that each step is encoded once,
however often the record is written. `functionfuse.runs` reads it.
"""

from __future__ import annotations

import json
import os
import threading
import time
import zlib
from contextlib import suppress
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any

from functionfuse._collector import collector_paused
from functionfuse._warning import warn_user
from functionfuse.backends.provenance import git_state, package_versions, surroundings_of_run
from functionfuse.backends.reasons import Uses
from functionfuse.backends.short_texts import ShortTexts
from functionfuse.backends.texts import masked
from functionfuse.errors import RunCancelled, StorageError
from functionfuse.previews import as_data, preview_of
from functionfuse.stores import RecipeStore, runs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from functionfuse.backends.frames import Frame, Task
    from functionfuse.backends.recording import CallRecord, Output
    from functionfuse.backends.spec import RunSpec
    from functionfuse.errors import NodeError
    from functionfuse.fingerprint import Fingerprinter
    from functionfuse.plan import Ref, Step
    from functionfuse.previews import Preview
    from functionfuse.runs import RunState, RunSummary
    from functionfuse.stores import Store

_INTERVAL = 1.0  # seconds between two writes
_SHARE = 0.01  # of the time of a run that may pass between two writes
_COST = 50  # how much longer the time between two writes is than a write takes
_MOST_OUTPUT = 16 << 10  # characters of output that are kept of one step; the first and the last
_MOST_OF_RUN = 4 << 20  # of all steps
_MOST_PREVIEWS = 4 << 20  # of all steps; half of it is for those that were asked for
_MOST_ERROR = 8 << 10  # characters of the text of a failure
_MICRO = 1_000_000
_FIELDS = 7
_PLAIN = (str, int, float, bool, type(None))


class RunRecorder:
    """Collects what a run does, and writes it to the store.

    A write that fails warns once, and the run goes on without a record.

    Args:
        spec: the run.
        options: of the backend's own `run`, of which plain values are kept.
        store: what the record is saved in, if not in the store of the run; then it is saved when the run has ended.
        started: when the run started, in seconds since the epoch; now, if that is not given.
    """

    uses_records = True

    def __init__(
        self,
        spec: RunSpec,
        options: Mapping[str, Any],
        *,
        store: Store | None = None,
        started: float | None = None,
    ) -> None:
        own = spec.store if store is None else store
        assert own is not None
        self._store = own
        self._results = own if isinstance(own, RecipeStore) else None  # the store, if it knows contents of results
        self._workflow_name = spec.workflow_name
        self._started = time.time() if started is None else started
        self.id = new_id(self._started)
        self._wanted = {ref.step for ref in spec.wanted}
        self._head = {
            "workflow": spec.workflow_name,
            "started": self._started,
            "engine": spec.backend,
            "labels": dict(spec.labels),
            "options": _options(spec, options),
            "wanted": list(dict.fromkeys(ref.step for ref in spec.wanted)),
            **surroundings_of_run(),
        }
        self._meta = {
            "workflow": spec.workflow_name,
            "started": self._started,
            "engine": spec.backend,
            "labels": dict(spec.labels),
            **{key: self._head[key] for key in ("host", "process", "mark")},
        }
        self.fingerprinter_of: Callable[[], Fingerprinter | None] = lambda: None
        """Returns what described the steps of the plan that is taken in."""
        self._texts = ShortTexts()
        self.found_under: Callable[[], Iterable[str]] = tuple
        """Returns the digests under which results were found, where they are not those of the steps' recipes."""
        self._found: set[str] = set()
        self._uses = Uses()
        self._known_uses: set[str] = set()  # by digests of functions
        self._compressor = zlib.compressobj(1)
        self._compressed: list[bytes] = []
        self._count = 0  # of the steps that have a number
        self._counts = dict.fromkeys(("finished", "reused", "failed", "skipped"), 0)
        self._ended: list[Any] = []  # of each step _FIELDS values: no tuples, which the garbage collector would visit
        self._details: dict[int, dict[str, Any]] = {}  # of few steps
        self._unmeasured: dict[str, int | None] = {}  # by name: steps that ended elsewhere, where their results are too
        self._running: dict[int, float] = {}
        self._workers: dict[tuple[Any, ...], int] = {}  # process and host
        self._rounds = 0  # plans of the whole graph, and notes: with more than one, some steps are known twice
        self._room = _MOST_OF_RUN
        self._preview_room = _MOST_PREVIEWS
        self._previewed: set[int] = set()
        self._due = 0.0 if store is None else inf
        self._changed = self._was_running = self._has_ended = self._has_warned = False
        self._problem = ""
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._put({"run": self._head})

    def planned(self, frame: Frame) -> None:
        """Take in the steps of a frame.

        Args:
            frame: that was opened.
        """
        with self._lock, collector_paused():
            try:
                self._planned(frame)
            except Exception as problem:  # no step of which there is no record shall fail for it
                self._problem = f"{type(problem).__name__}: {problem}"

    def _planned(self, frame: Frame) -> None:
        steps, first, parent = frame.plan.steps, self._count, frame.parent
        if parent is None:
            self._rounds += 1
        numbers = frame.numbers = {step.name: first + n for n, step in enumerate(steps)}
        self._count += len(steps)
        actions = [step.action for step in steps]
        recipes = [step.recipe for step in steps]
        parts = {part for recipe in recipes if recipe is not None for part in recipe.parts}
        linked = [step for step in steps if step.needs or step.after]
        functions, texts = {id(step.target): step for step in steps}, self._texts
        plan = {
            "first": first,
            "parent": None if parent is None else parent.frame.numbers.get(parent.step.name),
            "names": [step.name for step in steps],
            "functions": _column([step.target.qualname for step in steps]),
            "actions": _column(actions),
            "reasons": _column([step.reason for step in steps]),
            "positional": {first + n: texts.positional_of(step) for n, step in enumerate(steps) if step.args},
            "keywords": {first + n: texts.keywords_of(step) for n, step in enumerate(steps) if step.kwargs},
            "parameters": {step.target.qualname: texts.parameters_of(step).names for step in functions.values()},
            "globals": {step.target.qualname: texts.globals_of(step) for step in functions.values()},
            "uses": self._new_uses(functions.values()),
            "needs": {
                numbers[step.name]: [numbers[name] for name in (*step.needs, *step.after) if name in numbers]
                for step in linked
            },
            "recipes": [None if recipe is None else recipe.digest for recipe in recipes],
            "parts": {
                part: _column([None if recipe is None else recipe.parts.get(part) for recipe in recipes])
                for part in sorted(parts)
            },
        }
        self._counts["reused"] += actions.count("reuse")
        self._changed = True
        try:
            self._put({"plan": plan})
        except ValueError:  # of an integer that Python does not write out
            self._put({"plan": {**plan, "positional": {}}})

    def _new_uses(self, steps: Iterable[Step]) -> dict[str, Mapping[str, str]]:
        """Return what functions use that were not met before, by their digests."""
        fingerprinter = self.fingerprinter_of()
        found: dict[str, Mapping[str, str]] = {}
        for step in steps:
            digest = "" if step.recipe is None else step.recipe.parts.get("function", "")
            if digest and digest not in self._known_uses:
                self._known_uses.add(digest)
                found[digest] = self._uses.of(step, fingerprinter)
        return found

    def begin(self, frame: Frame) -> None:
        """Write the record of a run that begins, unless it has nothing to do.

        Args:
            frame: of the whole plan.
        """
        git_state().ask()
        if frame.left:
            with self._lock:
                self._write("running")
            self._warn()

    def began(self, task: Task) -> None:
        """Take in that a step was handed to the engine.

        Args:
            task: the step.
        """
        number = task.frame.numbers.get(task.step.name)
        if number is not None:
            with self._lock:
                self._running[number] = now = time.time()
                self._changed = True
            if now >= self._due:
                self.write_if_due()

    def write_later(self) -> None:
        """Write the record when it is due, from another thread: this one begins a call that may take long."""
        if self._timer is None and self._changed and self._due < inf and not self._problem:
            self._timer = threading.Timer(max(0.0, self._due - time.time()), self._write_now)
            self._timer.daemon = True
            self._timer.start()

    def _write_now(self) -> None:
        with self._lock:
            self._timer = None
            if self._changed and not self._has_ended:
                self._write("running")

    def ended(
        self,
        task: Task,
        state: str,
        seconds: float,
        record: CallRecord | None = None,
        *,
        attempts: int = 1,
        footer: Mapping[str, Any] | None = None,
        error: str = "",
        at: float | None = None,
    ) -> None:
        """Take in how a step ended.

        Args:
            task: the step.
            state: "finished", "reused" (it was to be checked), "failed" or "skipped".
            seconds: how long it took.
            record: what was recorded of its call.
            attempts: how many there were.
            footer: of its stored result.
            error: why it failed.
            at: when it ended; now, if that is not given.
        """
        number = task.frame.numbers.get(task.step.name)
        if number is None:
            return
        usage = None if record is None else record.usage
        size, content = (None, None) if footer is None else measured(footer)
        if content is None and state == "finished" and self._results is not None:
            self._unmeasured[task.name] = number
        now = time.time() if at is None else at
        with self._lock:
            self._running.pop(number, None)
            self._ended += (number, state, now, seconds, usage, size, content)
            self._changed = True
            preview = None if record is None else record.preview
            if preview is not None:
                self._keep_preview(
                    number, preview, is_wanted=task.frame.parent is None and task.step.name in self._wanted
                )
            if error or attempts > 1 or (record is not None and record.output.pieces):
                details = self._details.setdefault(number, {})
                if record is not None:
                    details.update(self._kept(record.output))
                if error:
                    details["error"] = _cut(error, _MOST_ERROR)
                if attempts > 1:
                    details["attempts"] = attempts
        if now >= self._due:
            self.write_if_due()

    def taken(self, frame: Frame, refs: Sequence[Ref], values: Sequence[Any]) -> None:
        """Take in the results that the run was asked for: those that have no preview yet get one.

        Args:
            frame: of the whole plan.
            refs: what was asked for.
            values: the results.
        """
        with self._lock:
            if self._has_ended:
                return
            for ref, value in zip(refs, values, strict=True):
                step, number = frame.plan[ref.step], frame.numbers.get(ref.step)
                if number is None or number in self._previewed or ref.path or step.options.preview is False:
                    continue
                preview = preview_of(value, ref.step, step.target.qualname)
                self._keep_preview(number, preview, is_wanted=True)

    def noted(
        self,
        state: str,
        name: str,
        seconds: float | None = None,
        error: NodeError | None = None,
        record: CallRecord | None = None,
    ) -> None:
        """Take in what became of a step that is known by its name alone.

        Args:
            state: "finished", "reused", "failed" or "skipped".
            name: the step's full name.
            seconds: how long it took.
            error: why it failed, or the error of the step that it depends on.
            record: what was recorded of its call.
        """
        note: dict[str, Any] = {"name": name, "state": state}
        if seconds is not None:
            note |= {"started": time.time() - seconds, "seconds": seconds}
        if error is not None:
            note["error"] = _cut(str(error), _MOST_ERROR)
        with self._lock:
            if record is not None:
                usage = record.usage
                if usage.started:
                    note["started"] = usage.started
                note |= {"cpu": usage.cpu, "memory": usage.memory, "host": usage.host, "process": usage.process}
                note |= self._kept(record.output)
                if record.preview is not None:
                    note |= self._kept_preview(record.preview)
            if state == "finished":
                self._unmeasured.setdefault(name, None)
            self._rounds += 1  # it may be planned, too
            self._changed = True
            self._put({"note": note})
        self.write_if_due()

    def write_if_due(self) -> None:
        """Write the record, if it has changed, and was last written some time ago."""
        if self._changed and time.time() >= self._due:
            with self._lock:
                self._write("running")
            self._warn()

    def end(self, error: BaseException | None) -> None:
        """Write the whole record of a run that has ended; nothing of one that was refused before it started.

        Args:
            error: why it failed, or was cancelled.
        """
        self.end_as(*ended_as(error), time.time())

    def end_as(self, state: RunState, text: str, ended: float) -> None:
        """Write the whole record of a run.

        Args:
            state: in which it ended.
            text: why it failed, or was cancelled.
            ended: when, in seconds since the epoch.
        """
        if not self._count:
            self._warn()
            return
        found: dict[str, Any] = {}
        with suppress(Exception):  # a package whose metadata are damaged, for example
            found = {"packages": package_versions(), "git": git_state().answer()}
        with self._lock:
            self._has_ended = True
            if self._timer is not None:
                self._timer.cancel()
            with suppress(Exception):  # a server that cannot be reached any more, for example
                self._measure()
            self._flush()
            self._put({"end": {"ended": ended, "error": text, **found}})
            self._meta["ended"] = ended
            self._write(state)
        self._warn()

    # -- how it is written

    def _put(self, document: Mapping[str, Any]) -> None:
        """Append a document to the record."""
        line = json.dumps(document, separators=(",", ":"), default=repr)
        self._compressed.append(self._compressor.compress(f"{line}\n".encode("utf-8", "surrogatepass")))

    def _measure(self) -> None:
        """Take in the sizes and contents of results that workers stored."""
        if self._results is None or not self._unmeasured:
            return
        for name, footer in self._results.infos(self._workflow_name, self._unmeasured).items():
            if isinstance(footer, StorageError):
                continue
            size, content = measured(footer)
            number = self._unmeasured[name]
            if number is None:
                self._put({"note": {"name": name, "size": size, "content": content}})
            else:
                self._details.setdefault(number, {}).update(size=size, content=content)

    def _flush(self) -> None:
        """Append what is not in the record yet."""
        found = set(self.found_under()) - self._found
        if found:
            self._found |= found
            self._put({"found": sorted(found)})
        if self._ended:
            numbers, states, times, seconds, usages, sizes, contents = (self._ended[n::_FIELDS] for n in range(_FIELDS))
            self._ended.clear()
            for state in set(states):
                self._counts[state] += states.count(state)
            begun, workers, known = self._started, self._workers, [usage for usage in usages if usage is not None]
            for worker in {(usage.process, usage.host) for usage in known}:  # process and host
                workers.setdefault(worker, len(workers))
            measured_ones = [n for n, usage in zip(numbers, usages, strict=True) if usage is not None]
            ended = {
                "numbers": numbers,
                "states": _column(states),
                "started": [
                    int(((usage.started if usage and usage.started else at - took) - begun) * _MICRO)
                    for at, took, usage in zip(times, seconds, usages, strict=True)
                ],
                "seconds": [int(took * _MICRO) for took in seconds],
                "sizes": _column(sizes),
                "contents": contents,
                "measured": None if len(known) == len(usages) else measured_ones,
                "cpu": [int(usage.cpu * _MICRO) for usage in known],
                "memory": _column([usage.memory >> 10 for usage in known]),
                "workers": _column([workers[usage.process, usage.host] for usage in known]),
            }
            self._put({"ended": ended, "workers": list(workers)})
        if self._details:
            self._put({"details": self._details})
            self._details = {}
        if self._running or self._was_running:
            self._put({"running": self._running})
        self._was_running = bool(self._running)

    def _write(self, state: str) -> None:
        if self._problem:
            return
        begun = time.time()
        try:
            self._save(state, begun)
        except Exception as problem:
            self._problem = f"{type(problem).__name__}: {problem}"
        self._changed = False
        now = time.time()
        self._due = now + max(_INTERVAL, _SHARE * (now - self._started), _COST * (now - begun))

    def _warn(self) -> None:
        """Warn once if the record cannot be written."""
        if self._problem and not self._has_warned:
            self._has_warned = True
            warn_user(
                f"run {self.id!r} of workflow {self._workflow_name!r} has no whole record, which cannot be written: "
                f"{self._problem}"
            )

    def _save(self, state: str, now: float) -> None:
        self._flush()
        self._compressed.append(self._compressor.flush(zlib.Z_SYNC_FLUSH))
        content = b"".join(self._compressed)
        self._compressed = [content]
        counts = {**self._counts, "steps": self._count}
        if self._rounds > 1:
            from functionfuse.runs import counted

            counts = counted(content)
        meta = {**self._meta, "state": state, "updated": now, "counts": counts}
        self._store.save(runs_of(self._workflow_name), self.id, content, meta={"run": meta})

    def _keep_preview(self, number: int, preview: Preview, *, is_wanted: bool) -> None:
        kept = self._kept_preview(preview, 0 if is_wanted else _MOST_PREVIEWS // 2)
        if kept:
            self._previewed.add(number)
            self._details.setdefault(number, {}).update(kept)
            self._changed = True

    def _kept_preview(self, preview: Preview, least: int = 0) -> dict[str, Any]:
        """Return what is kept of a preview; nothing where there is no room for it.

        Args:
            preview: of a result.
            least: the room that others must be left.
        """
        # A worker does not know which values are secret.
        kept = as_data(replace(preview, text=masked(preview.text)))
        size = len(preview.text) + len(kept.get("image", ""))
        if self._preview_room - size < least:
            return {}
        self._preview_room -= size
        return {"preview": kept}

    def _kept(self, output: Output) -> dict[str, Any]:
        """Return what is kept of what a step printed."""
        text = _cut(masked(str(output)), min(_MOST_OUTPUT, self._room))
        warned = [_cut(masked(piece.text), _MOST_ERROR) for piece in output.pieces if piece.source == "warnings"][:10]
        if len(text) + sum(map(len, warned)) > self._room:
            return {}
        self._room -= len(text) + sum(map(len, warned))
        return {"output": text, **({"warnings": warned} if warned else {})}


def close_cancelled(store: Store, workflow_name: str, runs: Iterable[RunSummary]) -> None:
    """Note in the newest of some records that its run was cancelled, where the process of the run was ended for that.

    Args:
        store: that has them.
        workflow_name: the workflow.
        runs: newest first.
    """
    for run in runs:
        if run.state in ("running", "interrupted"):
            name = runs_of(workflow_name)
            meta = {**store.info(name, run.id)["meta"]["run"], "state": "cancelled", "ended": time.time()}
            store.save(name, run.id, store.read_task(name, run.id), meta={"run": meta})
        return


def ended_as(error: BaseException | None) -> tuple[RunState, str]:
    """Return the state in which a run ended, and why, as a text.

    Args:
        error: what it raised; None if it raised nothing.
    """
    if error is None:
        return "finished", ""
    state: RunState = "cancelled" if isinstance(error, KeyboardInterrupt | RunCancelled) else "failed"
    return state, _cut(f"{type(error).__name__}: {error}", _MOST_ERROR)


def new_id(started: float) -> str:
    """Return an id for a run; those of later runs are greater.

    Args:
        started: when it started, in seconds since the epoch.
    """
    whole = int(started)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(whole))
    return f"{stamp}-{int((started - whole) * _MICRO):06d}-{os.urandom(3).hex()}"


def measured(footer: Mapping[str, Any]) -> tuple[int | None, str | None]:
    """Return the bytes of a stored result, and the digest of its content, as far as its footer says."""
    segments, content = footer.get("segs"), footer.get("content_digest")
    if not segments:
        return None, content
    if len(segments) == 1 and not footer.get("blobs"):
        return segments[0][1], content
    beside = [blob["size"] for blob in footer.get("blobs") or () if blob["id"] != footer.get("content")]
    return sum(segment[1] for segment in segments) + sum(beside), content


def _column(values: Sequence[Any]) -> Sequence[Any]:
    """Return a column of a table; of one whose values are all the same, a column of one value."""
    return values[:1] if values and values.count(values[0]) == len(values) else values


def _options(spec: RunSpec, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a run goes, as plain values."""
    own = {name: value for name, value in options.items() if isinstance(value, _PLAIN) and value is not None}
    given = {"on_error": spec.on_error, "reuse": spec.reuse, "on_interrupt": spec.on_interrupt}
    return {**given, "retry_failed": bool(spec.saved), **own}


def _cut(text: str, most: int) -> str:
    """Return a text, of a long one the beginning and the end."""
    if len(text) <= most:
        return text
    return f"{text[: most // 2]}\n[... {len(text) - most} characters are left out ...]\n{text[len(text) - most // 2 :]}"
