"""Planning: which steps run, which are reused, and why."""

from __future__ import annotations

import time
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from functionfuse._warning import warn_user
from functionfuse.backends.collapsed import conflict_of
from functionfuse.backends.cutoff import Cutoff, Previous, content_of
from functionfuse.backends.external_inputs import with_external_inputs
from functionfuse.backends.failed_inputs import with_tolerance
from functionfuse.backends.lookup import Lookup
from functionfuse.backends.objects import Verdict, resumed, run_what_is_needed, states_of
from functionfuse.backends.options import Growing
from functionfuse.backends.secrets import Secret
from functionfuse.file_check import digest_in, stale_files
from functionfuse.fingerprint import Inherited, RecipeBook, Unfingerprintable, book_of
from functionfuse.plan import Recipe
from functionfuse.stores import objects_of, state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from functionfuse.backends.objects import States
    from functionfuse.backends.options import StepOptions
    from functionfuse.backends.spec import RunSpec
    from functionfuse.fingerprint import Fingerprinter
    from functionfuse.plan import Step

_MOST_LOOKED_AT = 20  # steps of one plan whose arguments are looked at for what is unstable
_NOTHING: Mapping[str, str] = MappingProxyType({})


class Planner:
    """Decides about the steps of a run, and later about those of the graphs that its dynamic steps return.

    Args:
        spec: the run.
        lost: names whose stored results turned out lost, with what to say of each.
        saved: names of steps whose results were saved for this very run: they are reused, whatever their recipes.
        explain: returns what changed since a stored result was made, as `functionfuse.backends.reasons` does.
    """

    def __init__(
        self,
        spec: RunSpec,
        *,
        lost: Mapping[str, str] = _NOTHING,
        saved: Collection[str] = frozenset(),
        explain: Callable[..., str] | None = None,
    ) -> None:
        self._workflow_name = spec.workflow_name
        self._store = spec.store
        self._reuse = spec.reuse
        self._rules = spec.options
        self._backend = spec.backend
        self._supports = frozenset(spec.supports) | {"resources"}
        self._grants = spec.grants
        self._secret_sources = spec.secret_sources
        self._collapses_objects = spec.collapses_objects
        self._grows = spec.grows
        self._shares_files = spec.shares_files
        self._has_options = spec.has_options
        self._has_recipes = spec.has_recipes
        self._lost = lost
        self._saved = saved
        self._explain = explain
        self._looked_at = 0
        self._verify = spec.verify
        self._sample = Random(spec.verify_seed)  # noqa: S311  not for secrets
        self._checks = spec.early_cutoff
        self.lookup = None if spec.store is None else Lookup(spec.store, spec.workflow_name, spec.reuse)
        """What the store has of the steps."""
        self._book: RecipeBook | None = None
        self._wrote = False  # whether recipes were written here
        self._cutoffs: dict[str, Cutoff] = {}  # by prefix, of plans with steps to be checked
        self._outdated: dict[str, str] = {}  # by name: how old its result is

    @property
    def fingerprinter(self) -> Fingerprinter | None:
        """What described the steps of the last plan; None if another process did."""
        return self._book.fingerprinter if self._book is not None and self._wrote else None

    @property
    def needs_names(self) -> bool:
        """Whether a decision depends on full names."""
        return self._store is not None or bool(self._rules)

    def decide(self, steps: Sequence[Step], prefix: str = "", wanted: Collection[str] = ()) -> Sequence[Step]:
        """Return the steps with options, recipe, action and reason.

        Args:
            steps: in an order in which they could run.
            prefix: what comes before their names, ``parent/``, in the graph of a dynamic step.
            wanted: names of the steps whose results are asked for.
        """
        has_options = not self._rules or (self._has_options and not prefix)
        steps = list(steps) if has_options else self._with_options(steps, prefix)
        if self.lookup is not None:
            self.lookup.forget()
            if prefix or not self._has_recipes:
                steps = self._with_recipes(steps, prefix)
            elif self.lookup.finder is not None:
                self._book = book_of(steps)
            steps = self._with_verdicts(steps, prefix, wanted, self.lookup)
        steps = self._with_blocked(with_tolerance(steps, wanted)) if self._rules else steps
        has_recipes = self._has_recipes and not prefix
        return with_external_inputs(steps, self._backend, shares_files=self._shares_files, has_recipes=has_recipes)

    def _with_options(self, steps: Sequence[Step], prefix: str) -> list[Step]:
        options_of = self._rules.of
        return [step._replace(options=options_of(prefix + step.name)) for step in steps]

    def _with_recipes(self, steps: Sequence[Step], prefix: str) -> list[Step]:
        book = self._book = RecipeBook()
        self._wrote = True
        written: list[Step] = []
        causes: dict[str, str] = {}  # of steps that have no fingerprint themselves
        without = 0
        if self.lookup is not None:
            kept = [step.name for step in steps if step.options.cache == "trust" or step.options.max_age is not None]
            self.lookup.read_footers(self._workflow_name, [prefix + name for name in kept])
        for step in steps:
            recipe, reason, full_name = None, step.reason, prefix + step.name
            if step.options.cache == "never":
                book.leave_out(step)
            else:
                try:
                    recipe = self._recipe(step, full_name, book)
                except Unfingerprintable as problem:
                    book.leave_out(step)
                    without += 1
                    reason = str(problem)
                    if not isinstance(problem, Inherited):
                        causes[full_name] = reason
            written.append(step._replace(recipe=recipe, reason=reason))
        if causes and self._reuse == "recipe":
            name, reason = next(iter(causes.items()))
            more = f" (and of {without - 1} more)" if without > 1 else ""
            warn_user(
                f"the stored result of {name!r}{more} will not be reused, because {reason}; "
                "query(...).set_cache(version=..., ignore=[...]) leaves an argument out of the recipe"
            )
        return written

    def _recipe(self, step: Step, name: str, book: RecipeBook) -> Recipe:
        """Write the recipe of a step, or take over that of its stored result, where its options ask for that.

        Raises:
            Unfingerprintable: something has no fingerprint.
        """
        options = step.options
        if options.cache == "trust":
            stored = self._kept_footer(name)
            if stored:
                parts = _recipe_in(stored)
                digest = parts.get("digest") or f"result {stored.get('uid', name)}"
                return book.take(step, Recipe(digest, {key: parts[key] for key in parts if key != "digest"}))
        recipe = book.write(step, name)
        if options.max_age is None:
            return recipe
        stored = self._kept_footer(name)
        parts = dict(_recipe_in(stored))
        digest, made = parts.pop("digest", ""), parts.pop("made", "")
        if made and parts == recipe.parts:
            age = time.time() - stored["created"]
            if age <= options.max_age:
                return book.take(step, Recipe(digest, {**parts, "made": made}))
            self._outdated[name] = f"stored {age:.0f} s ago; max_age is {options.max_age:g} s"
        return book.having(step, recipe, "made", repr(time.time()))

    def _kept_footer(self, name: str) -> Mapping[str, Any]:
        """Return the footer of what is stored under a name; nothing where that is not to be reused."""
        if self.lookup is None or name in self._lost:
            return {}
        footer = self.lookup.footer(self._workflow_name, name)
        return {} if isinstance(footer, str) else footer

    def _with_verdicts(self, steps: Sequence[Step], prefix: str, wanted: Collection[str], lookup: Lookup) -> list[Step]:
        workflow_name = self._workflow_name
        found = lookup.found(workflow_name, steps, prefix)
        cutoff = None
        if lookup.finder is not None and self._book is not None and len(found) < len(steps):
            cutoff = Cutoff(lookup, workflow_name, self._book)
            found |= lookup.found_as(cutoff.digests(steps, prefix, found))
        kept = {prefix + step.name for step in steps if step.options.cache == "trust"}  # if their names have a result
        names = [name for name in (prefix + step.name for step in steps) if name not in found or name in kept]
        stored = lookup.names(workflow_name, names)
        kept &= stored
        if stored and self._reuse == "recipe":
            if not getattr(self._store, "keeps_recipes", True):
                warn_user(
                    f'{self._store!r} stores no recipes, so nothing in it is reused; run(reuse="name") trusts names'
                )
            lookup.read_footers(workflow_name, stored)
        states = states_of(steps)
        verdicts: dict[str, Verdict] = {}
        recipes = {step.name: step.recipe for step in steps}
        for step in steps:
            verdict = self._verdict(step, prefix + step.name, stored, found, cutoff)
            if verdict.changed:
                verdict = verdict._replace(reason=self._reason(step, prefix + step.name, verdict, verdicts, recipes))
            if verdict.action == "check":
                verdict = _checked_verdict(step, verdict, verdicts, states, cutoff)
            elif verdict.action == "reuse" and self._verify and prefix + step.name in found:
                verdict = self._sampled(step, verdict, states)
            verdicts[step.name] = verdict
        if cutoff is not None and any(verdict.action == "check" for verdict in verdicts.values()):
            self._cutoffs[prefix] = cutoff
        if states.last:
            objects = objects_of(workflow_name)
            found_states = lookup.found(objects, steps, prefix)
            others = [prefix + step.name for step in steps if prefix + step.name not in found_states]
            stored_states = lookup.names(objects, others)

            def is_kept(step: Step) -> bool:
                return self._is_kept(step, prefix + step.name, stored_states, found_states, lookup)

            run_what_is_needed(steps, states, verdicts, wanted, is_kept)
        for step in steps:
            name = prefix + step.name
            if name in found and name not in kept and verdicts[step.name].action in ("reuse", "verify"):
                lookup.link(workflow_name, step, name)
        steps = [
            step._replace(action=v.action, reason=v.reason) for step, v in zip(steps, verdicts.values(), strict=True)
        ]
        return resumed(steps, states) if states.last else steps

    def _sampled(self, step: Step, verdict: Verdict, states: States) -> Verdict:
        """Return "verify" for some of the steps that are reused."""
        by_itself = step.options.group is None and step.options.cache is None
        if (
            step.target.kind == "function"
            and step.name not in states.taken
            and by_itself
            and self._sample.random() < self._verify
        ):
            return Verdict("verify", f"{verdict.reason}; made again, to be compared")
        return verdict

    def reused(self, step: Step, full_name: str) -> Mapping[str, Any] | None:
        """Return the footer of the result of a step with the action "check", whose inputs are made, if it need not run.

        Args:
            step: the step.
            full_name: its name with those of the dynamic steps around it.
        """
        footer = self._cutoffs[full_name.removesuffix(step.name)].reused(step, full_name)
        if footer is not None:
            assert self.lookup is not None
            self.lookup.note_found(full_name, _recipe_in(footer).get("digest", ""))
        return footer

    def _is_kept(self, step: Step, name: str, stored: Collection[str], found: Collection[str], lookup: Lookup) -> bool:
        """Whether an object's state after a step is in the store, and made from the same recipe."""
        if state_of(name) in self._lost:
            return False
        objects = objects_of(self._workflow_name)
        if name in found:
            lookup.link(objects, step, name)
            return True
        if name not in stored or self._reuse == "name":
            return name in stored
        return step.recipe is not None and _recipe_in(lookup.footer(objects, name)) == step.recipe.as_dict()

    def _verdict(
        self, step: Step, name: str, stored: Collection[str], found: Collection[str], cutoff: Cutoff | None
    ) -> Verdict:
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
        if step.options.cache == "trust" and name in stored:
            return Verdict("reuse", 'set_cache("trust")')
        if name in self._outdated and step.recipe is not None:
            self._compare(step, step.recipe, name, cutoff)
            return Verdict("run", self._outdated[name])
        if name in found:
            return Verdict("reuse", "stored, with the same recipe")
        if self.lookup is not None and name in self.lookup.stale:
            return Verdict("run", self.lookup.stale[name])
        if step.recipe is None and self._reuse == "recipe":
            return Verdict("run", step.reason)
        if name not in stored:
            return Verdict("run", "no result yet")
        if self._reuse == "name" or step.recipe is None:
            return Verdict("reuse", "a result is stored under this name")
        return self._compare(step, step.recipe, name, cutoff)

    def _compare(self, step: Step, recipe: Recipe, name: str, cutoff: Cutoff | None) -> Verdict:
        """Compare the recipe with the one that the stored result was made from."""
        assert self.lookup is not None
        footer = self.lookup.footer(self._workflow_name, name)
        if isinstance(footer, str):
            return Verdict("run", footer)
        stored = _recipe_in(footer)
        if digest_in(stored) == recipe.digest:
            stale = stale_files(footer.get("meta"))
            return Verdict("run", stale) if stale else Verdict("reuse", "stored, with the same recipe")
        changed = [part for part in {**stored, **recipe.parts} if stored.get(part) != recipe.parts.get(part)]
        changed = [part for part in changed if part not in ("digest", "made")]
        if "arguments" in changed and stored.get("function") == recipe.parts["function"]:
            self._warn_of_unstable(step, name)
        content = content_of(footer)
        if cutoff is not None and content and "digest" in stored:
            cutoff.previous[step.name] = Previous(stored["digest"], content)
            if changed == ["inputs"] and self._checks:
                return Verdict("check", "changed: inputs", changed, stored)
        if not stored:
            return Verdict("run", "stored without a recipe")
        return Verdict(
            "run", f"changed: {', '.join(changed)}" if changed else "stored without a max_age", changed, stored
        )

    def _reason(
        self,
        step: Step,
        name: str,
        verdict: Verdict,
        verdicts: Mapping[str, Verdict],
        recipes: Mapping[str, Recipe | None],
    ) -> str:
        """Return what changed since the stored result of a step was made."""
        if self._explain is None:
            return verdict.reason
        made = [parent for parent in step.needs if verdicts[parent].action in ("run", "check")]
        return self._explain(step, name, verdict.changed, verdict.stored, made, recipes, self.fingerprinter)

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

    def _with_blocked(self, steps: list[Step]) -> list[Step]:
        """Mark the steps that the engine cannot run, and those that need them."""
        shared = {id(step.options): step.options for step in steps}  # by many steps
        reasons = {key: self._unsupported(options) for key, options in shared.items()}
        conflicts = _conflicts(shared.values())
        for key, options in shared.items():
            reasons[key] = reasons[key] or conflicts.get(options.group, "")
        has_more = any(options.grows for options in shared.values()) or not self._collapses_objects
        if not any(reasons.values()) and not has_more:
            return steps
        blocked: dict[str, str] = {}
        marked = []
        for step in steps:
            why = reasons[id(step.options)] or self._not_collapsed(step) or _not_growing(step)
            parent = next((name for name in (*step.needs, *step.after) if name in blocked), None)
            if step.may_run and (why or parent):
                blocked[step.name] = why or f"needs {parent!r}, which is blocked"
                step = step._replace(action="blocked", reason=blocked[step.name])
            marked.append(step)
        return marked

    def _not_collapsed(self, step: Step) -> str:
        if step.options.group is None or step.target.kind == "function" or self._collapses_objects:
            return ""
        return f"{self._backend} does not collapse calls of stateful objects, which are actors"

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
                if not self._grows:
                    return f"{self._backend} does not grant more {name} at each retry; set one amount"
                if options.group is not None:
                    return f"a collapsed step does not get more {name} at each retry; set one amount"
                need = need.at(1 if options.retry is None else options.retry.times + 1)
            if not isinstance(need, str) and need > most[name]:
                return f"needs {need:g} {name}, and {self._backend} has {most[name]:g}"
        return ""


def _checked_verdict(
    step: Step, verdict: Verdict, verdicts: Mapping[str, Verdict], states: States, cutoff: Cutoff | None
) -> Verdict:
    """Return what to do with a step of which only the inputs have changed."""
    by_itself = step.options.group is None and step.options.failed_inputs is None
    if cutoff is not None and step.target.kind == "function" and step.name not in states.taken and by_itself:
        made = [name for name in step.needs if verdicts[name].action in ("run", "check")]
        if made and cutoff.previous.keys() >= set(made):
            more = f" (and {len(made) - 1} more)" if len(made) > 1 else ""
            return Verdict("check", f"{made[0]!r}{more} will run; reused if its result is unchanged")
    return Verdict("run", verdict.reason)


def _recipe_in(footer: Mapping[str, Any] | str) -> Mapping[str, str]:
    """Return the recipe that a record was made from; an empty one where that is not known."""
    return {} if isinstance(footer, str) else footer.get("recipe") or {}


def _not_growing(step: Step) -> str:
    if step.target.kind == "function" or not step.options.grows:
        return ""
    return "a call of a stateful object does not get more at each retry; set one amount"


def _conflicts(options: Iterable[StepOptions]) -> dict[str | None, str]:
    """Return why collapsed steps cannot run, by their names, as their members differ in what one call has."""
    groups: dict[str | None, list[StepOptions]] = {}
    for one in options:
        groups.setdefault(one.group, []).append(one)
    groups.pop(None, None)
    found = {group: conflict_of(members) for group, members in groups.items()}
    message = "the nodes of the collapsed step {!r} have not the same {!r}"
    return {group: message.format(group, name) for group, name in found.items() if name}


def _listed(names: Sequence[str]) -> str:
    return f"{'s' * (len(names) > 1)} {' and '.join(map(repr, names))}"
