"""What benchmarks share: contenders that take turns, and figures relative to one of them."""

from __future__ import annotations

import os
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

ROUNDS = 3


def best(contenders: Mapping[str, Callable[[], object]], before: Callable[[], None] = lambda: None) -> dict[str, float]:
    """Return the shortest time of each, in seconds; ``before`` runs before each call, untimed."""
    return {name: min(times) for name, times in take_turns(contenders, before, ROUNDS).items()}


def median(
    contenders: Mapping[str, Callable[[], object]], before: Callable[[], None] = lambda: None, rounds: int = ROUNDS
) -> dict[str, float]:
    """Return the median time of each, in seconds; for calls that wait for another process."""
    return {name: statistics.median(times) for name, times in take_turns(contenders, before, rounds).items()}


def take_turns(
    contenders: Mapping[str, Callable[[], object]], before: Callable[[], None], rounds: int
) -> dict[str, list[float]]:
    """Call all contenders, one after another, ``rounds`` times; return the seconds that each call took.

    Each round begins with another contender: who comes first pays for what went on before.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    turns = list(contenders.items())
    for _ in range(rounds):
        turns.append(turns.pop(0))
        for name, call in turns:
            before()
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return times


def show(title: str, times: Mapping[str, float], reference: str) -> None:
    """Print seconds, and speeds relative to one contender."""
    print(f"\n{title}")
    for name, duration in times.items():
        print(f"  {name:40} {duration:10.3f} s {times[reference] / duration:8.2f}")


def raw_write(path: Path, array: np.ndarray) -> None:
    """Write as fast as one thread can."""
    view = array.reshape(-1).view(np.uint8).data
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        while view:
            view = view[os.write(descriptor, view[: 8 << 20]) :]
    finally:
        os.close(descriptor)
