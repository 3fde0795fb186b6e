"""The root of a file store: a folder with a marker that says how names are kept in it."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from functionfuse.errors import StorageError

from .._store.layout import MARKER, marker_text, parse_marker
from .disk import CREATE, POSIX, move_exclusively, os_errors, sync_folder, unlink_quietly, write_all

MOUNTS = Path("/proc/self/mounts")
_NETWORK = {
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "glusterfs",
    "gpfs",
    "lustre",
    "nfs",
    "nfs4",
    "smb3",
    "smbfs",
}


def open_root(path: str, *, durable: bool) -> bool:
    """Make the root unless it is there; return whether its file system ignores case.

    Args:
        path: of the folder.
        durable: survive a power cut.

    Raises:
        StorageError: the path is no folder, or cannot be read or made.
    """
    root = Path(path)
    marker = root / MARKER
    with os_errors("open a store at", path):
        for folder in (root, *root.parents):
            if folder.is_file():
                what = "it" if folder == root else repr(str(folder))
                raise StorageError(f"cannot open a store at {path!r}: {what} is a file, a folder is needed")
    try:
        return _read(marker)
    except FileNotFoundError:
        pass
    with os_errors("make a store at", path):
        _make_folders(root, durable=durable)
        names = "fold" if _ignores_case(root) else "exact"
        text = marker_text(names=names)
        with suppress(FileExistsError):  # another process made it
            _write_new(marker, text, durable=durable)
    return _read(marker)


def is_on_network(path: str, mounts: Path = MOUNTS) -> bool:
    """Return True if a path is on a network file system, as far as the system knows.

    Args:
        path: of a file or folder.
        mounts: the list of mounted file systems; without it all paths are taken as local.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    real = os.path.realpath(path)
    best, kind = "", ""
    for line in lines:
        _, point, this_kind, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, this_kind
    return kind in _NETWORK or kind.startswith("fuse.")


def _read(marker: Path) -> bool:
    """Return whether names are folded. FileNotFoundError when there is no marker."""
    try:
        text = marker.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"cannot read {str(marker)!r}: {error.strerror}") from error
    return bool(parse_marker(text, str(marker))["names"] == "fold")


def _make_folders(root: Path, *, durable: bool) -> None:
    missing = [folder for folder in (root, *root.parents) if not folder.exists()]
    root.mkdir(parents=True, exist_ok=True)
    if durable:
        for folder in missing:
            sync_folder(str(folder.parent))


def _ignores_case(root: Path) -> bool:
    probe = root / f".Probe-{uuid.uuid4().hex}"
    probe.touch(exist_ok=False)
    try:
        return probe.with_name(probe.name.lower()).exists()
    finally:
        unlink_quietly(str(probe))


def _write_new(target: Path, text: str, *, durable: bool) -> None:
    """Write a file atomically; FileExistsError when it is there."""
    draft = target.with_name(f"{target.name}.{uuid.uuid4().hex}")
    try:
        descriptor = os.open(draft, CREATE, 0o666)
        try:
            write_all(descriptor, memoryview(text.encode()))
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        move_exclusively(str(draft), str(target))
        if durable and POSIX:
            sync_folder(str(target.parent))
    finally:
        unlink_quietly(str(draft))
