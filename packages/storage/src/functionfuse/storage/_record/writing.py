"""Write one record, in one pass."""

from __future__ import annotations

import hashlib
import platform
import sys
import time
import types
import weakref
from collections import ChainMap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cloudpickle
from xxhash import xxh3_128

from functionfuse.decorator import reduce_class
from functionfuse.fingerprint.encoding import short
from functionfuse.fingerprint.library import is_handle
from functionfuse.fingerprint.project import is_code

from .checksum import crc32
from .classes import reduced_class
from .format import ALIGN, BLOCK, OUT_OF_BAND, Footer, pack_footer, pack_prefix
from .restore import restore
from .shapes import shape_of

if TYPE_CHECKING:
    import pickle
    from collections.abc import Callable, Mapping

    from .._serialize.serializers import SerializerRegistry
    from .._store.transport import Blobs, Sink

    Reducer = Callable[[Any], str | tuple[Any, ...]]

_PACKAGES = {
    "cloudpickle", "dask", "h5py", "numpy", "pandas", "polars", "pyarrow", "scipy", "sklearn", "torch",
    "xarray", "zarr",
}  # fmt: skip
_CODE = (type, types.FunctionType, types.ModuleType)
_MOST_KNOWN = 10_000
_no_code: weakref.WeakSet[Any] = weakref.WeakSet()  # classes, functions and modules of libraries
_PYTHON = platform.python_version()
_known_packages: dict[frozenset[str], dict[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Draft:
    """What is known of a record before it is written."""

    workflow: str
    name: str
    uid: str
    recipe: dict[str, str] | None
    meta: dict[str, Any]
    shared: bool = False


def write_record(
    sink: Sink,
    blobs: Blobs,
    obj: object,
    draft: Draft,
    registry: SerializerRegistry,
    key: bytes | None,
    reducers: Mapping[type, Reducer],
) -> Footer:
    """Write the whole record of an object, and return its footer.

    Whatever pickling raises passes through, with a note that names the result that could not be saved.

    Args:
        sink: takes the bytes.
        blobs: of the workflow.
        obj: the result.
        draft: what is known of the result.
        registry: of the serializers.
        key: to sign with; None for no signature.
        reducers: by type; they come before what types say themselves of how they are pickled.
    """
    sink.write(pack_prefix())
    stream = _Segments(sink, hashlib.sha256() if key else None)
    buffers: list[memoryview] = []
    pickler = _Pickler(stream, registry, blobs, _keep_large(buffers), reducers)
    try:
        pickler.dump(obj)
    except Exception as error:
        error.add_note(f"while pickling result {draft.name!r} of workflow {draft.workflow!r}")
        raise
    stream.end_pickle()
    for buffer in buffers:
        stream.add_buffer(buffer)
    content = sink.end_content()
    footer = _footer(obj, draft, pickler, stream, blobs)
    position = stream.position
    if content is not None:
        footer["content"] = content
        footer["blobs"].append({"id": content, "size": position})
        sink.write(pack_prefix())
        position = len(pack_prefix())
    sink.write(pack_footer(footer, position, key))
    return footer


def digest_of_content(obj: object, registry: SerializerRegistry, reducers: Mapping[type, Reducer]) -> str:
    """Return the digest of what a record of an object would contain; "" where a serializer writes files for it.

    Args:
        obj: the object.
        registry: of the serializers.
        reducers: as for `write_record`.
    """
    buffers: list[memoryview] = []
    stream = _Segments(_Nowhere(), None)
    try:
        _Pickler(stream, registry, _NoBlobs(), _keep_large(buffers), reducers).dump(obj)  # type: ignore[arg-type]
    except _BlobWanted:
        return ""
    for buffer in buffers:
        stream.add_content(buffer)
    return stream.content.hexdigest()


class _BlobWanted(Exception):  # noqa: N818
    """A serializer wants to write a file."""


class _NoBlobs:
    """Has no place for files of serializers."""

    kind = "file"

    def new(self, suffix: str) -> tuple[str, str]:
        raise _BlobWanted(suffix)


class _Nowhere:
    """Takes bytes, and keeps none."""

    def write(self, data: object, /) -> None:
        """Do nothing."""

    def write_blocks(self, data: memoryview, block: int) -> list[int]:  # noqa: ARG002
        """Do nothing."""
        return []

    def end_content(self) -> None:
        """Do nothing."""


class _Segments:
    """Passes bytes on, and keeps positions and checksums."""

    def __init__(self, sink: Sink, digest: hashlib._Hash | None) -> None:
        self.table: list[list[Any]] = []
        self.position = len(pack_prefix())
        self.digest = digest
        self.content = xxh3_128()
        self._sink = sink
        self._start = self.position
        self._crc = 0
        self._crcs: list[int] = []
        self._room = BLOCK

    def write(self, data: bytes | pickle.PickleBuffer) -> int:
        """Append to the pickle; the pickler calls this."""
        view = memoryview(data).cast("B")
        self.content.update(view)
        if self.digest:
            self.digest.update(view)
        rest = view
        while len(rest) >= self._room:
            self._crcs.append(crc32(rest[: self._room], self._crc))
            rest = rest[self._room :]
            self._crc, self._room = 0, BLOCK
        self._crc = crc32(rest, self._crc)
        self._room -= len(rest)
        self._sink.write(view)
        self.position += len(view)
        return len(view)

    def end_pickle(self) -> None:
        """Close segment 0."""
        if self._room < BLOCK:
            self._crcs.append(self._crc)
        self.table.append([self._start, self.position - self._start, self._crcs])

    def add_content(self, data: memoryview) -> None:
        """Count a buffer in the digest of the content, and where it begins."""
        self.content.update(len(data).to_bytes(8, "little"))
        self.content.update(data)

    def add_buffer(self, data: memoryview) -> None:
        """Append a buffer as a segment of its own."""
        if padding := -self.position % ALIGN:
            self._sink.write(bytes(padding))
            self.position += padding
        self.add_content(data)
        if self.digest:
            self.digest.update(data)
        self.table.append([self.position, len(data), self._sink.write_blocks(data, BLOCK)])
        self.position += len(data)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no annotations
    """The C pickler with the rules of cloudpickle, and the store's serializers before them."""

    def __init__(
        self,
        stream: _Segments,
        registry: SerializerRegistry,
        blobs: Blobs,
        buffer_callback: Callable[[pickle.PickleBuffer], bool],
        reducers: Mapping[type, Reducer],
    ) -> None:
        if reducers:
            self.dispatch_table = ChainMap(dict(reducers), cloudpickle.Pickler.dispatch_table)
        super().__init__(stream, protocol=5, buffer_callback=buffer_callback)
        self.serializers: dict[str, int] = {}
        self.by_value: list[str] = []
        self.has_code = False
        self._for_type = registry.for_type
        self._blobs = blobs

    def reducer_override(self, obj: Any) -> Any:
        serializer = self._for_type(type(obj))
        if serializer is not None:
            state = serializer.save(obj, self._blobs)
            if state is not NotImplemented:
                self.serializers[serializer.name] = serializer.version
                return restore, (serializer.name, serializer.version, state)
        if not self.has_code and isinstance(obj, _CODE) and obj not in _no_code:
            self.has_code = is_code(obj)
            if not self.has_code and len(_no_code) < _MOST_KNOWN:
                _no_code.add(obj)
        if not isinstance(obj, (type, types.FunctionType)):
            kind: Any = type(obj)
            if is_handle(kind):
                raise TypeError(
                    f"{short(obj)} is a handle to what a running process has, and nobody could read that later; "
                    "return the value itself"
                )
            return NotImplemented
        decorated = reduce_class(obj)
        if decorated is not None:
            return decorated
        reduced = super().reducer_override(obj)
        if reduced is NotImplemented or obj.__module__ == "builtins":
            return reduced
        self.by_value.append(f"{obj.__module__}.{obj.__qualname__}")
        return reduced_class(obj, reduced) if isinstance(obj, type) else reduced


def _keep_large(buffers: list[memoryview]) -> Callable[[pickle.PickleBuffer], bool]:
    """Return a buffer callback that takes what deserves a segment and leaves the rest in the pickle."""

    def stays_in_pickle(buffer: pickle.PickleBuffer) -> bool:
        try:
            view = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if view.nbytes < OUT_OF_BAND:
            return True
        buffers.append(view)
        return False

    return stays_in_pickle


def _footer(obj: object, draft: Draft, pickler: _Pickler, stream: _Segments, blobs: Blobs) -> Footer:
    cls = type(obj)
    blobs_of_serializers = blobs.listed()
    footer = Footer(
        name=draft.name,
        workflow=draft.workflow,
        uid=draft.uid,
        created=time.time(),
        recipe=draft.recipe,
        type=f"{cls.__module__}.{cls.__qualname__}",
        python=_PYTHON,
        byteorder=sys.byteorder,
        packages=_loaded_packages(),
        by_value=pickler.by_value,
        block=BLOCK,
        segs=stream.table,
        serializers=pickler.serializers,
        blobs=blobs_of_serializers,
        meta=draft.meta,
    )
    shape = shape_of(obj)
    if shape is not None:
        footer["shape"] = shape
    if not blobs_of_serializers:
        footer["content_digest"] = stream.content.hexdigest()
    if pickler.has_code or pickler.by_value:
        footer["has_code"] = True
    if draft.shared:
        footer["shared"] = True
    if stream.digest:
        footer["sha256"] = stream.digest.hexdigest()
    return footer


def _loaded_packages() -> dict[str, str]:
    """Return the versions of the data packages that this process has imported."""
    loaded = frozenset(sys.modules.keys() & _PACKAGES)
    if loaded not in _known_packages:
        _known_packages[loaded] = {
            package: str(getattr(sys.modules[package], "__version__", "?")) for package in sorted(loaded)
        }
    return _known_packages[loaded]
