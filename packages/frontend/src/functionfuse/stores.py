"""What a backend asks of a store.

A store keeps one record for each node of a workflow: the node's result, and beside it a JSON footer with
the recipe that the result was made from. ``functionfuse-storage`` ships stores; any class with these
methods is one. ``functionfuse.testing.StoreTests`` is the conformance suite for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    StoredRecipe = Mapping[str, str]


OBJECTS = "\0objects"


def objects_of(workflow_name: str) -> str:
    """Return the name of the workflow under which a backend keeps the states of a workflow's stateful objects.

    There is one state for each call. Stores do not list this workflow, and remove it with the workflow itself.
    """
    return workflow_name + OBJECTS


def state_of(name: str) -> str:
    """Return the name of a stateful object's state after a step, where the step's own name means its result."""
    return f"{name}\0state"


def described(known_as: str) -> str:
    """Return words for what is stored under a name, or under the name of a state (`state_of`)."""
    name = known_as.removesuffix("\0state")
    return f"the stored result of {name!r}" if name == known_as else f"the stored state of an object after {name!r}"


@runtime_checkable
class Store(Protocol):
    """The verbs of a store that a backend uses.

    Errors are those of `functionfuse.errors` under `StorageError`.
    """

    always_read: bool
    """When true, a backend passes on what it reads back after saving, not what the function returned."""

    def new_workflow(self, workflow_name: str) -> None:
        """Create a workflow if there is none of this name; existing results stay."""

    def save(
        self,
        workflow_name: str,
        task_name: str,
        obj: object,
        *,
        recipe: StoredRecipe | None = None,
        meta: Mapping[str, Any] | None = None,
        create: bool = False,
    ) -> Mapping[str, Any]:
        """Store a result atomically, and return its footer.

        Args:
            workflow_name: the workflow that the result belongs to.
            task_name: the name of the result, any non-empty string.
            obj: the result.
            recipe: digests of all that makes the result; None for a result that is not reused by recipe.
            meta: more that the footer shall hold; JSON.
            create: never replace an existing valid result.

        Raises:
            LostRace: with ``create``, another writer stored the result first.
        """

    def read_task(self, workflow_name: str, task_name: str) -> Any:
        """Return the stored result.

        Args:
            workflow_name: the workflow that the result belongs to.
            task_name: the name of the result.

        Raises:
            TaskNotFound: there is none.
            CorruptRecord: the stored bytes are damaged.
        """

    def info(self, workflow_name: str, task_name: str) -> Mapping[str, Any]:
        """Return the footer, without reading the result: ``name``, ``recipe``, ``created``, ``meta`` ...

        Args:
            workflow_name: the workflow that the result belongs to.
            task_name: the name of the result.

        Raises:
            TaskNotFound: there is none.
            CorruptRecord: the stored bytes are damaged.
        """

    def has_tasks(self, workflow_name: str, names: Iterable[str]) -> set[str]:
        """Return those of some names that have a result, with one query for a whole run.

        Args:
            workflow_name: the workflow that the results belong to.
            names: names of results.
        """


@runtime_checkable
class Catalogue(Store, Protocol):
    """The verbs of a store that lists and removes what it holds."""

    def list_workflows(self) -> list[str]:
        """Return the names of all workflows, sorted."""

    def remove_workflow(self, workflow_name: str) -> bool:
        """Remove a workflow with all its results; return True if there was one."""

    def list_tasks(self, workflow_name: str, pattern: str = "*") -> list[str]:
        """Return the names with a result, sorted.

        Args:
            workflow_name: the workflow that the results belong to.
            pattern: a glob over names; it respects case.
        """

    def remove_task(self, workflow_name: str, task_name: str | None = None, pattern: str | None = None) -> list[str]:
        """Remove the result of one name, or of all names that match a glob; return the names removed.

        Args:
            workflow_name: the workflow that the results belong to.
            task_name: the one name.
            pattern: the glob.

        Raises:
            TaskNotFound: there is no result under ``task_name``.
            OptionError: both a name and a glob are given, or neither.
        """


def open_store(place: str, **options: Any) -> Catalogue:
    """Return the store at a place: ``"file:results"``, ``"file:///data/results"``, ``"s3://bucket/prefix"``.

    What stands before the colon is looked up among the entry points ``functionfuse.stores`` of installed packages;
    what has no colon is a folder.

    Args:
        place: where the store is.
        options: further options of that kind of store, like ``endpoint_url``.

    Raises:
        OptionError: no installed package has stores of this kind.
    """
    from importlib.metadata import entry_points  # takes longer to import than this package

    from functionfuse.errors import OptionError

    kind, colon, _ = place.partition(":")
    kind = kind if colon else "file"
    found = {entry.name: entry for entry in entry_points(group="functionfuse.stores")}
    if kind not in found:
        known = ", ".join(f"{name}:" for name in sorted(found)) or "none; install functionfuse-storage"
        raise OptionError(f"no store can be opened at {place!r}; kinds of places that are known: {known}")
    opener = found[kind].load()
    return opener(place, **options)  # type: ignore[no-any-return]
