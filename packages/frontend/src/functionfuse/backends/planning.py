"""Planning: which steps run, which are reused, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse._warning import warn_user
from functionfuse.errors import CorruptRecord, TaskNotFound
from functionfuse.fingerprint import Inherited, RecipeBook, Unfingerprintable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from functionfuse.fingerprint import Recipe
    from functionfuse.plan import Action, Step
    from functionfuse.stores import Store

REUSE = ("recipe", "name", "never")


class Verdict(NamedTuple):
    """Whether a step runs, and why."""

    action: Action
    reason: str


class Planner:
    """Decides about the steps of a run, and later about those of the graphs that its dynamic steps return.

    Args:
        workflow_name: under which the store keeps results.
        store: where stored results are looked for; None when there is none.
        reuse: "recipe" (equal recipes), "name" (whatever is stored under the name) or "never".
        options_of: options by full name.
        lacks: options that the engine cannot honour, with what to say of each.
        distrusted: names whose stored results turned out to be lost or damaged.
    """

    def __init__(
        self,
        workflow_name: str,
        store: Store | None,
        reuse: str,
        options_of: Callable[[str], Mapping[str, Any]] | None,
        lacks: Mapping[str, str],
        distrusted: Mapping[str, str],
    ) -> None:
        self._workflow_name = workflow_name
        self._store = store
        self._reuse = reuse
        self._options_of = options_of
        self._lacks = lacks
        self._distrusted = distrusted

    @property
    def needs_names(self) -> bool:
        """Whether a decision depends on full names."""
        return self._store is not None or self._options_of is not None

    def decide(self, steps: Sequence[Step], prefix: str = "", wanted: Collection[str] = ()) -> list[Step]:
        """Return the steps with options, recipe, action and reason.

        Args:
            steps: in an order in which they could run.
            prefix: what comes before their names, ``parent/``, in the graph of a dynamic step.
            wanted: names of the steps whose results are asked for.
        """
        if self._options_of is not None:
            steps = [step._replace(options=self._options_of(prefix + step.name)) for step in steps]
        if self._store is not None:
            steps = self._with_recipes(steps, prefix)
            verdicts = self._verdicts(steps, prefix, wanted)
            steps = [step._replace(action=v.action, reason=v.reason) for step, v in zip(steps, verdicts, strict=True)]
        return self._blocked(steps) if self._lacks else list(steps)

    def _with_recipes(self, steps: Sequence[Step], prefix: str) -> list[Step]:
        book = RecipeBook()
        written: list[Step] = []
        causes: dict[str, str] = {}  # of steps that have no fingerprint themselves
        without = 0
        for step in steps:
            recipe, reason = None, step.reason
            if step.options.get("never"):
                book.leave_out(step)
            else:
                try:
                    recipe = book.write(step, prefix + step.name)
                except Unfingerprintable as problem:
                    book.leave_out(step)
                    without += 1
                    reason = str(problem)
                    if not isinstance(problem, Inherited):
                        causes[prefix + step.name] = reason
            written.append(step._replace(recipe=recipe, reason=reason))
        if causes and self._reuse == "recipe":
            name, reason = next(iter(causes.items()))
            more = f" (and of {without - 1} more)" if without > 1 else ""
            warn_user(
                f"the stored result of {name!r}{more} will not be reused, because {reason}; "
                "query(...).set_cache(version=..., ignore=[...]) leaves an argument out of the recipe"
            )
        return written

    def _verdicts(self, steps: Sequence[Step], prefix: str, wanted: Collection[str]) -> list[Verdict]:
        assert self._store is not None
        stored: set[str] = set()
        if self._reuse != "never":
            stored = self._store.has_tasks(self._workflow_name, [prefix + step.name for step in steps])
        verdicts = {step.name: self._verdict(step, prefix + step.name, stored) for step in steps}
        _decide_objects(steps, verdicts, wanted)
        return [verdicts[step.name] for step in steps]

    def _verdict(self, step: Step, name: str, stored: set[str]) -> Verdict:
        if step.options.get("log"):
            return Verdict("run", "log nodes always run")
        if step.options.get("never"):
            return Verdict("run", 'set_cache("never")')
        if self._reuse == "never":
            return Verdict("run", 'reuse="never"')
        if name in self._distrusted:
            return Verdict("run", self._distrusted[name])
        if step.target.kind == "constructor":
            return Verdict("reuse", "no call of its methods has to run")
        if name not in stored:
            return Verdict("run", "no stored result")
        if self._reuse == "name":
            return Verdict("reuse", "a result is stored under this name")
        if step.recipe is None:
            return Verdict("run", step.reason)
        return self._compare(step.recipe, name)

    def _compare(self, recipe: Recipe, name: str) -> Verdict:
        """Compare the recipe with the one that the stored result was made from."""
        assert self._store is not None
        try:
            stored = self._store.info(self._workflow_name, name).get("recipe") or {}
        except TaskNotFound:
            return Verdict("run", "no stored result")
        except CorruptRecord as error:
            warn_user(f"the stored result of {name!r} is damaged and will be made again: {error}")
            return Verdict("run", f"the stored result is damaged: {error}")
        if stored.get("digest") == recipe.digest:
            return Verdict("reuse", "stored, with the same recipe")
        changed = [part for part in {**stored, **recipe.parts} if stored.get(part) != recipe.parts.get(part)]
        changed = [part for part in changed if part != "digest"]
        return Verdict("run", f"changed: {', '.join(changed)}" if stored else "stored without a recipe")

    def _blocked(self, steps: Sequence[Step]) -> list[Step]:
        """Mark the steps that the engine cannot run, and those that need them."""
        blocked: dict[str, str] = {}
        marked = []
        for step in steps:
            why = next((said for option, said in self._lacks.items() if option in step.options), None)
            parent = next((name for name in (*step.needs, *step.after) if name in blocked), None)
            if step.action == "run" and (why or parent):
                blocked[step.name] = why or f"needs {parent!r}, which is blocked"
                marked.append(step._replace(action="blocked", reason=blocked[step.name]))
            else:
                marked.append(step)
        return marked


def _decide_objects(steps: Sequence[Step], verdicts: dict[str, Verdict], wanted: Collection[str]) -> None:
    """An object's calls are reused together, or all run again from its constructor."""
    calls: dict[str, list[Step]] = {}
    for step in steps:
        if step.instance is not None:
            calls.setdefault(step.instance, []).append(step)
    readers = [(name, step) for step in steps for name in step.needs if name in calls and name != step.instance]
    causes = {name: "the object itself is asked for" for name in wanted if name in calls}
    causes |= {
        name: _because(step)
        for name, members in calls.items()
        for step in members
        if verdicts[step.name].action == "run"
    }
    causes |= {name: _because(step) for name, step in readers if verdicts[step.name].action == "run"}
    while causes:
        name, why = causes.popitem()
        for step in calls[name]:
            if verdicts[step.name].action == "reuse":
                verdicts[step.name] = Verdict("run", why)
        for other, reader in readers:  # a reader's argument is the object in its state at that point
            idle = any(verdicts[step.name].action == "reuse" for step in calls[other])
            if idle and verdicts[reader.name].action == "run":
                causes[other] = _because(reader)


def _because(step: Step) -> str:
    return f"{step.name!r} runs, and needs the object"
