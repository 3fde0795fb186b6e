"""Where the tests' clusters are, where their workers find the test modules, and how they are started."""

from __future__ import annotations

from pathlib import Path

import ray

ADDRESS = "127.0.0.2"  # Ray takes 127.0.0.1 for the machine's address in the network
PATH = str(Path(__file__).parent)


def until_started(start):
    """Start a cluster, or a part of one; on a busy machine, its processes may not find each other in time."""
    for _ in range(3):
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
    return start()
