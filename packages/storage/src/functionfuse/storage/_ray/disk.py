"""What a Ray store does on the machine that has the disk; Ray tasks call `perform` there."""

from __future__ import annotations

import pickle
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Protocol

from functionfuse.file_check import with_files

from .._file.store import FileStore
from .._record.format import OUT_OF_BAND
from .._record.reading import read_record
from .._store.lookup import ALL_RESULTS
from .._store.results import read_rows
from .._store.transport import Absent
from .transfer import RemoteFile, this_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .._record.format import Footer
    from .._record.writing import Draft, Reducer
    from .._serialize.serializers import SerializerRegistry
    from .._store.results import Result
    from .._store.transport import Blobs, Sink


def perform(store: bytes, verb: str, keywords: Mapping[str, Any], *arguments: Any) -> Any:
    """Call a method of the `Disk` of a pickled Ray store.

    Ray replaces references among the positional arguments by what they refer to; those in `meta` are looked up here,
    and files in a result are noted in it.

    Args:
        store: the pickled store.
        verb: name of the method.
        keywords: its keyword arguments.
        arguments: its positional arguments.
    """
    meta = keywords.get("meta")
    if meta is not None:
        import ray

        known = {key: ray.get(value) if isinstance(value, ray.ObjectRef) else value for key, value in meta.items()}
        if verb == "save" and "files" not in known:
            recipe, known = with_files(keywords.get("recipe"), known, arguments[2])
            keywords = {**keywords, "recipe": recipe}
        keywords = {**keywords, "meta": known}
    return getattr(_disk(store), verb)(*arguments, **keywords)


def perform_for_client(store: bytes, verb: str, keywords: Mapping[str, Any], *arguments: Any) -> Any:
    """Call a method of the `Disk` of a pickled Ray store, for a client of Ray.

    A client waits for ever for a PickleBuffer, so that bytes are returned in its stead.

    Args:
        store: the pickled store.
        verb: name of the method.
        keywords: its keyword arguments.
        arguments: its positional arguments.
    """
    result = perform(store, verb, keywords, *arguments)
    return bytes(result) if isinstance(result, pickle.PickleBuffer) else result


@lru_cache(8)
def _disk(store: bytes) -> Disk:
    return Disk(pickle.loads(store))


class RemoteStore(Protocol):
    """A Ray store as the machine with the disk knows it."""

    path: str
    durable: bool
    keep_runs: int | None
    max_size: int | str | None
    serializers: SerializerRegistry

    def caller_of(self, workflow_name: str) -> Callable[..., Any]:
        """Return a function that calls methods of `Disk` for a workflow: of the name of a method and its arguments."""


class Disk(FileStore):
    """The file store as seen by tasks on its machine: results come and go through Ray."""

    def __init__(self, store: RemoteStore) -> None:
        super().__init__(store.path, durable=store.durable, keep_runs=store.keep_runs, max_size=store.max_size)
        self._registry = store.serializers
        self._store = store

    @property
    def _reducers(self) -> Mapping[type, Reducer]:  # type: ignore[override]
        try:
            import numpy as np
        except ImportError:
            return {}
        return {np.ndarray: _reduce_array}

    def save_record(self, draft: Draft, footer: Footer, *parts: Any, create: bool) -> Footer:
        """Store a record that was written elsewhere.

        Args:
            draft: what is known of the result.
            footer: of the record.
            create: never replace a valid result: LostRace.
            parts: the bytes of the record, in pieces.
        """

        def fill(sink: Sink, blobs: Blobs) -> Footer:  # noqa: ARG001
            for part in parts:
                sink.write(memoryview(part).cast("B"))
            return footer

        return self._publish(draft, fill, create=create)

    def record(self, workflow_name: str, task_name: str) -> pickle.PickleBuffer:
        """Return the bytes of a whole record, not checked.

        Args:
            workflow_name: of the workflow.
            task_name: of the result.

        Raises:
            TaskNotFound: there is none.
        """
        try:
            return pickle.PickleBuffer(self._records.whole(workflow_name, task_name, check=False)[0])
        except Absent:
            raise self._not_found(workflow_name, task_name) from None

    def read_task(self, workflow_name: str, task_name: str, *, check: bool | None = None) -> Any:
        """Return the stored result, for a process on any machine.

        Args:
            workflow_name: of the workflow.
            task_name: of the result.
            check: whether to compare the content with its checksums; a signature is always checked.

        Raises:
            TaskNotFound: there is none.
        """
        fetch = partial(self._records.whole, workflow_name, task_name, check=check is not False)
        try:
            return read_record(fetch, self._registry, partial(_blobs_to_send, self))
        except Absent:
            raise self._not_found(workflow_name, task_name) from None

    def listed(self, workflow_name: str, pattern: str) -> list[tuple[str, str]]:
        """Return names of results and stems of their records, which `rows` needs.

        Args:
            workflow_name: of the workflow.
            pattern: a glob over names.
        """
        return list(self.results(workflow_name, pattern)._listed)

    def rows(self, workflow_name: str, listed: Sequence[tuple[str, str]]) -> list[Result]:
        """Return what is known of some results.

        Args:
            workflow_name: of the workflow.
            listed: names of results, each with the stem of its record.
        """
        return read_rows(self._records, workflow_name, listed)

    def size_of_blob(self, workflow_name: str, blob: str) -> int:
        """Return the bytes in the file of a blob.

        Args:
            workflow_name: of the workflow.
            blob: id of the blob.

        Raises:
            CorruptRecord: it is missing.
        """
        return self.blobs(workflow_name).size(blob)

    def location_of_blob(self, workflow_name: str, blob: str) -> tuple[str, str]:
        """Return the path of a blob, and the machine.

        Args:
            workflow_name: of the workflow.
            blob: id of the blob.

        Raises:
            CorruptRecord: it is missing.
        """
        return self.blobs(workflow_name).path(blob), this_machine()

    def read_blob(self, workflow_name: str, blob: str, offset: int, length: int) -> pickle.PickleBuffer:
        """Return bytes of a blob.

        Args:
            workflow_name: of the workflow.
            blob: id of the blob.
            offset: of the first byte.
            length: how many bytes.

        Raises:
            CorruptRecord: it ends before, or is missing.
        """
        return pickle.PickleBuffer(self.blobs(workflow_name).file(blob).read(offset, length))

    def blobs(self, workflow_name: str) -> Blobs:
        """Return access to the blobs of a workflow."""
        return self._transport.blobs(self._records.encode(workflow_name))


class _BlobsToSend:
    """The blobs of a workflow, for objects that are loaded here and used elsewhere."""

    kind = "file"

    def __init__(self, disk: Disk, workflow_name: str) -> None:
        self._disk = disk
        self._workflow_name = workflow_name
        near = disk.blobs(workflow_name)
        self.path, self.size = near.path, near.size

    def file(self, blob: str) -> RemoteFile:
        """Return a blob as a file to read parts of."""
        location, machine = self._disk.location_of_blob(self._workflow_name, blob)
        return RemoteFile(location, machine, self._disk._store.caller_of(self._workflow_name), blob)


def _blobs_to_send(disk: Disk, footer: Footer) -> _BlobsToSend:
    return _BlobsToSend(disk, ALL_RESULTS if footer.get("shared") else footer["workflow"])


def _reduce_array(array: Any) -> str | tuple[Any, ...]:
    """Pickle an array as one that can be written to.

    Ray hands out arrays read-only, for they are views of memory that many processes share. What a reader
    gets from the store is the reader's own.
    """
    if array.flags.writeable or array.dtype.hasobject:
        reduced: tuple[Any, ...] = array.__reduce_ex__(5)
        return reduced
    if array.nbytes < OUT_OF_BAND or not array.flags.forc:
        return array.copy(order="K").__reduce_ex__(5)  # type: ignore[no-any-return]
    return _WritableView(array).array.__reduce_ex__(5)  # type: ignore[no-any-return]


class _WritableView:
    """The memory of a read-only array as an array with the flag that it can be written to; it never is."""

    def __init__(self, array: Any) -> None:
        import numpy as np

        order = "C" if array.flags.c_contiguous else "F"
        flat = array.reshape(-1, order=order).view(np.uint8)
        self.__array_interface__ = {**flat.__array_interface__, "data": (flat.__array_interface__["data"][0], False)}
        self._owner = flat
        self.array = np.asarray(self).view(array.dtype).reshape(array.shape, order=order)
