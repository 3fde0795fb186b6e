"""File operations that a crash, a full disk or a second writer cannot turn into half a result."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from functionfuse.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

POSIX = os.name == "posix"
_BINARY = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
READ = os.O_RDONLY | _BINARY
LOOK = READ | getattr(os, "O_NOATIME", 0)  # without being noted as a use
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY

_NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK}
_NO_FOLDER_FSYNC = {errno.EINVAL, errno.EBADF, errno.EOPNOTSUPP, errno.ENOSYS}


class os_errors:  # noqa: N801  used like a function; a generator would cost more than the calls inside
    """Context: an OSError becomes a StorageError that says what failed, and where.

    Args:
        action: what is tried, a verb.
        path: where.
    """

    __slots__ = ("_action", "_path")

    def __init__(self, action: str, path: str) -> None:
        self._action = action
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError) and not isinstance(error, StorageError):
            raise StorageError(f"cannot {self._action} {self._path!r}: {error.strerror or error}") from error


@contextmanager
def exclusive_access(folder: str) -> Iterator[None]:
    """Context: no other thread or process of this machine is in the same context; without effect on Windows."""
    if not POSIX:
        yield
        return
    import fcntl

    descriptor = os.open(folder, READ)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: memoryview) -> None:
    """Write everything at the current position; the kernel may take it in pieces.

    Args:
        descriptor: of the open file.
        data: the bytes.
    """
    while data:
        data = data[os.write(descriptor, data) :]


def pwrite_all(descriptor: int, data: memoryview, offset: int) -> None:
    """Write everything at an offset; not available on Windows.

    Args:
        descriptor: of the open file.
        data: the bytes.
        offset: of the first byte.
    """
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def read_into(descriptor: int, view: memoryview) -> int:
    """Fill a view from the current position, and return how many bytes there were.

    Args:
        descriptor: of the open file.
        view: where the bytes go.
    """
    filled = 0
    with open(descriptor, "rb", buffering=0, closefd=False) as file:
        while filled < len(view):
            count = file.readinto(view[filled:])
            if not count:
                break
            filled += count
    return filled


def unlink_quietly(path: str) -> None:
    """Remove a file, if it exists."""
    with suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108  a string in hand, on the way of every save


def remove_tree(path: str) -> None:
    """Remove a file or a folder, if it exists."""
    if Path(path).is_dir() and not Path(path).is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        unlink_quietly(path)


def sync_folder(path: str) -> None:
    """Make the names in a folder survive a power cut, where the system can; without effect on Windows."""
    if not POSIX:
        return
    descriptor = os.open(path, READ | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_FSYNC:
            raise
    finally:
        os.close(descriptor)


def sync_tree(path: str) -> None:
    """Make a file, or all that a folder holds, survive a power cut."""
    for folder, _, files in os.walk(path):
        for name in files:
            _sync_file(str(Path(folder, name)))
        sync_folder(folder)
    if not Path(path).is_dir():
        _sync_file(path)


def move_exclusively(source: str, target: str) -> None:
    """Give a file its name atomically.

    Args:
        source: path of the file.
        target: its new path.

    Raises:
        FileExistsError: there is a file of that name.
    """
    if not POSIX:
        Path(source).rename(target)  # refuses an existing target there
        return
    if link_file(source, target):
        with suppress(OSError):  # a second name of what is public now; gc takes it
            os.unlink(source)  # noqa: PTH108
        return
    # No hard links (exFAT, some network shares): the best that is left has a gap between two calls.
    if Path(target).exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    os.replace(source, target)  # noqa: PTH105


def link_file(source: str, target: str) -> bool:
    """Give a file a second name; return False where the system cannot.

    Args:
        source: path of the file.
        target: its second path.

    Raises:
        FileExistsError: there is a file of that name.
    """
    if not POSIX:
        return False
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS and error.errno != errno.EXDEV:
            raise
        return False
    return True


def _sync_file(path: str) -> None:
    # A read-only file can be synced too, except on Windows.
    descriptor = os.open(path, READ if POSIX else os.O_RDWR | _BINARY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fresh_memory(size: int) -> mmap.mmap:
    """Return memory that the system has not filled with zeros yet, unlike a bytearray's."""
    if not POSIX:
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # not shared after a fork
