"""The cost of showing progress: 10,000 no-op nodes in this process, with a terminal and without, in turn.

Goal: at most 5% more time of the processor. The terminal is a pseudo-terminal that a thread reads.
"""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time
from typing import Any

from functionfuse import workflow
from functionfuse.backends.builtin.localback import LocalWorkflow

NODES, PAIRS = 10_000, 15


@workflow
def one(value: int) -> int:
    """A node without parents."""
    return value


@workflow
def last(values: list[int]) -> int:
    """A node that takes many."""
    return len(values)


def read_all(terminal: int) -> None:
    """Read what is drawn, as a terminal does."""
    while os.read(terminal, 1 << 16):
        pass


def measure(made: LocalWorkflow[Any], *, progress: bool) -> float:
    """Return the processor time of one run, in seconds."""
    start = time.process_time()
    made.run(progress=progress)
    return time.process_time() - start


def main() -> None:
    """Print the ratio."""
    reader, writer = os.openpty()
    threading.Thread(target=read_all, args=(reader,), daemon=True).start()
    os.environ["TERM"] = "xterm-256color"
    os.environ.pop("CI", None)
    stderr, sys.stderr = sys.stderr, os.fdopen(writer, "w", encoding="utf-8")
    try:
        made = LocalWorkflow(last([one(number) for number in range(NODES - 1)]), workflow_name="progress")
        measure(made, progress=True)  # which imports what draws
        ratios = [measure(made, progress=True) / measure(made, progress=False) for _ in range(PAIRS)]
    finally:
        sys.stderr = stderr
    print(f"progress shown / not shown: {statistics.median(ratios):.2f} times (goal 1.05)")


if __name__ == "__main__":
    main()
