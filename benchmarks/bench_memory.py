"""Peak memory of a chain of 50 steps of 100 MB each. Goal: below 350 MB, because results are released."""

from __future__ import annotations

import resource

import numpy as np

from functionfuse import workflow
from functionfuse.backends.builtin.localback import LocalWorkflow

STEPS, MEGABYTES = 50, 100


@workflow
def start(megabytes: int) -> np.ndarray:
    """A large array."""
    return np.ones(megabytes * 125_000)


@workflow
def increase(array: np.ndarray) -> np.ndarray:
    """Another array of that size."""
    return array + 1


@workflow
def total(array: np.ndarray) -> float:
    """A small result."""
    return float(array.sum())


def main() -> None:
    """Run the chain, and print the process's peak memory."""
    node = start(MEGABYTES)
    for _ in range(STEPS - 1):
        node = increase(node)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    LocalWorkflow(total(node), workflow_name="bench").run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak {peak:.0f} MB, of which {before:.0f} MB before the run (goal 350)")


if __name__ == "__main__":
    main()
