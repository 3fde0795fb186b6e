"""Results of the original Function Fuse: read from its folder, saved under the same names.

The file store and the Ray store of the original keep::

    <path>/<workflow>/<task>                  a pickle, and after it the 20 bytes of its SHA-1
    <path>/<workflow>/bigdata/<file>          what its serializers wrote

Names are not escaped, so that a workflow `a/b` is a folder in a folder. In a pickle, the persistent id
`(name, state)` stands for what a serializer of that name has kept.
"""

from __future__ import annotations

import io
import os
import pickle
from contextlib import ExitStack
from hashlib import sha1
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from functionfuse._warning import warn_user
from functionfuse.errors import CorruptRecord, LostRace, MissingSerializer, OptionError, StorageError

from .._record.format import MAGIC
from .._serialize.original import FILE_PROTOCOL, OriginalSerializer
from .layout import BLOBS, COLLECTED, DRAFTS, RECORD, RESULTS, SAME, TRASH

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .._serialize.serializers import SerializerRegistry

_BESIDE = "bigdata"
_OURS = {BLOBS, COLLECTED, DRAFTS, RESULTS, SAME, TRASH}
_DIGEST = 20  # bytes
_DASK, _DASK_DATASET = "HDFSerializer", "dask_arrays"


class _Target(Protocol):
    """What results are imported into."""

    def has_tasks(self, workflow_name: str, names: Iterable[str]) -> set[str]: ...

    @property
    def save(self) -> Any: ...


def import_original(
    store: _Target, registry: SerializerRegistry, path: str | os.PathLike[str], *, replace: bool
) -> dict[str, list[str]]:
    """Save the results in a folder of the original, and return their names, by workflow.

    Args:
        store: that they are saved to.
        registry: of its serializers.
        path: of the folder.
        replace: also save those whose names have results.

    Raises:
        OptionError: an argument cannot be used.
        StorageError: the path is not a folder of the original, or a result could not be written.
    """
    if not isinstance(path, str | os.PathLike):
        raise OptionError(f"path must be that of a folder of the original, got {path!r}")
    if not isinstance(replace, bool):
        raise OptionError(f"replace must be True or False, got {replace!r}")
    root = Path(path).expanduser()
    if not root.is_dir():
        raise StorageError(f"{str(root)!r} is not a folder; results of the original are in <folder>/<workflow>/<task>")
    imported: dict[str, list[str]] = {}
    is_original = False
    for workflow, folder, names in _workflows(root):
        is_original = True
        present = set() if replace else store.has_tasks(workflow, names)
        for name in names:
            if name not in present and _import(store, registry, workflow, folder, name, replace=replace):
                imported.setdefault(workflow, []).append(name)
    if not is_original:
        raise StorageError(f"no results of the original in {str(root)!r}; they are in <folder>/<workflow>/<task>")
    return imported


def _workflows(root: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """Yield the name, the folder and the names of the tasks of each workflow that has some."""
    for location, folders, names in os.walk(root, onerror=_report_folder):
        folder = Path(location)
        is_root = folder == root
        folders[:] = sorted(name for name in folders if name not in _OURS and (is_root or name != _BESIDE))
        tasks = [] if is_root else sorted(name for name in names if _is_task(folder / name))
        if tasks:
            yield folder.relative_to(root).as_posix(), folder, tasks


def _is_task(path: Path) -> bool:
    """Return True for all files but the records of a store of today, which may be in the same folder."""
    if not path.is_file():
        return False
    if path.suffix != RECORD:
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) != MAGIC
    except OSError:
        return True  # the import says what is wrong with it


def _import(
    store: _Target, registry: SerializerRegistry, workflow: str, folder: Path, name: str, *, replace: bool
) -> bool:
    """Save one result, and return True; or say why it was not imported."""
    path = folder / name
    with ExitStack() as opened:
        try:
            value = _read(path, registry, opened)
        except Exception as error:  # of the user's classes too; the other results are imported nevertheless
            return _report(path, error)
        meta = {"imported_from": os.path.abspath(path)}  # noqa: PTH100  ".." goes, links stay
        try:
            store.save(workflow, name, value, meta=meta, create=not replace)
        except LostRace:
            return False
        except StorageError:
            raise
        except Exception as error:  # of pickling
            return _report(path, error)
    return True


def _read(path: Path, registry: SerializerRegistry, opened: ExitStack) -> Any:
    content = memoryview(path.read_bytes())
    if sha1(content[:-_DIGEST], usedforsecurity=False).digest() != content[-_DIGEST:]:
        raise CorruptRecord("its SHA-1 is not that of its content")
    return _Unpickler(content[:-_DIGEST], registry, _FilesBeside(path.parent / _BESIDE, opened)).load()


def _report(path: Path, error: Exception) -> bool:
    warn_user(f"{str(path)!r} of the original was not imported: {type(error).__name__}: {error}")
    return False


def _report_folder(error: OSError) -> None:
    _report(Path(error.filename), error)


class _Unpickler(pickle.Unpickler):
    """Loads a pickle of the original, and what its serializers kept beside it.

    Args:
        content: the pickle.
        registry: of the serializers.
        files: what they wrote.
    """

    def __init__(self, content: memoryview, registry: SerializerRegistry, files: _FilesBeside) -> None:
        super().__init__(io.BytesIO(content))
        self._registry = registry
        self._files = files

    def persistent_load(self, pid: Any) -> Any:
        name, state = pid
        try:
            serializer = self._registry.named(name)
        except MissingSerializer:
            if name != _DASK:
                raise
            return self._files.dask_array(state[1])
        if not isinstance(serializer, OriginalSerializer):
            raise MissingSerializer(
                f"saved with serializer {name!r} of the original; the one that is registered has not its methods "
                "'pickle' and 'unpickle'"
            )
        return serializer.original.unpickle(state, {FILE_PROTOCOL: self._files})


class _FilesBeside:
    """The files of the original's serializers, to be read.

    Args:
        folder: where they are.
        opened: closes them when what was loaded is saved; it may be lazy.
    """

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        self._folder = folder
        self._opened = opened

    def open(self, name: str, mode: str = "rb") -> IO[Any]:
        """Open a file.

        Args:
            name: of the file.
            mode: `"r"` or `"rb"`.

        Raises:
            StorageError: it is another mode.
        """
        if mode not in ("r", "rb"):
            raise StorageError(f"files of the original are opened with mode 'r' or 'rb', not {mode!r}")
        return self._opened.enter_context((self._folder / name).open(mode))

    def dask_array(self, name: str) -> Any:
        """Return the array in a file of the original's serializer of dask arrays.

        Args:
            name: of the file.
        """
        import dask.array as da
        import h5py

        dataset = self._opened.enter_context(h5py.File(self._folder / name, "r"))[_DASK_DATASET]
        return da.from_array(dataset, chunks=dataset.chunks, name=False)
