"""10,000 no-op nodes on threads, against a hand-written ThreadPoolExecutor loop. Goal: at most 1.5 times."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from functionfuse import workflow
from functionfuse.backends.builtin.localback import LocalWorkflow

NODES, WORKERS, ROUNDS = 10_000, 2, 7


def plain(value: int) -> int:
    """Do nothing."""
    return value


def by_hand() -> float:
    """Wall time of submitting and awaiting every call."""
    with ThreadPoolExecutor(WORKERS) as pool:
        start = time.perf_counter()
        futures = [pool.submit(plain, number) for number in range(NODES)]
        _ = [future.result() for future in futures]
        return time.perf_counter() - start


def ours() -> float:
    """Wall time of the same as a graph."""
    node = workflow(plain)
    with ThreadPoolExecutor(WORKERS) as pool:
        start = time.perf_counter()
        nodes = [node(number) for number in range(NODES)]
        LocalWorkflow(*nodes, workflow_name="bench", executor=pool).run()
        return time.perf_counter() - start


def main() -> None:
    """Print the median ratio of interleaved rounds."""
    pairs = [(ours(), by_hand()) for _ in range(ROUNDS)]
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{NODES} nodes on {WORKERS} threads: {ratio:.2f} times a hand-written loop (goal 1.5)")


if __name__ == "__main__":
    main()
