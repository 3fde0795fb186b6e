"""What a store has of the steps that are planned: results found by their recipes, names, footers."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from functionfuse._warning import warn_user
from functionfuse.errors import CorruptRecord, TaskNotFound
from functionfuse.file_check import files_used, marked, stale_files
from functionfuse.stores import RecipeStore, described, is_hidden, state_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from functionfuse.backends.options import Reuse
    from functionfuse.plan import Step
    from functionfuse.stores import Store

    Footer = Mapping[str, Any]


class Lookup:
    """Asks a store about the steps of plans, as few times as it can.

    Args:
        store: the store.
        workflow_name: the workflow of the steps.
        reuse: which results are reused: "recipe", "name" or "never".

    Attributes:
        finder: the store, if it finds results by their recipes and is to do so.
        stale: by full name, of steps whose recipes find a result with files: which file is not what it was.
    """

    def __init__(self, store: Store, workflow_name: str, reuse: Reuse) -> None:
        self.finder = store if reuse == "recipe" and isinstance(store, RecipeStore) else None
        self.stale: dict[str, str] = {}
        self._store = store
        self._workflow_name = workflow_name
        self._reuses = reuse != "never"
        self._footers: dict[tuple[str, str], Footer | str] = {}
        self._digests: dict[str, str] = {}  # by full name: under which a result is found, where not under its recipe's
        self._links: dict[str, dict[str, str]] = {}

    @cached_property
    def equal(self) -> dict[str, str]:
        """Which recipes have equal results; asked for once, and only if something is not found."""
        return {} if self.finder is None else dict(self.finder.equal_results())

    def names(self, workflow_name: str, names: Sequence[str]) -> set[str]:
        """Return those of some names that have a result which may be reused.

        Args:
            workflow_name: of the workflow; that of the steps, or of the states of its objects.
            names: full names of steps.
        """
        return self._store.has_tasks(workflow_name, names) if names and self._reuses else set()

    def found(self, workflow_name: str, steps: Iterable[Step], prefix: str) -> set[str]:
        """Return the full names of the steps whose recipes find a result.

        Args:
            workflow_name: of the workflow; that of the steps, or of the states of its objects.
            steps: some steps.
            prefix: what comes before their names.
        """
        if self.finder is None:
            return set()
        digests = {prefix + step.name: step.recipe.digest for step in steps if step.recipe is not None}
        found = set(self.finder.find_results(workflow_name, digests)) if digests else set()
        if workflow_name == self._workflow_name and files_used():
            found |= self._found_with_files(self.finder, {name: digests[name] for name in digests.keys() - found})
        return found

    def _found_with_files(self, finder: RecipeStore, recipes: Mapping[str, str]) -> set[str]:
        """Return the names whose recipes find a result with files, if these are what they were."""
        found = set()
        digests = {name: marked(digest) for name, digest in recipes.items()}
        for name in finder.find_results(self._workflow_name, digests) if digests else ():
            try:
                footer = finder.result_info(self._workflow_name, digests[name])
            except (TaskNotFound, CorruptRecord):  # it is made again
                continue
            stale = stale_files(footer.get("meta"))
            if stale:
                self.stale[name] = stale
            else:
                self._digests[name] = digests[name]
                found.add(name)
        return found

    def found_as(self, digests: Mapping[str, str]) -> set[str]:
        """Return the full names of steps for which other recipes than their own find a result.

        Args:
            digests: of the recipes, by full name.
        """
        if self.finder is None or not digests:
            return set()
        found = set(self.finder.find_results(self._workflow_name, digests))
        self._digests.update((name, digests[name]) for name in found)
        return found

    def note_found(self, full_name: str, digest: str) -> None:
        """Note under which digest the result of a step was found.

        Args:
            full_name: of the step.
            digest: of the recipe that found it.
        """
        self._digests[full_name] = digest

    def found_under(self) -> list[str]:
        """Return the digests under which results were found, where they are not those of the steps' recipes."""
        return list(self._digests.values())

    def footer(self, workflow_name: str, name: str) -> Footer | str:
        """Return the footer of what has a name, or why it cannot be had.

        Args:
            workflow_name: of the workflow; that of the steps, or of the states of its objects.
            name: full name of a step.
        """
        self.read_footers(workflow_name, [name])
        return self._footers[workflow_name, name]

    def read_footers(self, workflow_name: str, names: Iterable[str]) -> None:
        """Read footers that will be asked for.

        Args:
            workflow_name: of the workflow; that of the steps, or of the states of its objects.
            names: full names of steps.
        """
        wanted = [name for name in names if (workflow_name, name) not in self._footers]
        read: Mapping[str, Footer | CorruptRecord] = {}
        if wanted and self._reuses:
            read = _footers(self._store, workflow_name, wanted)
        for name in wanted:
            footer = read.get(name, "no result yet")
            if isinstance(footer, CorruptRecord):
                known_as = state_of(name) if is_hidden(workflow_name) else name
                warn_user(f"{described(known_as)} is damaged and will be made again: {footer}")
                footer = f"the stored result is damaged: {footer}"
            self._footers[workflow_name, name] = footer

    def forget(self) -> None:
        """Forget what was read: the next plan asks again."""
        self._footers.clear()

    def link(self, workflow_name: str, step: Step, full_name: str) -> None:
        """Note that the name of a step shall have the result that was found for it.

        Args:
            workflow_name: of the workflow; that of the steps, or of the states of its objects.
            step: the step.
            full_name: its name with those of the dynamic steps around it.
        """
        assert step.recipe is not None
        digest = step.recipe.digest if is_hidden(workflow_name) else self._digests.get(full_name, step.recipe.digest)
        self._links.setdefault(workflow_name, {})[full_name] = digest

    def take_links(self) -> dict[str, dict[str, str]]:
        """Return which names shall have which results, since this was asked last: digests by name, by workflow."""
        links, self._links = self._links, {}
        return links


def _footers(store: Store, workflow_name: str, names: Iterable[str]) -> Mapping[str, Footer | CorruptRecord]:
    """Return the footers of those names that have a result, or why one is damaged."""
    if isinstance(store, RecipeStore):
        return store.infos(workflow_name, names)
    read: dict[str, Footer | CorruptRecord] = {}
    for name in names:
        try:
            read[name] = store.info(workflow_name, name)
        except TaskNotFound:
            continue
        except CorruptRecord as error:
            read[name] = error
    return read
