"""The folder of the drafts of a workflow."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .._store.drafts import is_live, is_stale
from .disk import os_errors, unlink_quietly

if TYPE_CHECKING:
    from collections.abc import Iterator


def has_live_drafts(folder: str) -> bool:
    """Return True if one of the drafts in a folder may still be being written."""
    return any(is_live(name, age) for name, age in _drafts(folder))


def sweep_drafts(folder: str, grace: float, *, dry_run: bool = False) -> list[str]:
    """Delete drafts whose writers have ended, and old ones of unknown writers.

    Args:
        folder: where the drafts are.
        grace: seconds that the draft of an unknown writer is kept.
        dry_run: delete nothing.

    Returns:
        The names of the deleted drafts.
    """
    swept = []
    for name, age in _drafts(folder):
        if is_stale(name, age, grace):
            path = str(Path(folder, name))
            if not dry_run:
                with os_errors("remove", path):
                    unlink_quietly(path)
            swept.append(name)
    return swept


def _drafts(folder: str) -> Iterator[tuple[str, float]]:
    """Yield each draft with the seconds since it was last written."""
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        with suppress(FileNotFoundError):  # just published
            yield entry.name, max(0.0, time.time() - entry.stat(follow_symlinks=False).st_mtime)
