"""The root of a file store: a folder with a marker that says how names are kept in it."""

from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from pathlib import Path

from functionfuse.errors import CorruptRecord, StorageError, UnsupportedRecord

from .disk import CREATE, POSIX, move_new, sync_folder, telling, unlink_quietly, write_all

MARKER = "ffstore.json"
FORMAT = 1

_MOUNTS = Path("/proc/self/mounts")
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

    Raises StorageError when the path is no folder, or cannot be read or made.
    """
    root = Path(path)
    marker = root / MARKER
    with telling("open a store at", path):
        for place in (root, *root.parents):
            if place.is_file():
                what = "it" if place == root else repr(str(place))
                raise StorageError(f"cannot open a store at {path!r}: {what} is a file, a folder is needed")
    try:
        return _read(marker)
    except FileNotFoundError:
        pass
    with telling("make a store at", path):
        _make_folders(root, durable=durable)
        names = "fold" if _ignores_case(root) else "exact"
        text = json.dumps({"format": FORMAT, "names": names})
        with suppress(FileExistsError):  # another process made it
            _write_new(marker, text, durable=durable)
    return _read(marker)


def is_on_network(path: str) -> bool:
    """Whether a path is on a network file system, as far as the system tells."""
    try:
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    real = os.path.realpath(path)
    best, kind = "", ""
    for line in mounts:
        _, point, this_kind, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, this_kind
    return kind in _NETWORK or kind.startswith("fuse.")


def _read(marker: Path) -> bool:
    """Return whether names are folded. FileNotFoundError when there is no marker."""
    try:
        content = json.loads(marker.read_text(encoding="utf-8"))
        version, names = content["format"], content["names"]
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"cannot read {str(marker)!r}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptRecord(f"{str(marker)!r} is damaged, or was not made by a store: {error!r}") from error
    if version != FORMAT or names not in ("exact", "fold"):
        raise UnsupportedRecord(
            f"store {str(marker.parent)!r} has format {version!r}, names {names!r}; this release reads 1"
        )
    return bool(names == "fold")


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
    """Write a file in one visible step; FileExistsError when it is there."""
    draft = target.with_name(f"{target.name}.{uuid.uuid4().hex}")
    try:
        descriptor = os.open(draft, CREATE, 0o666)
        try:
            write_all(descriptor, memoryview(text.encode()))
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        move_new(str(draft), str(target))
        if durable and POSIX:
            sync_folder(str(target.parent))
    finally:
        unlink_quietly(str(draft))
