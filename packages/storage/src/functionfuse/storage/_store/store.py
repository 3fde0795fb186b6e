"""The store: names, records and rules, over whichever transport moves the bytes."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from functionfuse._suggestions import did_you_mean
from functionfuse._tables import SHOWN
from functionfuse.errors import (
    CorruptRecord,
    LostRace,
    OptionError,
    StorageError,
    TaskNotFound,
    UnsupportedRecord,
)
from functionfuse.original import takes_original_names
from functionfuse.run_reader import RunReader
from functionfuse.stores import hidden_of, is_hidden

from .._record.names import check, is_shortened
from .._record.reading import read_record
from .._record.writing import Draft, digest_of_content, write_record
from .._serialize.serializers import SerializerRegistry
from .._store import maintenance
from .bound import WorkflowReader, WorkflowSaver, WorkflowStarter
from .collecting import Limits, ResultCollector, check_keep_runs, check_max_size, check_seconds
from .drafts import DAY
from .importing import import_original
from .layout import RESULTS
from .lookup import Records
from .parallel import in_threads
from .results import Results, read_rows, workflows_table
from .shared import SharedResults, not_made
from .transport import Absent, Link, RecordExists

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable
    from types import EllipsisType

    from .._record.format import Footer
    from .._record.writing import Reducer
    from .._serialize.serializers import Serializer
    from .collecting import Collected
    from .transport import Blobs, Sink, Transport

_SECONDS = 5.0  # that the end of a run takes for removing results


class RecordStore(RunReader):
    """Results of workflows, each saved once, atomically and checked.

    All errors are `StorageError`, but for what pickling and unpickling of the
    caller's own objects raises, which passes through with a note.

    Args:
        transport: moves the bytes.
        sign_key: reference to the key of signed records.
        keep_runs: of how many runs of each workflow results are kept that no name has; None for all.
        max_size: bytes, or text like `"10 GiB"`, that all results may take; None for no limit.

    Raises:
        OptionError: `keep_runs` or `max_size` cannot be used.
    """

    _reducers: Mapping[type, Reducer] = MappingProxyType({})

    def __init__(
        self,
        transport: Transport,
        *,
        sign_key: str | None = None,
        keep_runs: int | None = 10,
        max_size: int | str | None = None,
    ) -> None:
        self.always_read = False
        """When true, a backend passes on what it reads back after saving, not what the function returned."""
        self._transport = transport
        self._records = Records(transport, sign_key)
        self._shared = SharedResults(self._records)
        self._registry = SerializerRegistry()
        self._limits = Limits(check_keep_runs(keep_runs), check_max_size(max_size))

    # Workflows

    def new_workflow(self, workflow_name: str) -> None:
        """Make room for the results of a workflow; existing results stay."""
        self._transport.make_folder(self._records.encode(workflow_name))

    def list_workflows(self) -> list[str]:
        """Return the names of all workflows, sorted."""
        names = (self._records.workflow_of(folder) for folder in self._transport.folders())
        return sorted(name for name in names if name is not None and not is_hidden(name))

    def remove_workflow(self, workflow_name: str) -> bool:
        """Remove a workflow with all its results; return True if it existed.

        In a folder that is atomic; in a bucket, results are removed before all else. Results that other workflows have
        too stay with those.
        """
        for name in (*hidden_of(workflow_name), workflow_name):
            shared = self._shared.footers(name)
            existed = self._transport.remove_folder(self._records.encode(name))
            self._shared.forget(shared)
        return existed

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

        A recipe with a ``digest`` finds the result from then on, under whichever name: see `find_results`. Such a
        result stays when another one takes its name.

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
        draft = make_draft(workflow_name, task_name, recipe, meta, uid, create=create)
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
        named = records.encode(draft.workflow), records.encode(draft.name)
        slot = _Slot(records, draft.workflow, draft.name, create=create)
        try:
            if draft.shared:
                assert draft.recipe is not None
                link = Link(*named)
                stem = records.stem_of(draft.workflow, draft.recipe["digest"])
                footer = self._transport.publish(
                    RESULTS, stem, fill, may_replace=slot.may_replace, create=False, link=link
                )
                if not link.is_made:
                    self._shared.refer(draft.workflow, draft.name, footer, slot.may_replace)
            else:
                footer = self._transport.publish(*named, fill, may_replace=slot.may_replace, create=create)
        except RecordExists:
            return _own_or_lost(slot.previous, draft)
        # After a lost response, the record that a retry replaces is this one.
        if slot.previous is not None and not slot.previous.get("shared"):
            replaced = [blob["id"] for blob in slot.previous["blobs"] if blob not in footer["blobs"]]
            self._transport.remove_blobs(named[0], replaced)
        return footer

    def find_results(self, workflow_name: str, digests: Mapping[str, str]) -> set[str]:
        """Return the names whose recipes find a result.

        A result is found whichever workflow and task saved it. This is found by listing: damage shows when a result
        is read.

        Args:
            workflow_name: of the workflow.
            digests: of recipes, by names of tasks.
        """
        return self._shared.find(workflow_name, digests)

    def result_info(self, workflow_name: str, digest: str) -> Footer:
        """Return the footer of the result that a recipe finds.

        Args:
            workflow_name: of the workflow.
            digest: of the recipe.

        Raises:
            TaskNotFound: there is none.
            CorruptRecord: the footer is damaged.
        """
        try:
            return self._shared.footer(workflow_name, digest)
        except Absent:
            raise not_made(workflow_name, digest) from None

    def link_results(self, workflow_name: str, digests: Mapping[str, str]) -> dict[str, StorageError]:
        """Let names have the results that their recipes find, as if these had been saved under them.

        Args:
            workflow_name: of the workflow.
            digests: of recipes, by names of tasks.

        Returns:
            Why a name could not get its result, for each of these: TaskNotFound, or CorruptRecord.
        """

        def link(name: str) -> StorageError | None:
            try:
                self._shared.link(
                    workflow_name, name, digests[name], _Slot(self._records, workflow_name, name).may_replace
                )
            except Absent:
                return not_made(workflow_name, digests[name])
            except CorruptRecord as error:
                return error
            return None

        names = self._shared.nameless(workflow_name, digests)
        problems = zip(names, in_threads(link, names), strict=True)
        return {name: problem for name, problem in problems if problem is not None}

    def content_digest(self, obj: object) -> str:
        """Return what the footer of a result would have as `content_digest`; "" if a serializer keeps files for it.

        Args:
            obj: the result, which is not stored.
        """
        return digest_of_content(obj, self._registry, self._reducers)

    def equal_results(self) -> dict[str, str]:
        """Return which recipes have results that equal those of others, as `equate_results` noted: digests of both."""
        return self._shared.equal()

    def equate_results(self, workflow_name: str, digest: str, other: str) -> None:
        """Note that the result of a recipe equals that of another recipe, for `equal_results`.

        Args:
            workflow_name: of the workflow.
            digest: of the recipe.
            other: of the recipe that stands for both.

        Raises:
            TaskNotFound: there is no result of the recipe.
        """
        try:
            self._shared.equate(workflow_name, digest, other)
        except Absent:
            raise not_made(workflow_name, digest) from None

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
        fetch = partial(self._records.whole, workflow_name, task_name, check=check is not False)
        try:
            return read_record(fetch, self._registry, self._blobs_of)
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

    def infos(self, workflow_name: str, names: Iterable[str]) -> dict[str, Footer | CorruptRecord]:
        """Return the footers of those of some names that have a result, or why a footer is damaged.

        Args:
            workflow_name: of the workflow.
            names: of results.
        """

        def read(name: str) -> Footer | CorruptRecord | None:
            try:
                return self._records.find(workflow_name, name)
            except CorruptRecord as error:
                return error

        asked = list(names)
        read_footers = zip(asked, in_threads(read, asked), strict=True)
        return {name: footer for name, footer in read_footers if footer is not None}

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
        there = self._transport.present(folder, set(stems.values()))
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
            return self._remove(workflow_name, self.list_tasks(workflow_name, pattern))
        if task_name is None:
            raise OptionError("remove_task needs task_name or pattern")
        removed = self._remove(workflow_name, [task_name])
        if not removed:
            raise self._not_found(workflow_name, task_name)
        return removed

    def import_original(self, path: str | os.PathLike[str], *, replace: bool = False) -> dict[str, list[str]]:
        """Save the results in a folder of the original Function Fuse under the same names; return these, by workflow.

        They have no recipes: `read_task`, `run(reuse="name")` and `set_cache("trust")` find them. A file
        that cannot be imported is left out with a warning that says why: its SHA-1 does not match, a class
        is not there any more. Objects that serializers of the original kept need these registered, but for
        dask arrays. The folder stays as it is, and may be that of this store.

        The files are pickles: import only what you trust.

        Args:
            path: of the folder that the original's store had.
            replace: also save those whose names have results; else these stay.

        Raises:
            OptionError: an argument cannot be used.
            StorageError: the path is not a folder of the original, or a result could not be written.
        """
        return import_original(self, self._registry, path, replace=replace)

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
        """Remove results that are not kept, what no result refers to, and what writers that have ended left.

        A result that its recipe finds is removed if no name has it, no step of the last runs of any workflow nor of a
        run that has not ended has its recipe, and nothing made or read it for some time. Runs that begin meanwhile
        lose nothing. All results of runs stay while a record of one of these runs cannot be read.

        Blobs and unfinished records go that are older than `grace`, and the unfinished records of ended processes.
        All blobs of a workflow stay if one of its records cannot be read: it may refer to them.

        Args:
            workflow_name: the workflow whose blobs and unfinished records are removed; None for all. Results are
                those of all workflows.
            grace: seconds for which blobs, and what writers left, are kept.
            keep_runs: of how many runs of each workflow results are kept; None for all. Without it, the store's.
            older_than: seconds for which a result is kept that was made or read; in a bucket: made, or given a name.
            max_size: bytes, or text like `"10 GiB"`, that all results with recipes may take. Further results that no
                name has are removed, those first that were not used for the longest time. Without it, the store's.
            dry_run: remove nothing.

        Returns:
            The names of what was removed, or would be, with `freed` bytes; notebooks show a table.

        Raises:
            OptionError: an argument cannot be used.
        """
        check_seconds("grace", grace)
        limits = replace(self._limits, older_than=check_seconds("older_than", older_than))
        if keep_runs is not ...:
            limits = replace(limits, keep_runs=check_keep_runs(keep_runs))
        if max_size is not ...:
            limits = replace(limits, max_size=check_max_size(max_size))
        folders = self._transport.folders() if workflow_name is None else [self._records.encode(workflow_name)]
        return self._collect(folders, limits, grace, dry_run=dry_run)

    def collect(self) -> Collected | None:
        """Remove results that the options `keep_runs` and `max_size` do not keep, at most once an hour.

        Backends call this when a run has ended. What cannot be removed in some seconds is left to the next time.

        Returns:
            What was removed; None if there was nothing to do.
        """
        limits = self._limits
        if limits.keep_runs is None and limits.max_size is None:
            return None
        if not self._shared.begin_collecting():
            return None
        return self._collect([], limits, DAY, dry_run=False, seconds=_SECONDS)

    def _collect(
        self, folders: Iterable[str], limits: Limits, grace: float, *, dry_run: bool, seconds: float = math.inf
    ) -> Collected:
        results = ResultCollector(
            self, self._records, self._shared, limits, grace=grace, dry_run=dry_run, seconds=seconds
        )
        return maintenance.collect(self._records, folders, results, grace, dry_run=dry_run)

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

    def _blobs_of(self, footer: Footer) -> Blobs:
        return self._transport.blobs(self._records.folder_of_blobs(footer))

    def _remove(self, workflow_name: str, task_names: Iterable[str]) -> list[str]:
        """Remove results, then what only they referred to; return the names of those that were there."""
        folder = self._records.encode(workflow_name)
        removed, shared = [], []
        for name in task_names:
            stem, footer = self._records.encode(name), None
            try:
                footer = self._records.footer_at(folder, stem, None)
            except Absent:
                continue
            except (CorruptRecord, UnsupportedRecord):
                pass  # its blobs, if any, are left to gc
            if footer is not None and footer["name"] != name:
                continue
            with suppress(Absent):
                self._transport.remove(folder, stem)
                removed.append(name)
                if footer is not None and footer.get("shared"):
                    shared.append(footer)
                elif footer is not None:
                    self._transport.remove_blobs(folder, [blob["id"] for blob in footer["blobs"]])
        self._shared.forget(shared)
        return removed

    def _not_found(self, workflow_name: str, task_name: str) -> TaskNotFound:
        names = self.list_tasks(workflow_name)
        if names:
            hint = did_you_mean(task_name, names) or "; list_tasks names what there is"
            return TaskNotFound(f"no result {task_name!r} in workflow {workflow_name!r}{hint}")
        hint = did_you_mean(workflow_name, self.list_workflows()) or "; list_workflows names what there is"
        return TaskNotFound(f"no result {task_name!r}: workflow {workflow_name!r} has no results{hint}")


class _Slot:
    """The place of a name, where a record may be replaced.

    Args:
        records: of the store.
        workflow: name of the workflow.
        task: name of the task.
        create: whether a valid record stays.
    """

    def __init__(self, records: Records, workflow: str, task: str, *, create: bool = False) -> None:
        self.previous: Footer | None = None
        """Of the record that is replaced, once that was asked for."""
        self._records = records
        self._name = workflow, task
        self._create = create

    def may_replace(self) -> bool:
        """Return False if the record in this place has to stay."""
        self.previous = self._records.replaced_by(*self._name)
        return not self._create or self.previous is None or not self._records.is_valid(*self._name)


def make_draft(
    workflow_name: str,
    task_name: str,
    recipe: Mapping[str, str] | None,
    meta: Mapping[str, Any] | None,
    uid: str | None,
    *,
    create: bool,
) -> Draft:
    """Return what is known of a new record.

    Args:
        workflow_name: of the workflow.
        task_name: of the result.
        recipe: what the result is made from, strings to strings; kept in the footer.
        meta: further facts that JSON can hold; kept in the footer.
        uid: of this save; a retry with the same one is no lost race.
        create: whether it never replaces another one; then its recipe does not find it.

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
    shared = bool(parts and parts.get("digest")) and not create
    return Draft(workflow_name, task_name, uid or secrets.token_hex(16), parts, dict(meta or {}), shared)


def _own_or_lost(stored: Footer | None, draft: Draft) -> Footer:
    """Return the stored footer if this very draft became it, else LostRace."""
    if stored is not None and stored["uid"] == draft.uid:
        return stored
    raise LostRace(
        f"result {draft.name!r} of workflow {draft.workflow!r} was stored by another writer; read_task returns it"
    )
