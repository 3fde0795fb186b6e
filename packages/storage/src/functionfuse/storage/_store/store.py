"""The store: names, records and rules, over whichever transport moves the bytes."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from functionfuse._suggestions import did_you_mean
from functionfuse.errors import (
    CorruptRecord,
    LostRace,
    OptionError,
    TaskNotFound,
    UnsupportedRecord,
)
from functionfuse.original import takes_original_names
from functionfuse.stores import OBJECTS, objects_of

from .._record.names import check, is_shortened
from .._record.reading import read_record
from .._record.writing import Draft, write_record
from .._serialize.serializers import SerializerRegistry
from .._store import maintenance
from .bound import WorkflowReader, WorkflowSaver, WorkflowStarter
from .lookup import Records
from .results import Results, read_rows, workflows_table
from .tables import SHOWN
from .transport import Absent, RecordExists

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .._record.format import Footer
    from .._record.writing import Reducer
    from .._serialize.serializers import Serializer
    from .transport import Blobs, Sink, Transport

_FEW = 100  # names that are looked up one by one sooner than by a listing


class RecordStore:
    """Results of workflows, each saved once, atomically and checked.

    All errors are `StorageError`, but for what pickling and unpickling of the
    caller's own objects raises, which passes through with a note.

    Args:
        transport: moves the bytes.
        sign_key: reference to the key of signed records.
    """

    _reducers: Mapping[type, Reducer] = MappingProxyType({})

    def __init__(self, transport: Transport, *, sign_key: str | None = None) -> None:
        self.always_read = False
        """When true, a backend passes on what it reads back after saving, not what the function returned."""
        self._transport = transport
        self._records = Records(transport, sign_key)
        self._registry = SerializerRegistry()

    # Workflows

    def new_workflow(self, workflow_name: str) -> None:
        """Make room for the results of a workflow; existing results stay."""
        self._transport.make_folder(self._records.encode(workflow_name))

    def list_workflows(self) -> list[str]:
        """Return the names of all workflows, sorted."""
        names = (self._records.workflow_of(folder) for folder in self._transport.folders())
        return sorted(name for name in names if name is not None and not name.endswith(OBJECTS))

    def remove_workflow(self, workflow_name: str) -> bool:
        """Remove a workflow with all its results; return True if it existed.

        In a folder that is atomic; in a bucket, results are removed before all else.
        """
        self._transport.remove_folder(self._records.encode(objects_of(workflow_name)))
        return self._transport.remove_folder(self._records.encode(workflow_name))

    # Results

    @takes_original_names
    def save(
        self,
        workflow_name: str,
        task_name: str,
        obj: object,
        *,
        recipe: Mapping[str, str] | None = None,
        meta: Mapping[str, Any] | None = None,
        create: bool = False,
        uid: str | None = None,
    ) -> Footer:
        """Store a result atomically, and return its footer.

        Until it is complete readers see the old result, and they still do when saving fails. With `create` one of many
        writers wins; the others get LostRace and can read the result of the winner.

        Args:
            workflow_name: of the workflow.
            task_name: of the result.
            obj: the result.
            recipe: what the result is made from, strings to strings; kept in the footer.
            meta: further facts that JSON can hold; kept in the footer.
            create: never replace a valid result: LostRace.
            uid: of this save; a retry with the same one is no lost race.

        Raises:
            LostRace: with `create`, another writer was first.
            StorageError: the result could not be written.
        """
        draft = make_draft(workflow_name, task_name, recipe, meta, uid)
        fill = partial(
            write_record,
            obj=obj,
            draft=draft,
            registry=self._registry,
            key=self._records.key(),
            reducers=self._reducers,
        )
        return self._publish(draft, fill, create=create)

    def _publish(self, draft: Draft, fill: Callable[[Sink, Blobs], Footer], *, create: bool) -> Footer:
        """Let `fill` write the record of a draft, and delete the blobs of the one that it replaces."""
        records = self._records
        workflow_name, task_name = draft.workflow, draft.name
        folder, stem = records.encode(workflow_name), records.encode(task_name)
        previous: Footer | None = None

        def may_replace() -> bool:
            nonlocal previous
            previous = records.replaced_by(workflow_name, task_name)
            return not create or previous is None or not records.is_valid(workflow_name, task_name)

        try:
            footer = self._transport.publish(folder, stem, fill, may_replace=may_replace, create=create)
        except RecordExists:
            return _own_or_lost(previous, draft)
        # After a lost response, the record that a retry replaces is this one.
        replaced = [blob["id"] for blob in previous["blobs"] if blob not in footer["blobs"]] if previous else []
        if replaced:
            self._transport.remove_blobs(folder, replaced)
        return footer

    def read_task(self, workflow_name: str, task_name: str, *, check: bool | None = None) -> Any:
        """Return the stored result, which the caller may change freely.

        Args:
            workflow_name: of the workflow.
            task_name: of the result.
            check: whether to compare the content with its checksums; a signature is always checked.

        Raises:
            TaskNotFound: there is none.
            CorruptRecord: the bytes are not what was written.
            MissingSerializer: it needs a serializer that is not registered.
        """
        blobs = self._transport.blobs(self._records.encode(workflow_name))
        fetch = partial(self._records.whole, workflow_name, task_name, check=check is not False)
        try:
            return read_record(fetch, self._registry, blobs)
        except Absent:
            raise self._not_found(workflow_name, task_name) from None

    def info(self, workflow_name: str, task_name: str) -> Footer:
        """Return the footer, without reading the result: `recipe`, `created`, `type`, `meta` ...

        Args:
            workflow_name: of the workflow.
            task_name: of the result.

        Raises:
            TaskNotFound: there is none.
            CorruptRecord: the footer is damaged.
        """
        footer = self._records.find(workflow_name, task_name)
        if footer is None:
            raise self._not_found(workflow_name, task_name)
        return footer

    @takes_original_names
    def has_task(self, workflow_name: str, task_name: str, *, recipe: Mapping[str, str] | None = None) -> bool:
        """Return True if there is a result, without reading its content.

        Args:
            workflow_name: of the workflow.
            task_name: of the result.
            recipe: that the result must be made from; None accepts any.
        """
        try:
            footer = self._records.find(workflow_name, task_name)
        except CorruptRecord:
            return False
        return footer is not None and (recipe is None or footer["recipe"] == dict(recipe))

    file_exists = has_task

    def has_tasks(self, workflow_name: str, names: Iterable[str]) -> set[str]:
        """Return which of these names have a result.

        This is found by listing: damage shows when a result is read.

        Args:
            workflow_name: of the workflow.
            names: of results.
        """
        folder = self._records.encode(workflow_name)
        stems = {name: self._records.encode(name) for name in names}
        if len(stems) <= _FEW:
            there = {stem for stem in stems.values() if self._transport.exists(folder, stem)}
        else:
            there = set(self._transport.stems(folder))
        return {
            name
            for name, stem in stems.items()
            if stem in there and (not is_shortened(stem) or self.has_task(workflow_name, name))
        }

    def list_tasks(self, workflow_name: str, pattern: str = "*") -> list[str]:
        """Return the names with a result, sorted.

        Args:
            workflow_name: of the workflow.
            pattern: a glob over names.
        """
        return sorted(name for name, _ in self._records.listed(workflow_name, pattern) if name is not None)

    def results(self, workflow_name: str, pattern: str = "*") -> Results:
        """Return what there is, without reading it: a sequence of rows that notebooks show as a table.

        Each row has `name`, `type`, `shape`, `size`, `created` and `duration`. Damaged results are
        listed with their `problem`; one whose very name cannot be read goes by its file name.

        Args:
            workflow_name: of the workflow.
            pattern: a glob over names.
        """
        listed = ((name or stem, stem) for name, stem in self._records.listed(workflow_name, pattern))
        return Results(workflow_name, sorted(listed), partial(read_rows, self._records))

    def remove_task(self, workflow_name: str, task_name: str | None = None, pattern: str | None = None) -> list[str]:
        """Remove one result, or all whose names match a glob; return the names removed.

        No serializer is needed. With both arguments, the glob counts.

        Args:
            workflow_name: of the workflow.
            task_name: of the one result to remove.
            pattern: a glob over names, for all that match.

        Raises:
            TaskNotFound: there is no result of this name.
            OptionError: neither `task_name` nor `pattern` is given.
        """
        if pattern is not None:
            return [name for name in self.list_tasks(workflow_name, pattern) if self._remove(workflow_name, name)]
        if task_name is None:
            raise OptionError("remove_task needs task_name or pattern")
        if not self._remove(workflow_name, task_name):
            raise self._not_found(workflow_name, task_name)
        return [task_name]

    # Serializers, care, configuration

    def register_persistent_serializers(self, *serializers: Serializer | type) -> None:
        """Use these serializers for saving and loading, from now on and in pickled copies of this store.

        Each is a `Serializer`, an instance or the class; or has the same methods; or is one of the
        original Function Fuse, a class with `serializer_class`, `pickle` and `unpickle`. They come
        before those that installed packages declare as entry points, which need no registering.

        Raises:
            OptionError: an object is not a serializer.
        """
        for serializer in serializers:
            self._registry.register(serializer)

    def check_workflow(self, workflow_name: str, pattern: str = "*") -> list[tuple[str, str]]:
        """Read and check every result, without unpickling; return the damaged ones and what is wrong.

        Args:
            workflow_name: of the workflow.
            pattern: a glob over names.
        """
        return maintenance.check_workflow(self._records, workflow_name, pattern)

    def gc(self, workflow_name: str, grace: float = 86400.0) -> list[str]:
        """Delete what no result refers to and no process is writing; return the names of what was deleted.

        That is blobs and unfinished records older than `grace`, and the unfinished records of ended processes.
        All blobs stay if any record cannot be read: it may refer to them.

        Args:
            workflow_name: of the workflow.
            grace: seconds for which it is kept.
        """
        return maintenance.collect(self._records, workflow_name, grace)

    def get_writer_funcs(self, workflow_name: str) -> tuple[WorkflowStarter, WorkflowReader, WorkflowSaver]:
        """Return `(new_workflow, read_object, save_func)`, bound to a workflow.

        `read_object` has `read_task(task_name)`, `file_exists(task_name)` and `list_tasks(pattern)`;
        `save_func` is called with `(task_name, obj)`. All three can be pickled.
        """
        self._records.encode(workflow_name)
        return (
            WorkflowStarter(self, workflow_name),
            WorkflowReader(self, workflow_name),
            WorkflowSaver(self, workflow_name),
        )

    def config(self) -> dict[str, Any]:
        """Return what `storage_factory` makes this store from again; JSON, without secrets.

        Raises:
            NotImplementedError: the subclass does not define it.
        """
        raise NotImplementedError

    def _repr_html_(self) -> str:
        """Return the workflows as a table; notebooks call this."""
        names = self.list_workflows()
        counts = [(name, len(self.list_tasks(name))) for name in names[:SHOWN]]
        return workflows_table(repr(self), counts, len(names) - len(counts)).html()

    # How

    def _remove(self, workflow_name: str, task_name: str) -> bool:
        """Remove a result, then the blobs that only it referred to; return True if there was one."""
        folder, stem = self._records.encode(workflow_name), self._records.encode(task_name)
        blobs: list[str] = []
        try:
            footer = self._records.footer_at(folder, stem, None)
            if footer["name"] != task_name:
                return False
            blobs = [blob["id"] for blob in footer["blobs"]]
        except Absent:
            return False
        except (CorruptRecord, UnsupportedRecord):
            pass  # its blobs, if any, are left to gc
        try:
            self._transport.remove(folder, stem)
        except Absent:
            return False
        self._transport.remove_blobs(folder, blobs)
        return True

    def _not_found(self, workflow_name: str, task_name: str) -> TaskNotFound:
        names = self.list_tasks(workflow_name)
        if names:
            hint = did_you_mean(task_name, names) or "; list_tasks names what there is"
            return TaskNotFound(f"no result {task_name!r} in workflow {workflow_name!r}{hint}")
        hint = did_you_mean(workflow_name, self.list_workflows()) or "; list_workflows names what there is"
        return TaskNotFound(f"no result {task_name!r}: workflow {workflow_name!r} has no results{hint}")


def make_draft(
    workflow_name: str,
    task_name: str,
    recipe: Mapping[str, str] | None,
    meta: Mapping[str, Any] | None,
    uid: str | None,
) -> Draft:
    """Return what is known of a new record.

    Args:
        workflow_name: of the workflow.
        task_name: of the result.
        recipe: what the result is made from, strings to strings; kept in the footer.
        meta: further facts that JSON can hold; kept in the footer.
        uid: of this save; a retry with the same one is no lost race.

    Raises:
        InvalidNameError: a name is anything but a non-empty string.
        OptionError: `recipe` or `meta` cannot be used.
    """
    check(workflow_name)
    check(task_name)
    for option, given in (("recipe", recipe), ("meta", meta)):
        if given is not None and not isinstance(given, Mapping):
            raise OptionError(f"{option} must be a mapping, got {given!r}")
    parts = None if recipe is None else dict(recipe)
    if parts and not all(isinstance(text, str) for pair in parts.items() for text in pair):
        raise OptionError(f"recipe must map strings to strings, got {parts!r}")
    return Draft(workflow_name, task_name, uid or secrets.token_hex(16), parts, dict(meta or {}))


def _own_or_lost(stored: Footer | None, draft: Draft) -> Footer:
    """Return the stored footer if this very draft became it, else LostRace."""
    if stored is not None and stored["uid"] == draft.uid:
        return stored
    raise LostRace(
        f"result {draft.name!r} of workflow {draft.workflow!r} was stored by another writer; read_task returns it"
    )
