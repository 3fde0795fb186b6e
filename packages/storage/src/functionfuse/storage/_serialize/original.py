"""Serializers written for the original Function Fuse, as serializers of this one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

from functionfuse.errors import StorageError

from .._store.transport import ZarrBlobs

if TYPE_CHECKING:
    from .._store.transport import BlobReader, BlobWriter

FILE_PROTOCOL = "file_protocol"
S3_PROTOCOL = "s3 protocol"


def is_original(serializer: Any) -> bool:
    """Return True if a serializer has the methods of the original's serializers, and not those of today's."""
    original = all(callable(getattr(serializer, method, None)) for method in ("pickle", "unpickle"))
    return original and hasattr(serializer, "serializer_class")


class OriginalSerializer:
    """Calls `pickle(obj, protocols)` and `unpickle(pid, protocols)` of an original serializer.

    `protocols[FILE_PROTOCOL].open(name, mode)` opens a blob of the record, under whatever name the
    serializer made up. So does, in a bucket, `protocols[S3_PROTOCOL]["client"].open`, for names under
    `protocols[S3_PROTOCOL]["folder"]`. The serializer's `remove` is never called: the store deletes the blobs of a
    record itself, and needs no serializer for that.
    """

    version = 1
    subclasses = False
    requires: tuple[str, ...] = ()

    def __init__(self, original: Any) -> None:
        self.original = original
        self.name = str(getattr(original, "name", "") or getattr(original, "__name__", type(original).__name__))
        self.types: tuple[type | str, ...] = (original.serializer_class,)

    def save(self, obj: Any, out: BlobWriter) -> Any:
        """Return what the original returned, and the blobs of the files that it opened.

        Args:
            obj: of one of the types.
            out: makes files beside the record.
        """
        files = _NewFiles(out)
        _, pid = self.original.pickle(obj, _protocols(files, out))
        return pid, files.blobs

    def load(self, state: Any, inp: BlobReader, version: int) -> Any:  # noqa: ARG002
        """Return the object again.

        Args:
            state: what `save` returned.
            inp: finds the files of the record.
            version: of the serializer that saved the object.
        """
        pid, blobs = state
        return self.original.unpickle(pid, _protocols(_SavedFiles(inp, blobs), inp))


class _Files:
    """Files of a record, opened under whatever names a serializer made up; each is a blob.

    It has the methods of s3fs that read and write a file as a whole, for serializers of the S3 protocol.
    """

    blobs: dict[str, str]

    def open(self, name: str, mode: str) -> IO[Any]:
        raise NotImplementedError

    def exists(self, name: str) -> bool:
        """Return True if the serializer opened a file of this name to write it."""
        return name in self.blobs

    def cat_file(self, name: str) -> bytes:
        """Return the content of a file."""
        with self.open(name, "rb") as file:
            content: bytes = file.read()
            return content

    def pipe_file(self, name: str, value: bytes) -> None:
        """Write a file."""
        with self.open(name, "wb") as file:
            file.write(value)

    def remove(self, name: str, **_: object) -> None:
        """Empty a file again; it goes with its record."""
        self.open(name, "wb").close()

    cat, pipe, rm, rm_file = cat_file, pipe_file, remove, remove

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise StorageError(f"{name!r} is not what serializers may do with files; they have {', '.join(_METHODS)}")


_METHODS = sorted(name for name in vars(_Files) if not name.startswith("_"))


@dataclass
class _NewFiles(_Files):
    """Files that a serializer opens while it saves."""

    out: BlobWriter
    blobs: dict[str, str] = field(default_factory=dict)
    _paths: dict[str, str] = field(default_factory=dict)

    def open(self, name: str, mode: str = "wb") -> IO[Any]:
        """Open a file of the record that is being saved."""
        if name not in self.blobs:
            self.blobs[name], self._paths[name] = self.out.new("")
        return Path(self._paths[name]).open(mode)


@dataclass
class _SavedFiles(_Files):
    """Files that a serializer opens while it loads."""

    inp: BlobReader
    blobs: dict[str, str]

    def open(self, name: str, mode: str = "rb") -> IO[Any]:
        """Open a file of the record that is being loaded."""
        if name not in self.blobs:
            known = ", ".join(map(repr, self.blobs)) or "none"
            raise StorageError(f"its serializer saved no file {name!r}; files: {known}")
        if mode not in ("r", "rb"):
            raise StorageError(f"saved files are opened with mode 'r' or 'rb', not {mode!r}")
        return Path(self.inp.path(self.blobs[name])).open(mode)


def _protocols(files: _Files, blobs: BlobWriter | BlobReader) -> dict[str, Any]:
    """Return what a serializer of the original looks its files up in; stores of objects have both protocols."""
    if blobs.kind != "file":
        raise StorageError(f"serializers of the original work with stores of kind 'file', not {blobs.kind!r}")
    protocols: dict[str, Any] = {FILE_PROTOCOL: files}
    if isinstance(blobs, ZarrBlobs):
        protocols[S3_PROTOCOL] = {"client": files, "folder": "files"}
    return protocols
