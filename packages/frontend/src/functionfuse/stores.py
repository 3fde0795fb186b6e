"""What a backend asks of a store.

A store keeps one record for each node of a workflow: the node's result, and beside it a JSON footer with
the recipe that the result was made from. ``functionfuse-storage`` ships stores; any class with these
methods is one. ``functionfuse.testing.StoreTests`` is the conformance suite for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from importlib.metadata import EntryPoint
    from inspect import Parameter

    from functionfuse.errors import CorruptRecord, StorageError

    StoredRecipe = Mapping[str, str]


OBJECTS = "\0objects"
CAPSULES = "\0capsules"
RUNS = "\0runs"


def objects_of(workflow_name: str) -> str:
    """Return the name of the workflow under which a backend keeps the states of a workflow's stateful objects.

    There is one state for each call. Stores do not list this workflow, and remove it with the workflow itself.
    """
    return workflow_name + OBJECTS


def capsules_of(workflow_name: str) -> str:
    """Return the name of the workflow under which a backend keeps the failure capsules of a workflow's nodes.

    Stores treat it as that of `objects_of`.
    """
    return workflow_name + CAPSULES


def runs_of(workflow_name: str) -> str:
    """Return the name of the workflow under which a backend keeps the records of a workflow's runs, by their ids.

    Stores treat it as that of `objects_of`. `functionfuse.runs` reads the records.
    """
    return workflow_name + RUNS


def hidden_of(workflow_name: str) -> tuple[str, ...]:
    """Return the names under which a backend keeps what belongs to a workflow, beside its results."""
    return objects_of(workflow_name), capsules_of(workflow_name), runs_of(workflow_name)


def is_hidden(workflow_name: str) -> bool:
    """Return True for a name that `hidden_of` returns."""
    return workflow_name.endswith((OBJECTS, CAPSULES, RUNS))


def keeps_runs(store: Any) -> bool:
    """Return True if runs leave a record in a store: in one that keeps recipes, unless its `keeps_runs` says no."""
    return store is not None and bool(getattr(store, "keeps_runs", getattr(store, "keeps_recipes", True)))


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
class RecipeStore(Store, Protocol):
    """The verbs of a store that finds results by their recipes, whatever the names under which they were saved.

    What `save` was given with a recipe that has a ``digest``, and without `create`, is found from then on. It stays
    when another result takes its name, and goes with the last of its names. States of stateful objects (`objects_of`)
    are found among states.
    """

    def find_results(self, workflow_name: str, digests: Mapping[str, str]) -> Collection[str]:
        """Return the names whose recipes find a result, with one query for a whole plan.

        Args:
            workflow_name: the workflow that the names belong to.
            digests: of recipes, by name.
        """

    def infos(self, workflow_name: str, names: Iterable[str]) -> Mapping[str, Mapping[str, Any] | CorruptRecord]:
        """Return the footers of those of some names that have a result, with as few queries as there can be.

        Args:
            workflow_name: the workflow that the results belong to.
            names: names of results.

        Returns:
            By name the footer, or why it cannot be read.
        """

    def result_info(self, workflow_name: str, digest: str) -> Mapping[str, Any]:
        """Return the footer of the result that a recipe finds.

        Args:
            workflow_name: a workflow.
            digest: of the recipe.

        Raises:
            TaskNotFound: there is none.
            CorruptRecord: the stored bytes are damaged.
        """

    def link_results(self, workflow_name: str, digests: Mapping[str, str]) -> Mapping[str, StorageError]:
        """Let names have the results that their recipes find, as if these had been saved under them.

        Args:
            workflow_name: the workflow that the names belong to.
            digests: of recipes, by name.

        Returns:
            Why a name could not get its result, for each of these: TaskNotFound, or CorruptRecord.
        """

    def content_digest(self, obj: object) -> str:
        """Return what the footer of a result would have as ``content_digest``; "" if that cannot be told.

        Args:
            obj: the result, which is not stored.
        """

    def equal_results(self) -> Mapping[str, str]:
        """Return which recipes have results that equal those of others, as `equate_results` noted: digests of both."""

    def equate_results(self, workflow_name: str, digest: str, other: str) -> None:
        """Note that the result of a recipe equals that of another recipe, for `equal_results`.

        Whether two results are equal is told by ``content_digest`` of their footers. Where a footer has a true
        ``has_code``, the result refers to code of the user's project, and no other one is taken for equal.

        Args:
            workflow_name: a workflow.
            digest: of the recipe.
            other: of the recipe that stands for both.

        Raises:
            TaskNotFound: there is no result of the recipe.
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
