"""What this machine offers to the nodes of a run."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container


def offered(resources: Mapping[str, float]) -> dict[str, float]:
    """Return the resources that nodes on this machine share.

    Args:
        resources: what an engineer says that it has besides processors and memory, or instead.
    """
    from loky import cpu_count  # which is not needed by runs without such options

    return {"cpus": cpu_count(), "memory": _memory(), **resources}


def _memory() -> float:
    """Return how much memory this process may have, in bytes."""
    sizes = [float("inf")]
    with suppress(OSError, ValueError, AttributeError):  # no Linux or macOS
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(OSError, ValueError):  # no limit, no container, or no Linux
        sizes.append(int(_MEMORY_LIMIT.read_text()))
    return min(sizes)
