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
    """The workflow under which a backend keeps the states of a workflow's objects, one for each call.

    Stores do not list it, and remove it with the workflow itself.
    """
    return workflow_name + OBJECTS


def state_of(name: str) -> str:
    """What the state of an object after a step is called, where it must not be taken for the step's result."""
    return f"{name}\0state"


def described(known_as: str) -> str:
    """Say what is stored under a name, or under that of a state (:func:`state_of`)."""
    name = known_as.removesuffix("\0state")
    return f"the stored result of {name!r}" if name == known_as else f"the stored state of an object after {name!r}"


@runtime_checkable
class Store(Protocol):
    """The verbs of a store that a backend uses.

    Errors are those of :mod:`functionfuse.errors` under ``StorageError``.
    """

    always_read: bool
    """When true, a backend passes on what it reads back after saving, not what the function returned."""

    def new_workflow(self, workflow_name: str) -> None:
        """Make room for the results of a workflow; existing results stay."""

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
        """Store a result in one visible step, and return its footer.

        With ``create`` an existing valid result is never replaced: LostRace.
        """

    def read_task(self, workflow_name: str, task_name: str) -> Any:
        """Return the stored result. TaskNotFound when there is none."""

    def info(self, workflow_name: str, task_name: str) -> Mapping[str, Any]:
        """Return the footer, without reading the result: ``name``, ``recipe``, ``created``, ``meta`` ..."""

    def has_tasks(self, workflow_name: str, names: Iterable[str]) -> set[str]:
        """Which of these names have a result; one question for a whole run."""


@runtime_checkable
class Catalogue(Store, Protocol):
    """The verbs of a store that can say what it holds, and remove it."""

    def list_workflows(self) -> list[str]:
        """Return the names of all workflows, sorted."""

    def remove_workflow(self, workflow_name: str) -> bool:
        """Remove a workflow with all its results; whether there was one."""

    def list_tasks(self, workflow_name: str, pattern: str = "*") -> list[str]:
        """Return the names with a result, sorted; ``pattern`` is a glob over names."""

    def remove_task(self, workflow_name: str, task_name: str | None = None, pattern: str | None = None) -> list[str]:
        """Remove the result of one name, or of all that match a glob; return the names.

        TaskNotFound for a name without a result.
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
