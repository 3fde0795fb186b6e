"""How fast graphs run on Prefect, and in how much memory, as ratios to the same graph by hand with ``task.submit``.

    python benchmarks/bench_prefect.py [--size 500] [--rounds 5] [only ...]

A server is started for it, with a home of its own. Contenders take turns on it; ratios are of medians.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _measure import median, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from functionfuse.backends.addons.prefectback import PrefectWorkflow

ADDRESS = "127.0.0.1"
# A file is locked now and then when flows follow each other; clients then wait for two seconds, whoever is measured.
DATABASE = "sqlite+aiosqlite:///file::memory:?cache=shared&uri=true&check_same_thread=false"
MEMORY_STEPS, MEMORY_BYTES = 20, 40_000_000
PAIRS = 200_000


@contextmanager
def server() -> Iterator[None]:
    """Start a server, and let this process and those that it starts use it."""
    with socket.socket() as free:
        free.bind((ADDRESS, 0))
        port = free.getsockname()[1]
    os.environ |= {
        "PREFECT_HOME": tempfile.mkdtemp(prefix="bench-prefect-"),
        "PREFECT_API_URL": f"http://{ADDRESS}:{port}/api",
        "PREFECT_API_DATABASE_CONNECTION_URL": DATABASE,
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    program = str(Path(sys.executable).with_name("prefect"))
    process = subprocess.Popen(
        [program, "server", "start", "--host", ADDRESS, "--port", str(port), "--no-ui"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://{ADDRESS}:{port}/api/health", timeout=1)
                break
            except OSError:
                time.sleep(0.2)
        yield
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def nothing(*values: object) -> None:
    """Do nothing."""


def length(values: Any, _: int) -> int:
    """Return the length."""
    return len(values)


def array(step: int, before: Any = None) -> Any:
    """Return 40 MB."""
    import numpy as np

    del before
    return np.full(MEMORY_BYTES // 8, float(step))


def size_of(value: Any) -> int:
    """Return a number for an array."""
    return int(value.nbytes)


def bare_fan(size: int) -> None:
    """Many tasks, and one that takes all their results."""
    from prefect import flow, task

    bare = task(nothing)

    @flow
    def by_hand() -> None:
        bare.submit(*[bare.submit(n) for n in range(size - 1)]).result()

    by_hand()


def fan(size: int) -> None:
    """The same graph."""
    from functionfuse import workflow
    from functionfuse.backends.addons.prefectback import PrefectWorkflow

    node = workflow(nothing)
    PrefectWorkflow(node(*[node(n) for n in range(size - 1)]), workflow_name="fan").run()


def bare_chain(size: int) -> None:
    """Tasks one behind the other."""
    from prefect import flow, task

    bare = task(nothing)

    @flow
    def by_hand() -> None:
        last = bare.submit()
        for _ in range(size - 1):
            last = bare.submit(last)
        last.result()

    by_hand()


def chain(size: int) -> None:
    """The same graph."""
    from functionfuse import workflow
    from functionfuse.backends.addons.prefectback import PrefectWorkflow

    node = workflow(nothing)
    last = node()
    for _ in range(size - 1):
        last = node(last)
    PrefectWorkflow(last, workflow_name="chain").run()


def lists(pairs: int) -> PrefectWorkflow:
    """Five nodes that take a list of pairs; making them copies the list five times, which is not of the run."""
    from functionfuse import workflow
    from functionfuse.backends.addons.prefectback import PrefectWorkflow

    values = [(n, n) for n in range(pairs)]
    node = workflow(length)
    return PrefectWorkflow(*[node(values, n) for n in range(5)], workflow_name="lists")


def memory_by_hand() -> None:
    """A chain of large results."""
    from prefect import flow, task

    bare, size = task(array), task(size_of)

    @flow
    def by_hand() -> Any:
        last = bare.submit(0)
        for step in range(1, MEMORY_STEPS):
            last = bare.submit(step, last)
        return size.submit(last).result()

    by_hand()


def memory_of_graph() -> None:
    """The same graph."""
    from functionfuse import workflow
    from functionfuse.backends.addons.prefectback import PrefectWorkflow

    node, size = workflow(array), workflow(size_of)
    last = node(0)
    for step in range(1, MEMORY_STEPS):
        last = node(step, last)
    PrefectWorkflow(size(last), workflow_name="memory").run()


def peak(function: Callable[[], None]) -> float:
    """Megabytes that a process of its own needs at most for a function."""
    code = f"import bench_prefect, resource; bench_prefect.{function.__name__}(); "
    code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    folder = Path(__file__).parent
    ended = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return int(ended.stdout.split()[-1]) / 1000


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description="How fast graphs run on Prefect.")
    parser.add_argument("--size", type=int, default=500, help="nodes of the fan and the chain")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("only", nargs="*", help="figures to measure: fan, chain, lists, memory")
    options = parser.parse_args()
    figures: dict[str, Callable[[], None]] = {
        "fan": lambda: compare("fan", bare_fan, fan, options),
        "chain": lambda: compare("chain", bare_chain, chain, options),
        "lists": lambda: compare_lists(options.rounds),
        "memory": compare_memory,
    }
    with server():
        bare_fan(20)
        fan(20)
        for name, measure in figures.items():
            if not options.only or name in options.only:
                measure()


def compare(name: str, bare: Callable[[int], None], graph: Callable[[int], None], options: argparse.Namespace) -> None:
    """Let both take turns; the server takes in what it was sent before the next turn."""
    contenders = {"by hand": lambda: bare(options.size), "graph, with making it": lambda: graph(options.size)}
    times = median(contenders, before=lambda: time.sleep(5), rounds=options.rounds)
    show(f"{name} of {options.size}: seconds, and speed relative to", times, "by hand")


def compare_lists(rounds: int) -> None:
    """A long list against a short one."""
    contenders = {"of one pair": lists(1).run, f"of {PAIRS} pairs": lists(PAIRS).run}
    show("a list passed to 5 nodes", median(contenders, rounds=rounds), "of one pair")


def compare_memory() -> None:
    """Peak memory of two processes."""
    by_hand, graph = peak(memory_by_hand), peak(memory_of_graph)
    print(f"\nchain of {MEMORY_STEPS} steps of {MEMORY_BYTES // 1_000_000} MB: peak memory")
    print(f"  by hand {by_hand:6.0f} MB\n  graph   {graph:6.0f} MB, {graph / by_hand:.2f} of that")


if __name__ == "__main__":
    main()
