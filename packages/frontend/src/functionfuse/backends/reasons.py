"""Reasons in parts: what changed since a stored result was made, as a scientist would say it.

A recipe tells in which part it differs from that of the stored result. What was in the part before is in the record of
the run that planned the step with the recipe of the stored result.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from functionfuse.backends.external_inputs import external_inputs
from functionfuse.backends.short_texts import ShortTexts, function_of, tells_all, text_of_value
from functionfuse.backends.texts import HIDDEN
from functionfuse.containers import Nest
from functionfuse.errors import StorageError, UsageError
from functionfuse.file_check import files_used
from functionfuse.fingerprint import Fingerprinter
from functionfuse.fingerprint.uses import uses_of
from functionfuse.plan import Ref
from functionfuse.run_diff import function_changes, unclear_change
from functionfuse.stores import Catalogue, keeps_runs, runs_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from functionfuse.plan import Recipe, Step
    from functionfuse.runs import RunStep
    from functionfuse.stores import Store

_MOST_RECORDS = 3  # that are read for one plan


class Reasons:
    """Finds reasons; records of runs are read when the first step needs one, and each once.

    Args:
        store: has the results, and may have records of runs.
        workflow_name: the workflow.
    """

    def __init__(self, store: Store | None, workflow_name: str) -> None:
        self._texts = ShortTexts()
        self._uses = Uses()
        self._read: list[Mapping[str, RunStep]] = []
        self._unread = islice(_records(store, workflow_name), _MOST_RECORDS)

    def changed(
        self,
        step: Step,
        full_name: str,
        parts: Sequence[str],
        stored: Mapping[str, str],
        made: Sequence[str],
        recipes: Mapping[str, Recipe | None],
        fingerprinter: Fingerprinter | None,
    ) -> str:
        """Return what changed since the stored result of a step was made: the first change, and how many more.

        Args:
            step: that has to run.
            full_name: its name with those of the dynamic steps around it.
            parts: of its recipe, which differ.
            stored: the parts of the recipe of the stored result.
            made: the inputs that will be made by the run.
            recipes: of the steps of the plan, by name.
            fingerprinter: that described them; None if another process did.
        """
        found: list[str] = []
        named: list[str] = []
        for part in parts:
            if part == "function":
                changes = self._of_function(step, self._before(full_name, part, stored), fingerprinter)
            elif part == "arguments":
                changes = self._of_arguments(step, self._before(full_name, part, stored))
            elif part == "inputs":
                changes = [f"input {name!r} will run" for name in made]
                changes = changes or self._of_inputs(step, full_name, stored, recipes)
            else:
                changes = []
            named += changes
            found += changes or [f"{part}{external_inputs(step)}" if part == "arguments" else part]
        if not named:
            return f"changed: {', '.join(found)}"
        first = found[0] if found[0] in named else f"changed: {found[0]}"
        return f"{first} (and {len(found) - 1} more)" if len(found) > 1 else first

    def _before(self, name: str, part: str, stored: Mapping[str, str]) -> RunStep | None:
        """Return a step as it was planned when a part of its recipe was that of the stored result."""
        for run in self._runs():
            step = run.get(name)
            if step is not None and step.parts.get(part) == stored.get(part):
                return step
        return None

    def _runs(self) -> Iterator[Mapping[str, RunStep]]:
        yield from self._read
        for run in self._unread:
            self._read.append(run)
            yield run

    def _of_function(self, step: Step, before: RunStep | None, fingerprinter: Fingerprinter | None) -> list[str]:
        if before is None:
            return []
        now = replace(
            before,
            function=step.target.qualname,
            globals=self._texts.globals_of(step),
            uses=self._uses.of(step, fingerprinter),
        )
        return function_changes(before, now)

    def _of_arguments(self, step: Step, before: RunStep | None) -> list[str]:
        if before is None:
            return []
        given = dict(zip(self._texts.parameters_of(step).names, step.args, strict=False)) | dict(step.kwargs)
        given = {name: value for name, value in given.items() if name not in step.options.ignore}
        known, now, unclear = dict(before.arguments), {}, {}
        for name, value in given.items():
            if type(value) is Ref:
                if name in known:
                    now[name] = f"the result of {value.step!r}"
                continue
            external = external_inputs(step._replace(args=(value,), kwargs={})) if files_used() else ""
            text = text_of_value(name, value.value if type(value) is Nest else value)
            if external or not tells_all(value, text):
                unclear[name] = external[2:-1] or ("" if text == HIDDEN else text)
            if external or type(value) is Nest:
                known.pop(name, None)
            else:
                now[name] = text
        defaults = _defaults(step) if known.keys() != now.keys() else {}
        nothing = "(a result)" if set(before.needs) - set(step.needs) else "(none)"
        changes = []
        for name in {**known, **now}:
            old = known.get(name, defaults.get(name, nothing))
            new = now.get(name, defaults.get(name, "(none)"))
            if old != new and name not in step.options.ignore:
                changes.append(f"argument {name}: {old} -> {new}")
        return changes or unclear_change(unclear)

    def _of_inputs(
        self, step: Step, full_name: str, stored: Mapping[str, str], recipes: Mapping[str, Recipe | None]
    ) -> list[str]:
        if len(step.needs) == 1:
            return [f"input {step.needs[0]!r} changed"]
        before = self._before(full_name, "inputs", stored)
        if before is None:
            return []
        prefix = full_name.removesuffix(step.name)
        run = next(run for run in self._read if run.get(full_name) is before)
        changes = []
        for name in step.needs:
            recipe, was = recipes.get(name), run.get(prefix + name)
            if prefix + name not in before.needs or (recipe and was and was.recipe != recipe.digest):
                changes.append(f"input {name!r} changed")
        return changes


class Uses:
    """Looks up what functions use, once for each function as it is."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], tuple[Any, dict[str, str]]] = {}  # the target is kept, for its id to last

    def of(self, step: Step, fingerprinter: Fingerprinter | None) -> dict[str, str]:
        """Return digests of what the function of a step uses; nothing where it has no recipe.

        Args:
            step: the step.
            fingerprinter: that described the step; None if another process did, with the same digests.
        """
        if step.recipe is None or "function" not in step.recipe.parts:
            return {}
        key = id(step.target), step.recipe.parts["function"]
        if key not in self._known:
            target = step.target
            try:
                uses = uses_of(target, function_of(target), fingerprinter or Fingerprinter())
            except Exception:  # of code of the user's, without which the reason is shorter
                uses = {}
            self._known[key] = target, uses
        return self._known[key][1]


def _defaults(step: Step) -> dict[str, str]:
    """Return texts of the defaults of parameters."""
    try:
        parameters = step.target.check.signature().parameters.values()
    except UsageError:
        return {}
    given = [one for one in parameters if one.default is not one.empty]
    return {one.name: text_of_value(one.name, one.default) for one in given}


def _records(store: Store | None, workflow_name: str) -> Iterator[Mapping[str, RunStep]]:
    """Yield the steps that the runs of a workflow planned, by full name; the newest run first."""
    if not keeps_runs(store) or not isinstance(store, Catalogue):
        return
    from functionfuse.runs import planned_steps

    name = runs_of(workflow_name)
    try:
        ids = sorted(store.list_tasks(name), reverse=True)
    except StorageError:
        return
    for one in ids:
        try:
            steps = planned_steps(store.read_task(name, one))
        except (StorageError, LookupError, TypeError, ValueError, AttributeError):  # removed, or damaged
            continue
        yield steps
