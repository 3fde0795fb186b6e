"""What a backend asks of a store.

A store keeps one record for each node of a workflow: the node's result, and beside it a JSON footer with
the recipe that the result was made from. ``functionfuse-storage`` ships stores; any class with these
methods is one. ``functionfuse.testing.StoreTests`` is the conformance suite for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from importlib.metadata import EntryPoint
    from inspect import Parameter

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
            pattern: the glob; with both, it counts.

        Raises:
            TaskNotFound: there is no result under ``task_name``.
            OptionError: neither a name nor a glob is given.
        """


def open_store(location: str, **options: Any) -> Catalogue:
    """Return the store at a location: `"file:results"`, `"file:///data/results"`, `"s3://bucket/prefix"`.

    What stands before the colon is the kind of the store, in any case of letters. What has no colon is a folder.

    Args:
        location: of the store.
        options: further options of that kind of store, like `endpoint_url`.

    Raises:
        OptionError: no installed package has stores of this kind, or the options cannot be used.
    """
    from functionfuse.errors import OptionError

    kind, colon, rest = location.partition(":")
    if not colon or len(kind) == 1:  # the drive of a path on Windows
        kind, rest = "file", location
    known = _kinds()
    by_lower = {name.lower(): name for name in known}
    if kind.lower() not in by_lower:
        raise OptionError(f"cannot open {location!r}: {_unknown_kind(kind, known)}")
    kind = by_lower[kind.lower()]
    maker = _maker(kind, known)
    parse = getattr(maker, "parse_location", None)
    found = parse(rest) if parse else {next(iter(_parameters(maker)), "path"): rest}
    return _made(kind, maker, {**found, **options})  # type: ignore[no-any-return]


def store_kinds() -> list[str]:
    """Return the kinds of stores that installed packages have, sorted."""
    return sorted(_kinds(), key=str.lower)


def make_store(kind: str, options: Mapping[str, Any]) -> Any:
    """Return a new store of a kind.

    The kinds are the entry points `functionfuse.stores` of installed packages. Each names a class, or a function
    that returns a store. Its parameters are the options of the kind. `open_store` passes what stands behind the
    colon as the first of them, or, where the class has a static method `parse_location`, the mapping of options
    that this returns for it.

    Args:
        kind: of the store, like `"file"`.
        options: arguments by name.

    Raises:
        OptionError: no installed package has stores of this kind, or the options cannot be used.
    """
    from functionfuse.errors import OptionError

    known = _kinds()
    if not isinstance(kind, str) or kind not in known:
        raise OptionError(_unknown_kind(kind, known))
    return _made(kind, _maker(kind, known), options)


def _kinds() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # takes longer to import than this package

    return {entry.name: entry for entry in entry_points(group="functionfuse.stores")}


def _unknown_kind(kind: object, known: Iterable[str]) -> str:
    from functionfuse._suggestions import did_you_mean

    names = sorted(known, key=str.lower)
    available = ", ".join(map(repr, names)) or "none; pip install functionfuse-storage"
    return f"no store of kind {kind!r}; available: {available}{did_you_mean(str(kind), names)}"


def _maker(kind: str, known: Mapping[str, EntryPoint]) -> Callable[..., Any]:
    from functionfuse.errors import OptionError

    entry = known[kind]
    try:
        return entry.load()  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as error:
        raise OptionError(f"stores of kind {kind!r} cannot be used: {entry.value!r} failed to load: {error}") from error


def _parameters(maker: Callable[..., Any]) -> Mapping[str, Parameter]:
    from inspect import signature

    return signature(maker).parameters


def _made(kind: str, maker: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """Return a store after a check of the names of its options."""
    from functionfuse._suggestions import did_you_mean
    from functionfuse.errors import OptionError

    parameters = _parameters(maker)
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    named = {name: one for name, one in parameters.items() if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)}
    for name in options:
        if name not in named and not takes_any:
            known = ", ".join(map(repr, named))
            raise OptionError(
                f"a store of kind {kind!r} has no option {name!r}; options: {known}{did_you_mean(str(name), named)}"
            )
    for name, parameter in named.items():
        if parameter.default is parameter.empty and name not in options:
            raise OptionError(f"a store of kind {kind!r} needs option {name!r}")
    return maker(**options)
