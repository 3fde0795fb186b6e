"""1,000 coroutines that each wait 0.1 s, 100 at a time, against the time that they wait. Goal: at most 1.3 times.

Beside it, asyncio.gather with a semaphore; and the same with results that a store of files keeps.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time

from functionfuse import workflow
from functionfuse.backends.builtin.localback import LocalWorkflow

NODES, LIMIT, SECONDS, ROUNDS = 1_000, 100, 0.1, 5
IDEAL = NODES / LIMIT * SECONDS


async def plain(value: int) -> int:
    """Wait."""
    await asyncio.sleep(SECONDS)
    return value


def by_hand() -> float:
    """Wall time of asyncio.gather with a semaphore."""

    async def gathered() -> None:
        free = asyncio.Semaphore(LIMIT)

        async def limited(value: int) -> int:
            async with free:
                return await plain(value)

        await asyncio.gather(*map(limited, range(NODES)))

    start = time.perf_counter()
    asyncio.run(gathered())
    return time.perf_counter() - start


def ours(location: str | None = None) -> float:
    """Wall time of the same as a graph.

    Args:
        location: of a store.
    """
    node = workflow(plain)
    start = time.perf_counter()
    flow = LocalWorkflow(*map(node, range(NODES)), workflow_name="bench")
    flow.set_storage(location)
    flow.run(max_concurrency=LIMIT)
    return time.perf_counter() - start


def main() -> None:
    """Print the median ratios of interleaved rounds."""
    with tempfile.TemporaryDirectory() as folder:
        rounds = [(ours(), by_hand(), ours(f"file:{folder}/{number}")) for number in range(ROUNDS)]
    alone, hand, stored = (statistics.median(column) / IDEAL for column in zip(*rounds, strict=True))
    print(
        f"{NODES} coroutines of {SECONDS} s, {LIMIT} at a time: {alone:.2f} times the ideal (goal 1.3), "
        f"{alone / hand:.2f} times asyncio.gather; with a store of files {stored:.2f} times the ideal"
    )


if __name__ == "__main__":
    main()
