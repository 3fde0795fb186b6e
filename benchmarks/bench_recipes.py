"""Recipes: goal at most 20 us a node with small arguments, and NumPy data hashed at 1 GB/s or more."""

from __future__ import annotations

import statistics
import time

import numpy as np

from functionfuse import workflow
from functionfuse.fingerprint import Fingerprinter, RecipeBook
from functionfuse.graph import Graph
from functionfuse.plan import steps_of

NODES, ROUNDS, GIGABYTE = 10_000, 5, 1_000_000_000


@workflow
def combine(a: object, b: object, scale: float = 1.0) -> object:
    """A node with small arguments."""
    return a, b, scale


def recipe_seconds() -> float:
    """Wall time of writing the recipes of a chain."""
    node = combine(0, "start", scale=0.5)
    for number in range(NODES - 1):
        node = combine(node, number, scale=0.5)
    steps = steps_of(Graph([node]))
    start = time.perf_counter()
    book = RecipeBook()
    for step in steps:
        book.write(step, step.name)
    return time.perf_counter() - start


def main() -> None:
    """Print medians."""
    seconds = statistics.median(recipe_seconds() for _ in range(ROUNDS))
    print(f"recipe: {seconds / NODES * 1e6:.1f} us a node (goal 20)")
    array = np.ones(GIGABYTE // 8)
    rates = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        Fingerprinter().digest(array)
        rates.append(array.nbytes / (time.perf_counter() - start) / 1e9)
    print(f"hashing a 1 GB array: {statistics.median(rates):.2f} GB/s (goal 1)")


if __name__ == "__main__":
    main()
