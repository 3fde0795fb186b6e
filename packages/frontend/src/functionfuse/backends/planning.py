"""Planning: which steps run, which are reused, and why."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from functionfuse._warning import warn_user
from functionfuse.backends.objects import Verdict, resumed, run_what_is_needed, states_of
from functionfuse.backends.options import Growing
from functionfuse.backends.secrets import Secret
from functionfuse.errors import CorruptRecord, TaskNotFound
from functionfuse.fingerprint import Inherited, RecipeBook, Unfingerprintable
from functionfuse.stores import objects_of, state_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from functionfuse.backends.options import StepOptions
    from functionfuse.backends.spec import RunSpec
    from functionfuse.fingerprint import Recipe
    from functionfuse.plan import Step

_MOST_LOOKED_AT = 20  # steps of one plan whose arguments are looked at for what is unstable
_NOTHING: Mapping[str, str] = MappingProxyType({})


class Planner:
    """Decides about the steps of a run, and later about those of the graphs that its dynamic steps return.

    Args:
        spec: the run.
        lost: names whose stored results turned out lost, with what to say of each.
        saved: names of steps whose results were saved for this very run: they are reused, whatever their recipes.
    """

    def __init__(
        self, spec: RunSpec, *, lost: Mapping[str, str] = _NOTHING, saved: Collection[str] = frozenset()
    ) -> None:
        self._workflow_name = spec.workflow_name
        self._store = spec.store
        self._reuse = spec.reuse
        self._rules = spec.options
        self._backend = spec.backend
        self._supports = frozenset(spec.supports) | {"resources"}
        self._grants = spec.grants
        self._secret_sources = spec.secret_sources
        self._has_options = spec.has_options
        self._has_recipes = spec.has_recipes
        self._lost = lost
        self._saved = saved
        self._looked_at = 0

    @property
    def needs_names(self) -> bool:
        """Whether a decision depends on full names."""
        return self._store is not None or bool(self._rules)

    def decide(self, steps: Sequence[Step], prefix: str = "", wanted: Collection[str] = ()) -> list[Step]:
        """Return the steps with options, recipe, action and reason.

        Args:
            steps: in an order in which they could run.
            prefix: what comes before their names, ``parent/``, in the graph of a dynamic step.
            wanted: names of the steps whose results are asked for.
        """
        has_options = not self._rules or (self._has_options and not prefix)
        steps = list(steps) if has_options else self._with_options(steps, prefix)
        if self._store is not None:
            if prefix or not self._has_recipes:
                steps = self._with_recipes(steps, prefix)
            steps = self._with_verdicts(steps, prefix, wanted)
        return self._with_blocked(steps) if self._rules else steps

    def _with_options(self, steps: Sequence[Step], prefix: str) -> list[Step]:
        options_of = self._rules.of
        return [step._replace(options=options_of(prefix + step.name)) for step in steps]

    def _with_recipes(self, steps: Sequence[Step], prefix: str) -> list[Step]:
        book = RecipeBook()
        written: list[Step] = []
        causes: dict[str, str] = {}  # of steps that have no fingerprint themselves
        without = 0
        for step in steps:
            recipe, reason = None, step.reason
            if step.options.cache == "never":
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

    def _with_verdicts(self, steps: Sequence[Step], prefix: str, wanted: Collection[str]) -> list[Step]:
        names = [prefix + step.name for step in steps]
        stored = self._stored(self._workflow_name, names)
        if stored and self._reuse == "recipe" and not getattr(self._store, "keeps_recipes", True):
            warn_user(f'{self._store!r} stores no recipes, so nothing in it is reused; run(reuse="name") trusts names')
        verdicts = {step.name: self._verdict(step, prefix + step.name, stored) for step in steps}
        states = states_of(steps)
        if states.last:
            kept = self._stored(objects_of(self._workflow_name), names)
            run_what_is_needed(
                steps, states, verdicts, wanted, lambda step: self._is_kept(step, prefix + step.name, kept)
            )
        steps = [
            step._replace(action=v.action, reason=v.reason) for step, v in zip(steps, verdicts.values(), strict=True)
        ]
        return resumed(steps, states) if states.last else steps

    def _stored(self, workflow_name: str, names: list[str]) -> set[str]:
        assert self._store is not None
        return set() if self._reuse == "never" else self._store.has_tasks(workflow_name, names)

    def _is_kept(self, step: Step, name: str, kept: set[str]) -> bool:
        """Whether an object's state after a step is in the store, and made from the same recipe."""
        if name not in kept or state_of(name) in self._lost:
            return False
        if self._reuse == "name":
            return True
        return (
            step.recipe is not None and self._recipe_of(objects_of(self._workflow_name), name) == step.recipe.as_dict()
        )

    def _verdict(self, step: Step, name: str, stored: set[str]) -> Verdict:
        if name in self._lost:
            return Verdict("run", self._lost[name])
        if name in self._saved and step.target.kind != "constructor":
            return Verdict("reuse", "saved by this run")
        if step.options.log:
            return Verdict("run", "log nodes always run")
        if step.options.cache == "never":
            return Verdict("run", 'set_cache("never")')
        if self._reuse == "never":
            return Verdict("run", 'reuse="never"')
        if step.target.kind == "constructor":
            return Verdict("reuse", "no call of its methods has to run")
        if name not in stored:
            return Verdict("run", "no stored result")
        if self._reuse == "name":
            return Verdict("reuse", "a result is stored under this name")
        if step.recipe is None:
            return Verdict("run", step.reason)
        return self._compare(step, step.recipe, name)

    def _compare(self, step: Step, recipe: Recipe, name: str) -> Verdict:
        """Compare the recipe with the one that the stored result was made from."""
        stored = self._recipe_of(self._workflow_name, name)
        if isinstance(stored, str):
            return Verdict("run", stored)
        if stored.get("digest") == recipe.digest:
            return Verdict("reuse", "stored, with the same recipe")
        changed = [part for part in {**stored, **recipe.parts} if stored.get(part) != recipe.parts.get(part)]
        changed = [part for part in changed if part != "digest"]
        if "arguments" in changed and stored.get("function") == recipe.parts["function"]:
            self._warn_of_unstable(step, name)
        return Verdict("run", f"changed: {', '.join(changed)}" if stored else "stored without a recipe")

    def _warn_of_unstable(self, step: Step, name: str) -> None:
        """Say so when a step runs each time because an argument has another fingerprint each time."""
        from functionfuse.fingerprint.unstable import unstable_value

        self._looked_at += 1
        found = unstable_value((*step.args, *step.kwargs.values())) if self._looked_at <= _MOST_LOOKED_AT else ""
        if found:
            warn_user(
                f"the stored result of {name!r} is not reused, and none of it will be: {found} in its arguments has "
                "another fingerprint each time; query(...).set_cache(version=..., ignore=[...]) leaves an argument out "
                "of the recipe"
            )

    def _recipe_of(self, workflow_name: str, name: str) -> Mapping[str, str] | str:
        """The recipe that a record was made from, or why it cannot be had."""
        assert self._store is not None
        try:
            return self._store.info(workflow_name, name).get("recipe") or {}
        except TaskNotFound:
            return "no stored result"
        except CorruptRecord as error:
            warn_user(f"the stored result of {name!r} is damaged and will be made again: {error}")
            return f"the stored result is damaged: {error}"

    def _with_blocked(self, steps: list[Step]) -> list[Step]:
        """Mark the steps that the engine cannot run, and those that need them."""
        shared = {id(step.options): step.options for step in steps}  # by many steps
        reasons = {key: self._unsupported(options) for key, options in shared.items()}
        if not any(reasons.values()):
            return steps
        blocked: dict[str, str] = {}
        marked = []
        for step in steps:
            why = reasons[id(step.options)]
            parent = next((name for name in (*step.needs, *step.after) if name in blocked), None)
            if step.action == "run" and (why or parent):
                blocked[step.name] = why or f"needs {parent!r}, which is blocked"
                step = step._replace(action="blocked", reason=blocked[step.name])
            marked.append(step)
        return marked

    def _unsupported(self, options: StepOptions) -> str:
        """Return which options the backend does not honour; an empty text when it honours all."""
        unsupported = sorted(options.given().keys() - self._supports)
        if unsupported:
            return f"{self._backend} does not support the option{_listed(unsupported)}"
        for secret in options.environment.values():
            if isinstance(secret, Secret) and secret.source not in self._secret_sources:
                return f"{self._backend} does not support the secret {secret}"
        needs, most = options.needs, dict(self._grants)
        if "custom" in most:
            most = {**dict.fromkeys(options.resources.get("custom", {}), most["custom"]), **most}
        refused = sorted(needs.keys() - most.keys())
        if refused:
            return f"{self._backend} does not grant the resource{_listed(refused)}"
        for name, need in needs.items():
            if isinstance(need, Growing):
                return f"{self._backend} does not grant more {name} at each retry; set one amount"
            if not isinstance(need, str) and need > most[name]:
                return f"needs {need:g} {name}, and {self._backend} has {most[name]:g}"
        return ""


def _listed(names: Sequence[str]) -> str:
    return f"{'s' * (len(names) > 1)} {' and '.join(map(repr, names))}"
