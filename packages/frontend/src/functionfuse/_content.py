"""The content of files and folders: its digest, and copies of it on other machines."""

from __future__ import annotations

import errno
import os
import stat
import time
from hashlib import file_digest, sha256
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_HEX = 32  # 128 bits of a SHA-256
_GRANULARITY = 2_000_000_000  # nanoseconds: the coarsest times of file systems, those of FAT
_MOST_CACHED = 100_000

Payload = dict[str, bytes | None]
"""Contents by name within a folder, None for an empty folder in it; a file is the one item with the name ""."""


class Stamp(NamedTuple):
    """What tells that a file is the same as before, without reading it."""

    size: int
    modified: int
    changed: int
    inode: int
    device: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Return the stamp of a file with a status."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)

    def is_settled(self, nanoseconds: int) -> bool:
        """Return True if every change after a time gives another stamp.

        A file that was written just before may be written again within the granularity of its times, and look the same.
        """
        return max(self.modified, self.changed) < nanoseconds - _GRANULARITY


_known: dict[str, tuple[Stamp, str]] = {}
_copies: dict[int, str] = {}  # the folder of this process's copies, by its id, as forks take the dict over


def content_of(path: str) -> str:
    """Return the digest of a file's content, or of the names and contents in a folder.

    Symbolic links are followed; one to nowhere counts by its text. A file is read once, as long as size, times, inode
    and device are the same.

    Args:
        path: of the file or folder.

    Raises:
        OSError: it cannot be read, is a device or a socket, or is a folder that a link in it leads back to.
    """
    if stat.S_ISDIR(os.stat(path).st_mode):  # noqa: PTH116  pathlib takes long to import
        hasher = sha256(b"folder")
        for name, part in _parts(path):
            hasher.update(os.fsencode(f"{name}\0{_digest_of_part(part)}\0"))
        return hasher.hexdigest()[:_HEX]
    return _of_file(path)


def stamp_of(path: str) -> Stamp | None:
    """Return the stamp under which the digest of a file is known; None for a folder, or if its times are too new."""
    known = _known.get(path)
    return None if known is None else known[0]


def take_over(path: str, stamp: Sequence[int], digest: str) -> None:
    """Take over a digest that another process computed, unless this one knows better.

    Args:
        path: of the file.
        stamp: its stamp then.
        digest: of its content.
    """
    _known.setdefault(path, (Stamp(*stamp), digest))


def payload_of(path: str) -> tuple[Payload, str]:
    """Return the content of a file or folder, and its digest.

    Args:
        path: of the file or folder.

    Raises:
        OSError: it cannot be read.
    """
    if not stat.S_ISDIR(os.stat(path).st_mode):  # noqa: PTH116
        data = _read(path)
        return {"": data}, sha256(data).hexdigest()[:_HEX]
    payload = {name: None if os.path.isdir(part) else _read(part) for name, part in _parts(path)}  # noqa: PTH112
    return payload, content_of(path)


def copy_of(payload: Mapping[str, bytes | None], name: str, digest: str) -> str:
    """Return the path of a copy of some content in a temporary folder of this process; it is written once.

    Args:
        payload: the content.
        name: the last part of the path.
        digest: of the content.
    """
    path = os.path.join(_folder_of_copies(), digest, name)  # noqa: PTH118
    try:
        if content_of(path) == digest:
            return path
    except OSError:  # it is not written yet
        pass
    for part, data in payload.items():
        target = os.path.join(path, part) if part else path  # noqa: PTH118
        os.makedirs(target if data is None else os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120
        if data is not None:
            draft = f"{target}.{time.monotonic_ns()}"  # another thread may write it, too
            with open(draft, "wb") as file:  # noqa: PTH123
                file.write(data)
            os.replace(draft, target)  # noqa: PTH105
    return path


def _of_file(path: str) -> str:
    status = os.stat(path)  # noqa: PTH116
    stamp, known = Stamp.of(status), _known.get(path)
    if known is not None and known[0] == stamp:
        return known[1]
    if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait
        raise OSError(errno.EINVAL, "neither a file nor a folder", path)
    now = time.time_ns()
    with open(path, "rb") as file:  # noqa: PTH123
        before = Stamp.of(os.fstat(file.fileno()))
        digest = file_digest(file, "sha256").hexdigest()[:_HEX]
        after = Stamp.of(os.fstat(file.fileno()))
    if before == after and after.is_settled(now):
        if len(_known) >= _MOST_CACHED:
            _known.clear()
        _known[path] = after, digest
    else:
        _known.pop(path, None)
    return digest


def _digest_of_part(path: str) -> str:
    if os.path.isdir(path):  # noqa: PTH112
        return "empty folder"
    try:
        return _of_file(path)
    except FileNotFoundError:
        return f"link {os.readlink(path)}"  # noqa: PTH115


def _parts(folder: str) -> Iterator[tuple[str, str]]:
    """Yield name and path of every file and empty folder within a folder, in an order that names alone decide."""
    open_folders = [(folder, "", frozenset[tuple[int, int]]())]
    while open_folders:
        path, prefix, above = open_folders.pop()
        status = os.stat(path)  # noqa: PTH116
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            raise OSError(errno.ELOOP, "a link leads back to a folder that it is in", path)
        with os.scandir(path) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        if not listed:
            yield prefix.rstrip("/"), path
        within = []
        for entry in listed:
            if entry.is_dir():
                within.append((entry.path, f"{prefix}{entry.name}/", above | {identity}))
            else:
                yield f"{prefix}{entry.name}", entry.path
        open_folders += reversed(within)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read()


def _folder_of_copies() -> str:
    process = os.getpid()
    if process not in _copies:
        from multiprocessing.util import Finalize
        from tempfile import mkdtemp

        _copies[process] = mkdtemp(prefix="functionfuse-files-")
        Finalize(None, _remove_copies, (process,), exitpriority=0)  # at the end of workers of pools, too
    return _copies[process]


def _remove_copies(process: int) -> None:
    if process == os.getpid():  # not in a fork
        from shutil import rmtree

        rmtree(_copies.pop(process), ignore_errors=True)
