"""Serializers written for the original Function Fuse, as serializers of this one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from functionfuse.errors import StorageError

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
    serializer made up. Its `remove` is never called: the store deletes the blobs of a record itself, and
    needs no serializer for that.
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
        _, pid = self.original.pickle(obj, _protocols(files, out.kind))
        return pid, files.blobs

    def load(self, state: Any, inp: BlobReader, version: int) -> Any:  # noqa: ARG002
        """Return the object again.

        Args:
            state: what `save` returned.
            inp: finds the files of the record.
            version: of the serializer that saved the object.
        """
        pid, blobs = state
        return self.original.unpickle(pid, _protocols(_SavedFiles(inp, blobs), inp.kind))


@dataclass
class _NewFiles:
    """Files that a serializer opens while it saves, each a blob."""

    out: BlobWriter
    blobs: dict[str, str] = field(default_factory=dict)
    _paths: dict[str, str] = field(default_factory=dict)

    def open(self, name: str, mode: str = "wb") -> IO[Any]:
        """Open a file of the record that is being saved."""
        if name not in self.blobs:
            self.blobs[name], self._paths[name] = self.out.new("")
        return Path(self._paths[name]).open(mode)

    def remove(self, name: str) -> None:
        """Empty a file again; it goes with its record."""
        self.open(name, "wb").close()


@dataclass
class _SavedFiles:
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


def _protocols(files: _NewFiles | _SavedFiles, kind: str) -> dict[str, Any]:
    if kind != "file":
        raise StorageError(f"serializers of the original work with stores of kind 'file', not {kind!r}")
    return {FILE_PROTOCOL: files}
