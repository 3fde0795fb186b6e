"""The view: all that a page shows of a run, as plain data for JSON.

::

    {
        "run": id, workflow, state, started (seconds since the epoch), seconds (so far, if it has not ended), engine,
            labels, error, previous (of the run it is compared with: id, seconds, counts; None without one)
        "begins": [[what changed, the number of nodes where a difference begins with it], ...]
        "environment": [[name, text], ...]
        "wanted": [the numbers of the nodes whose results were asked for]
        "capsules": {the number of a node: the address of its capsule}; empty in a report
        "nodes": {column: values}; the number of a node is its index there
    }

Columns have the names of fields of `RunStep`, but for "needs" (numbers of nodes), "before" (seconds that a node took
in the run that this one is compared with) and "worker". Times of nodes are in seconds, "started" since the start of
the run; memory and sizes are in bytes. Every text is fit to be shown.
"""

from __future__ import annotations

import time
from binascii import b2a_base64
from collections import Counter
from typing import TYPE_CHECKING, Any

from functionfuse.run_diff import diff_of
from functionfuse.runs import RunRecord

from .texts import plain_output, visible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functionfuse.runs import RunStep

_PNG = b"\x89PNG\r\n\x1a\n"
STATES = ("finished", "reused", "failed", "skipped", "running", "stopped", "not run")


def view_of(run: RunRecord, before: RunRecord | None = None) -> dict[str, Any]:
    """Return what a page shows of a run.

    Args:
        run: its record.
        before: the record of the run to compare it with.

    Raises:
        TypeError: one of them is not the record of a run.
    """
    for argument, record in (("run", run), ("before", before)):
        if record is not None and not isinstance(record, RunRecord):
            raise TypeError(f"{argument} is the record of a run, such as store.run('latest'), got {record!r}")
    if run is None:
        raise TypeError("run is the record of a run, such as store.run('latest'), got None")
    numbers = {name: number for number, name in enumerate(run.steps)}
    return {
        "run": _head(run, before),
        "begins": _begins(run, before),
        "environment": _environment(run),
        "wanted": [numbers[name] for name in run.wanted if name in numbers],
        "capsules": {},
        "nodes": _nodes(run, before, numbers),
    }


def _head(run: RunRecord, before: RunRecord | None) -> dict[str, Any]:
    return {
        "id": visible(run.id),
        "workflow": visible(run.workflow),
        "state": run.state,
        "started": run.started,
        "seconds": round(_wall_time(run), 4),
        "engine": visible(run.engine),
        "labels": [[visible(name), visible(text)] for name, text in run.labels.items()],
        "error": plain_output(run.error),
        "previous": None if before is None else _previous(before),
    }


def _previous(before: RunRecord) -> dict[str, Any]:
    counts = Counter(step.state for step in before.steps.values())
    return {"id": visible(before.id), "seconds": round(_wall_time(before), 4), "counts": dict(counts)}


def _wall_time(run: RunRecord) -> float:
    """Return the seconds from the start of a run to its end, to now, or to the last that is known of it."""
    if run.ended is not None:
        return max(0.0, run.ended - run.started)
    if run.state == "running":
        return max(0.0, time.time() - run.started)
    ends = (step.started + (step.seconds or 0.0) for step in run.steps.values() if step.started is not None)
    return max(ends, default=run.started) - run.started


def _begins(run: RunRecord, before: RunRecord | None) -> list[list[Any]]:
    if before is None:
        return []
    causes: Counter[str] = Counter()
    for step in diff_of(before, run).begins:
        if step.only_in:
            causes["only in this run" if step.only_in == run.id else "only in the run before"] += 1
        elif step.recipe:
            causes.update(step.causes)
        else:
            causes["another result of the same recipe"] += 1
    return [[visible(cause), count] for cause, count in causes.most_common()]


def _environment(run: RunRecord) -> list[list[str]]:
    facts: dict[str, Any] = {"engine": run.engine, **run.environment, "git": _git(run.environment.get("git") or {})}
    facts |= {f"option {name}": value for name, value in run.options.items()}
    texts = ((name, _text_of(value)) for name, value in facts.items())
    return [[visible(name), visible(text)] for name, text in texts if text]


def _git(git: Mapping[str, Any]) -> str:
    commit = str(git.get("commit") or "")
    return f"{commit}, with changed files" if commit and git.get("dirty") else commit


def _text_of(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text_of(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text_of, value))
    return "" if value is None else str(value)


# -- nodes


def _nodes(run: RunRecord, before: RunRecord | None, numbers: Mapping[str, int]) -> dict[str, list[Any]]:
    steps = run.steps.values()
    earlier = {} if before is None else {name: step.seconds for name, step in before.steps.items()}
    hosts = {step.host for step in steps if step.host}
    host = hosts.pop() if hosts == {run.environment.get("host")} else ""  # which the environment shows
    return {
        "name": [visible(step.name) for step in steps],
        "function": [visible(step.function) for step in steps],
        "state": [step.state for step in steps],
        "reason": [visible(step.reason) for step in steps],
        "needs": [_needs(step, numbers) for step in steps],
        "started": [None if step.started is None else round(step.started - run.started, 4) for step in steps],
        "seconds": [_rounded(step.seconds) for step in steps],
        "before": [_rounded(earlier.get(step.name)) for step in steps],
        "cpu": [_rounded(step.cpu) for step in steps],
        "memory": [step.memory for step in steps],
        "size": [step.size for step in steps],
        "worker": [_worker(step, host) for step in steps],
        "attempts": [step.attempts for step in steps],
        "arguments": [_arguments(step) for step in steps],
        "output": [plain_output(step.output) for step in steps],
        "error": [plain_output(step.error) for step in steps],
        "preview": [_preview(step) for step in steps],
    }


def _arguments(step: RunStep) -> list[list[str]]:
    return [[visible(name), plain_output(text)] for name, text in step.arguments.items()]


def _needs(step: RunStep, numbers: Mapping[str, int]) -> list[int]:
    """Return the numbers of the nodes before one: those that it needs, and the one that returned it."""
    needs = [numbers[name] for name in step.needs if name in numbers]
    maker = numbers.get(step.name.rpartition("/")[0])
    return [*needs, maker] if maker is not None and maker < numbers[step.name] and maker not in needs else needs


def _worker(step: RunStep, host: str) -> str:
    shown = "" if step.host == host else step.host
    return visible(shown if step.process is None else f"{shown} process {step.process}".lstrip())


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _preview(step: RunStep) -> dict[str, str] | None:
    if step.preview is None:
        return None
    preview, image = step.preview, step.preview.image
    return {
        "type": visible(preview.type),
        "shape": " x ".join(map(str, preview.shape)),
        "text": plain_output(preview.text),
        "image": b2a_base64(image, newline=False).decode("ascii") if image and image.startswith(_PNG) else "",
    }
