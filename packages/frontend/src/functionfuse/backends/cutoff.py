"""Early cutoff: a step is reused although a step before it was made again, if that gave the same content.

A recipe is made from those of its inputs. Two results with the same content are equal inputs, so a step can also be
found by the recipe that it would have with the other one. The store keeps which recipes have equal results; so plans
know of it once it was seen, and a run asks when the inputs of a step with the action "check" are there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse.errors import StorageError, TaskNotFound

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from functionfuse.backends.lookup import Lookup
    from functionfuse.fingerprint import RecipeBook
    from functionfuse.plan import Step


class Previous(NamedTuple):
    """The result that a name had before the run, as its footer tells."""

    digest: str
    content_digest: str


def content_of(footer: Mapping[str, Any]) -> str | None:
    """Return the digest of the content of a result; None where that does not tell two results apart.

    A result that refers to code of the project, as an object of a class of it does, is another one when that code has
    changed, with the same content.

    Args:
        footer: of the result.
    """
    return None if footer.get("has_code") else footer.get("content_digest")


class Cutoff:
    """Decides by content about the steps of one plan.

    Args:
        lookup: of the steps, in a store that finds results.
        workflow_name: the workflow.
        book: that wrote the recipes of the steps.
    """

    def __init__(self, lookup: Lookup, workflow_name: str, book: RecipeBook) -> None:
        assert lookup.finder is not None
        self.previous: dict[str, Previous] = {}
        """By step that runs: the result that its name has."""
        self._store = lookup.finder
        self._workflow_name = workflow_name
        self._book = book
        self._known = lookup.equal  # what is found out is added
        self._equal: dict[str, str] = {}  # by step: the digest of another recipe, whose result its own equals
        self._unequal: set[str] = set()  # steps whose results are not those that they replaced
        self._raw: dict[str, str] = {}  # by step: the digest of its recipe

    def digests(self, steps: Iterable[Step], prefix: str, found: Collection[str]) -> dict[str, str]:
        """Return by full name, of steps that are not found, the digests of their recipes with equal inputs.

        Args:
            steps: in the order of the plan.
            prefix: what comes before their names.
            found: full names whose recipes find a result.
        """
        self._raw = {step.name: step.recipe.digest for step in steps if step.recipe is not None}
        if not self._known:
            return {}
        digests = {}
        for step in steps:
            raw = self._raw.get(step.name)
            if raw is None:
                continue
            if raw in self._known:
                self._equal[step.name] = self._known[raw]
            elif prefix + step.name not in found:
                digest = self._digest(step, self._equal)
                if digest != raw:
                    digests[prefix + step.name] = digest
                    self._equal[step.name] = self._known.get(digest, digest)
        return digests

    def reused(self, step: Step, full_name: str) -> Mapping[str, Any] | None:
        """Return the footer of the result that a step need not make, now that its inputs are; its name has it then.

        Args:
            step: with the action "check".
            full_name: its name in the store.
        """
        try:
            replaced = {name: equal for name in step.needs for equal in [self._replaced(name)] if equal}
            if any(name not in self._equal for name in step.needs if name in self.previous):
                return None
            for inputs in (self._equal, {**self._equal, **replaced}):
                digest = self._digest(step, inputs)
                if digest == self._raw[step.name]:
                    continue
                try:
                    footer = self._store.result_info(self._workflow_name, digest)
                except TaskNotFound:
                    continue
                if self._store.link_results(self._workflow_name, {full_name: digest}):
                    return None
                self._equal[step.name] = self._known.get(digest, digest)
                return footer
        except StorageError:
            pass  # then it runs, and says what is wrong
        return None

    def _replaced(self, name: str) -> str:
        """Return the digest of the result that a step replaced in this run, if both are equal."""
        previous = self.previous.get(name)
        if previous is None or name in self._unequal:
            return ""
        if name not in self._equal:
            made = self._store.result_info(self._workflow_name, self._raw[name])
            if content_of(made) != previous.content_digest:
                self._unequal.add(name)
                return ""
            other = self._known.get(previous.digest, previous.digest)
            self._equal[name] = other
            if other != self._raw[name]:
                self._store.equate_results(self._workflow_name, self._raw[name], other)
                self._known[self._raw[name]] = other
        return previous.digest

    def _digest(self, step: Step, inputs: Mapping[str, str]) -> str:
        """Return the digest of the recipe that a step has with other inputs."""
        assert step.recipe is not None
        known = {name: inputs[name] for name in step.needs if name in inputs}
        return self._book.digest_with(step, step.recipe, known) if known else step.recipe.digest
