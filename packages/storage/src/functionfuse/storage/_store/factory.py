"""Make a store from its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from functionfuse._suggestions import did_you_mean
from functionfuse.errors import OptionError
from functionfuse.original import takes_original_names
from functionfuse.stores import Catalogue, make_store, store_kinds

if TYPE_CHECKING:
    from types import EllipsisType

    from .._serialize.serializers import Serializer
    from .bound import WorkflowReader, WorkflowSaver, WorkflowStarter
    from .collecting import Collected
    from .results import Results


class ResultStore(Catalogue, Protocol):
    """The verbs of the stores of this package, whose classes describe them."""

    def has_task(self, workflow_name: str, task_name: str, *, recipe: Mapping[str, str] | None = None) -> bool:
        """Return True if there is a result; see `FileStore`.

        Args:
            workflow_name: of the workflow.
            task_name: of the result.
            recipe: that the result must have.
        """

    def results(self, workflow_name: str, pattern: str = "*") -> Results:
        """Return a table of the results of a workflow; see `FileStore`.

        Args:
            workflow_name: of the workflow.
            pattern: a glob over names.
        """

    def register_persistent_serializers(self, *serializers: Serializer | type) -> None:
        """Use these serializers for saving and loading; see `FileStore`."""

    def check_workflow(self, workflow_name: str, pattern: str = "*") -> list[tuple[str, str]]:
        """Return the damaged results of a workflow; see `FileStore`.

        Args:
            workflow_name: of the workflow.
            pattern: a glob over names.
        """

    def gc(
        self,
        workflow_name: str | None = None,
        grace: float = 86400.0,
        *,
        keep_runs: int | EllipsisType | None = ...,
        older_than: float = 86400.0,
        max_size: int | str | EllipsisType | None = ...,
        dry_run: bool = False,
    ) -> Collected:
        """Remove results that are not kept, and what no result refers to; see `FileStore`.

        Args:
            workflow_name: the workflow; None for all.
            grace: seconds for which blobs, and what writers left, are kept.
            keep_runs: of how many runs of each workflow results are kept; None for all.
            older_than: seconds for which a result is kept that was made or read.
            max_size: bytes that all results may take.
            dry_run: remove nothing.
        """

    def get_writer_funcs(self, workflow_name: str) -> tuple[WorkflowStarter, WorkflowReader, WorkflowSaver]:
        """Return functions for the results of one workflow; see `FileStore`."""

    def config(self) -> dict[str, Any]:
        """Return what `storage_factory` makes this store from again; without secrets."""


@takes_original_names
def storage_factory(config: Mapping[str, Any]) -> ResultStore:
    """Return the store that `{"kind": ..., "options": {...}}` describes.

    The kinds are the entry points `functionfuse.stores` of installed packages; see `functionfuse.stores.make_store`.

    Raises:
        OptionError: kind or options cannot be used; the message names what could.
        StorageError: the location that the options name cannot be used.
    """
    if not isinstance(config, Mapping):
        raise OptionError(f"storage_factory needs {{'kind': ..., 'options': {{...}}}}, got {config!r}")
    for key in config:
        if key not in ("kind", "options"):
            hint = did_you_mean(str(key), ("kind", "options"))
            raise OptionError(f"storage_factory knows 'kind' and 'options', not {key!r}{hint}")
    kind, options = config.get("kind"), config.get("options", {})
    if kind is None:
        raise OptionError(f"storage_factory needs a 'kind'; available: {', '.join(map(repr, store_kinds()))}")
    if not isinstance(options, Mapping):
        raise OptionError(f"'options' must be a mapping, got {options!r}")
    return make_store(kind, options)  # type: ignore[no-any-return]
