"""Records and blobs in folders of a file system; `functionfuse.storage._store.layout` shows their names.

What a reader sees after a writer was killed at any point: the old record until the one rename, the new
record after it. Paths are joined as strings here: a Path costs as much as a call of the kernel.
"""

from __future__ import annotations

import mmap
import os
import shutil
import sys
import time
import uuid
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from functionfuse.errors import CorruptRecord, StorageError

from .._store.drafts import new_draft_name
from .._store.layout import BLOBS, DRAFTS, RECORD, TRASH
from .._store.transport import Absent, Blobs, Link, RecordExists, Sink, Use
from .blobs import FileBlobs
from .disk import (
    CREATE,
    LOOK,
    POSIX,
    READ,
    exclusive_access,
    fresh_memory,
    link_file,
    move_exclusively,
    os_errors,
    read_into,
    sync_folder,
    unlink_quietly,
)
from .draft_folder import has_live_drafts, sweep_drafts
from .root import is_on_network, open_root
from .sink import FileSink

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Set

T = TypeVar("T")

_MAPPED = 1 << 20  # bytes from which mapping is faster than reading
MOST_MAPS = 256  # before Python 3.13 every map holds a file descriptor
_TRIES = 5
_FEW = 100  # records that are looked up one by one sooner than by a listing
_MINUTE = 60.0  # how exactly reads are noted

_maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


class FileTransport:
    """A root folder; `Transport` describes the methods.

    Args:
        path: of the root folder, absolute.
        durable: survive a power cut.
        mapping: map large records instead of reading them.
    """

    def __init__(self, path: str, *, durable: bool, mapping: bool) -> None:
        self.path = path
        self.durable = durable
        self.mapping = mapping
        self.fold = open_root(path, durable=durable)
        self._synced: set[str] = set()
        self._may_map: bool | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_synced": set(), "_may_map": None}

    # Folders

    def make_folder(self, folder: str) -> None:
        path = self._folder(folder)
        with os_errors("make folder", path):
            if not os.path.lexists(path):
                self._synced.discard(folder)  # another process removed it
            Path(path, DRAFTS).mkdir(parents=True, exist_ok=True)
            self._sync_name(folder)

    def folders(self) -> list[str]:
        with os_errors("list", self.path), os.scandir(self.path) as entries:
            return [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]

    def remove_folder(self, folder: str) -> bool:  # atomically
        path = self._folder(folder)
        trash = Path(self.path, TRASH, uuid.uuid4().hex)
        self._synced.discard(folder)
        with os_errors("remove", path):
            while os.path.isdir(path):  # noqa: PTH112  a file of that name is no workflow
                trash.parent.mkdir(exist_ok=True)
                try:
                    os.rename(path, trash)  # noqa: PTH104
                except FileNotFoundError:
                    continue  # another process removed it, or swept the trash
                if self.durable:
                    sync_folder(self.path)
                shutil.rmtree(trash, ignore_errors=True)
                return True
        return False

    # Records

    def stems(self, folder: str, prefix: str = "") -> list[str]:
        path = self._folder(folder)
        cut = -len(RECORD)
        try:
            with os_errors("list", path):
                return [n[:cut] for n in _listdir(path) if n.endswith(RECORD) and n.startswith(prefix)]
        except Absent:
            return []

    def present(self, folder: str, stems: Collection[str]) -> Set[str]:
        if len(stems) > _FEW:
            return set(self.stems(folder)).intersection(stems)
        return {stem for stem in stems if os.path.lexists(self.location(folder, stem))}

    def identities(self, folder: str, stems: Iterable[str] | None = None) -> Mapping[str, Hashable]:
        path = self._folder(folder)
        if stems is not None:
            found: dict[str, Hashable] = {}
            for stem in stems:
                with suppress(OSError):
                    status = os.lstat(self.location(folder, stem))
                    found[stem] = status.st_dev, status.st_ino
            return found
        cut = -len(RECORD)
        with os_errors("list", path):
            try:
                device = os.stat(path).st_dev  # noqa: PTH116
                with os.scandir(path) as entries:
                    return {e.name[:cut]: (device, e.inode()) for e in entries if e.name.endswith(RECORD)}
            except (FileNotFoundError, NotADirectoryError):
                return {}

    def uses(self, folder: str) -> Mapping[str, Use]:
        path = self._folder(folder)
        cut = -len(RECORD)
        uses = {}
        with os_errors("list", path):
            try:
                with os.scandir(path) as entries:
                    for entry in entries:
                        if entry.name.endswith(RECORD):
                            with suppress(FileNotFoundError):
                                uses[entry.name[:cut]] = _use(entry.stat(follow_symlinks=False))
            except (FileNotFoundError, NotADirectoryError):
                return {}
        return uses

    def mark_used(self, folder: str, stem: str) -> bool:
        path = self.location(folder, stem)
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        except OSError:  # of another user
            return os.path.lexists(path)
        return True

    def remove_unused(self, folder: str, uses: Mapping[str, Use]) -> Set[str]:
        with os_errors("make folder", self._draft_folder(folder)):
            os.makedirs(self._draft_folder(folder), exist_ok=True)  # noqa: PTH103
        removed = {stem for stem, use in uses.items() if self._remove_unused(folder, stem, use)}
        if removed and self.durable:  # before what they refer to is removed
            with os_errors("sync", self._folder(folder)), suppress(FileNotFoundError):
                sync_folder(self._folder(folder))
        return removed

    def _remove_unused(self, folder: str, stem: str, use: Use) -> bool:
        path = self.location(folder, stem)
        draft = f"{self._draft_folder(folder)}{os.sep}{new_draft_name()}"
        with os_errors("remove", path):
            try:
                if _use(os.lstat(path)) != use:
                    return False
                os.rename(path, draft)  # noqa: PTH104  from now on nobody can mark it
                is_unused = _use(os.lstat(draft)) == use
                if not is_unused:
                    with suppress(FileExistsError):  # it was saved anew
                        move_exclusively(draft, path)
            except (FileNotFoundError, NotADirectoryError):
                return False
            unlink_quietly(draft)
            return is_unused

    def location(self, folder: str, stem: str) -> str:
        return f"{self._folder(folder)}{os.sep}{stem}{RECORD}"

    def tail(self, folder: str, stem: str, length: int) -> tuple[bytes, int]:
        path = self.location(folder, stem)
        with os_errors("read", path):
            descriptor = _open(path, LOOK)
            try:
                size = os.fstat(descriptor).st_size
                if size > length:
                    os.lseek(descriptor, size - length, os.SEEK_SET)
                return os.read(descriptor, min(size, length)), size
            finally:
                os.close(descriptor)

    def whole(self, folder: str, stem: str) -> memoryview:
        return self._read(self.location(folder, stem))

    def content(self, folder: str, blob: str) -> memoryview:
        path = self.blobs(folder).path(blob)
        try:
            return self._read(path)
        except Absent:
            raise CorruptRecord(f"blob {path!r} is missing") from None

    def publish(
        self,
        folder: str,
        stem: str,
        fill: Callable[[Sink, Blobs], T],
        *,
        may_replace: Callable[[], bool],
        create: bool,
        link: Link | None = None,
    ) -> T:
        if not may_replace():
            raise RecordExists
        if link is not None and not os.path.lexists(self._folder(link.folder)):
            self.make_folder(link.folder)
        draft, descriptor = self._start_draft(folder)
        blobs = self.blobs(folder)
        try:
            try:
                sink = FileSink(descriptor, draft)
                result = fill(sink, blobs)
                sink.flush()
                if self.durable:
                    blobs.sync()
                    with os_errors("sync", draft):
                        os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if link is not None:
                self._link(draft, link)
            self._commit(draft, self.location(folder, stem), may_replace if create else None)
        except BaseException as error:
            links = _links(draft)
            if links == 1:  # else it was removed, or an interrupt came when it was already the record
                blobs.discard()
            with suppress(OSError):
                unlink_quietly(draft)
            if not links and isinstance(error, Exception):
                raise self._interrupted(folder) from error
            raise
        if self.durable:  # what has its name is found, also if its other one is lost
            self._sync_record(link.folder if link is not None and link.is_made else folder)
        return result

    def link(self, folder: str, stem: str, link: Link) -> None:
        path = self.location(folder, stem)
        if not os.path.lexists(path):
            raise Absent
        if not os.path.lexists(self._folder(link.folder)):
            self.make_folder(link.folder)
        try:
            self._link(path, link)
        except StorageError:
            if not os.path.lexists(path):  # it was collected at this moment
                raise Absent from None
            raise
        if self.durable and link.is_made:
            self._sync_record(link.folder)

    def remove(self, folder: str, stem: str) -> None:
        path = self.location(folder, stem)
        with os_errors("remove", path):
            try:
                os.unlink(path)  # noqa: PTH108
            except (FileNotFoundError, NotADirectoryError):
                raise Absent from None
            if self.durable:
                with suppress(FileNotFoundError):  # the workflow was removed after it
                    sync_folder(self._folder(folder))

    # Blobs and leftovers

    def blobs(self, folder: str) -> FileBlobs:
        return FileBlobs(self._blob_folder(folder), maps=self.mapping)

    def blob_ages(self, folder: str) -> list[tuple[str, float]]:
        now = time.time()
        path = self._blob_folder(folder)
        ages = []
        with os_errors("list", path), suppress(Absent):
            for name in _listdir(path):
                with suppress(FileNotFoundError):
                    ages.append((name, max(0.0, now - Path(path, name).stat().st_mtime)))
        return ages

    def size_of_blobs(self, folder: str) -> int:
        path = self._blob_folder(folder)
        sizes = 0
        with os_errors("list", path), suppress(Absent):
            blobs = self.blobs(folder)
            for name in _listdir(path):
                with suppress(CorruptRecord, FileNotFoundError):
                    sizes += blobs.size(name)
        return sizes

    def remove_blobs(self, folder: str, blobs: Iterable[str]) -> None:
        self.blobs(folder).remove(list(blobs))

    def is_writing(self, folder: str) -> bool:
        return has_live_drafts(self._draft_folder(folder))

    def sweep(self, folder: str, grace: float, *, dry_run: bool = False) -> list[str]:
        if not dry_run:
            shutil.rmtree(Path(self.path, TRASH), ignore_errors=True)  # workflows that are half removed
        return sweep_drafts(self._draft_folder(folder), grace, dry_run=dry_run)

    # How

    def _folder(self, folder: str) -> str:
        return f"{self.path}{os.sep}{folder}"

    def _draft_folder(self, folder: str) -> str:
        return f"{self.path}{os.sep}{folder}{os.sep}{DRAFTS}"

    def _blob_folder(self, folder: str) -> str:
        return f"{self.path}{os.sep}{folder}{os.sep}{BLOBS}"

    def _read(self, path: str) -> memoryview:
        with os_errors("read", path):
            descriptor = _open(path)
            try:
                status = os.fstat(descriptor)
                size = status.st_size
                _note_use(descriptor, status)
                if size >= _MAPPED and self._maps_files():
                    return map_file(descriptor, size)
                view = memoryview(bytearray(size) if size < _MAPPED else fresh_memory(size))
                return view[: read_into(descriptor, view)]
            finally:
                os.close(descriptor)

    def _start_draft(self, folder: str) -> tuple[str, int]:
        draft = f"{self._draft_folder(folder)}{os.sep}{new_draft_name()}"
        with os_errors("write", draft):
            try:
                descriptor = os.open(draft, CREATE, 0o666)
            except FileNotFoundError:
                self.make_folder(folder)
                descriptor = os.open(draft, CREATE, 0o666)
            try:
                self._sync_name(folder)
            except BaseException:
                os.close(descriptor)
                unlink_quietly(draft)
                raise
        return draft, descriptor

    def _sync_name(self, folder: str) -> None:
        """Make the folder itself survive a power cut; whoever made it may not have come to that."""
        if self.durable and folder not in self._synced:
            sync_folder(self.path)
            self._synced.add(folder)

    def _sync_record(self, folder: str) -> None:
        path = self._folder(folder)
        with os_errors("sync", path):
            try:
                sync_folder(path)
            except FileNotFoundError as error:
                raise self._interrupted(folder) from error

    def _interrupted(self, folder: str) -> StorageError:
        path = self._folder(folder)
        if os.path.lexists(path):
            return StorageError(f"draft in {path!r} was removed while saving: by gc with a short grace?")
        return StorageError(f"workflow removed while saving: {path!r} is missing")

    def _commit(self, draft: str, target: str, may_replace: Callable[[], bool] | None) -> None:
        """Make a draft the record atomically."""
        with os_errors("write", target):
            if may_replace is None:
                os.replace(draft, target)  # noqa: PTH105
                return
            for _ in range(_TRIES):
                try:
                    move_exclusively(draft, target)
                    return
                except FileExistsError:
                    # One at a time: the record that was judged must be the one that is removed.
                    with exclusive_access(os.path.dirname(draft)):  # noqa: PTH120
                        if not may_replace():
                            raise RecordExists from None
                        unlink_quietly(target)
        raise StorageError(f"cannot write {target!r}: other writers keep replacing it")

    def _link(self, path: str, link: Link) -> None:
        """Give a file a second name, where the file system can."""
        target = self.location(link.folder, link.stem)
        with os_errors("write", target):
            try:
                link.is_made = link_file(path, target)
            except FileExistsError:
                second = f"{self._draft_folder(link.folder)}{os.sep}{new_draft_name()}"
                try:
                    link.is_made = link_file(path, second)
                    if link.is_made:
                        os.replace(second, target)  # noqa: PTH105
                finally:
                    unlink_quietly(second)  # it stays where both were names of one file
            except FileNotFoundError as error:
                raise self._interrupted(link.folder) from error

    def _maps_files(self) -> bool:
        if self._may_map is None:
            self._may_map = self.mapping and POSIX and not is_on_network(self.path)
        return self._may_map and (sys.version_info >= (3, 13) or len(_maps) < MOST_MAPS)


def _links(path: str) -> int:
    """Return how many names a file has; 0 when it is missing."""
    try:
        return os.lstat(path).st_nlink
    except OSError:
        return 0


def _listdir(path: str) -> list[str]:
    try:
        return os.listdir(path)  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        raise Absent from None


def _open(path: str, flags: int = READ) -> int:
    try:
        return os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError):
        raise Absent from None
    except PermissionError:
        if flags == READ:
            raise
        return _open(path)  # of another user: every use of it is noted


def _use(status: os.stat_result) -> Use:
    return Use((status.st_dev, status.st_ino), status.st_size, max(status.st_mtime, status.st_atime))


def _note_use(descriptor: int, status: os.stat_result) -> None:
    """Note that a file is read: systems note it at most once a day, or not at all."""
    if POSIX and time.time() - max(status.st_mtime, status.st_atime) > _MINUTE:
        with suppress(OSError):  # of another user, or nothing can be written
            os.utime(descriptor, ns=(time.time_ns(), status.st_mtime_ns))


def map_file(descriptor: int, size: int) -> memoryview:
    """Map a file: what the caller writes into it stays in this process, and removal does not matter.

    Args:
        descriptor: of the open file.
        size: of the file in bytes.
    """
    if sys.version_info >= (3, 13):
        return memoryview(mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY, trackfd=False))
    mapped = mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY)
    _maps.add(mapped)
    return memoryview(mapped)
