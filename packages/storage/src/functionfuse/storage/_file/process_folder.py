"""A folder for local copies of what is elsewhere, one a process."""

from __future__ import annotations

import os
import tempfile

_process_folders: dict[int, tempfile.TemporaryDirectory[str]] = {}


def process_folder() -> str:
    """Return a folder that is removed when this process ends."""
    if os.getpid() not in _process_folders:
        for inherited in _process_folders.values():
            inherited._finalizer.detach()  # type: ignore[attr-defined]  # of a parent that forked
        made = tempfile.TemporaryDirectory(prefix="functionfuse-blobs-", ignore_cleanup_errors=True)
        _process_folders[os.getpid()] = made
    return _process_folders[os.getpid()].name
