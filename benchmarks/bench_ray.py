"""How fast graphs run on Ray, as ratios to hand-written ``.remote()`` code on the same cluster in the same run.

    python benchmarks/bench_ray.py [--fan 10000] [--chain 1000] [--layers 50] [--rounds 5] [--nodes 100000] [only ...]

Contenders take turns; ratios are of medians. Beside speeds: bytes in the object store after an array of 1 GB passed
through 10 nodes, and the peak memory of a driver of 100,000 nodes, which has a process of its own.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from _measure import median, show
from ray._private.internal_api import memory_summary

from functionfuse import workflow
from functionfuse.backends.builtin.rayback import RayWorkflow
from functionfuse.storage import FileStore

if TYPE_CHECKING:
    from collections.abc import Callable


def nothing(*values: object) -> None:
    """Do nothing."""


class Counter:
    """Counts its calls."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, n: int) -> int:
        """Count one."""
        self.count += n
        return self.count


node_nothing = workflow(nothing)
NodeCounter = workflow(Counter)
bare_nothing = ray.remote(nothing)
BareCounter = ray.remote(Counter)


def bare_fan(width: int) -> None:
    """Many tasks, and one that takes all their results."""
    ray.get(bare_nothing.remote(*[bare_nothing.remote(n) for n in range(width)]))


def fan(width: int) -> RayWorkflow:
    """The same graph."""
    return RayWorkflow(node_nothing(*[node_nothing(n) for n in range(width)]), workflow_name="fan")


def bare_chain(length: int) -> None:
    """Tasks one behind the other."""
    last = bare_nothing.remote()
    for _ in range(length - 1):
        last = bare_nothing.remote(last)
    ray.get(last)


def chain(length: int) -> RayWorkflow:
    """The same graph."""
    last = node_nothing()
    for _ in range(length - 1):
        last = node_nothing(last)
    return RayWorkflow(last, workflow_name="chain")


def bare_layers(layers: int) -> None:
    """Layers of 100 tasks, each with three parents in the layer before."""
    before = [bare_nothing.remote() for _ in range(100)]
    for _ in range(layers - 1):
        before = [bare_nothing.remote(*(before[(n + k) % 100] for k in range(3))) for n in range(100)]
    ray.get(bare_nothing.remote(*before))


def layers(count: int) -> RayWorkflow:
    """The same graph."""
    before = [node_nothing() for _ in range(100)]
    for _ in range(count - 1):
        before = [node_nothing(*(before[(n + k) % 100] for k in range(3))) for n in range(100)]
    return RayWorkflow(node_nothing(*before), workflow_name="layers")


def bare_object(calls: int) -> None:
    """Calls of one actor."""
    counter = BareCounter.remote()
    ray.get([counter.add.remote(1) for _ in range(calls)])


def calls_of_an_object(calls: int) -> RayWorkflow:
    """The same graph."""
    counter = NodeCounter()
    return RayWorkflow(*[counter.add(1) for _ in range(calls)], workflow_name="object")


def stored(width: int) -> RayWorkflow:
    """A fan whose results are all stored, without waiting for the disk."""
    made = fan(width)
    made.set_storage(FileStore(tempfile.mkdtemp(prefix="bench-ray-"), durable=False))
    return made


def stored_one_by_one(width: int) -> None:
    """Written by hand: each result is asked for, made, stored by a task, and waited for, before the next one."""
    store = FileStore(tempfile.mkdtemp(prefix="bench-ray-"), durable=False)
    save = ray.remote(save_result)
    for n in range(width):
        if not store.has_tasks("bench", [str(n)]):
            ray.get(save.remote(store, str(n), bare_nothing.remote(n)))


def save_result(store: FileStore, name: str, value: object) -> None:
    """Store a result."""
    store.save("bench", name, value)


@workflow
def ones(megabytes: int) -> np.ndarray:
    """A large array."""
    return np.ones(megabytes * 125_000)


@workflow
def same(array: np.ndarray) -> np.ndarray:
    """The array itself."""
    return array


@workflow
def first(array: np.ndarray) -> float:
    """Something of it."""
    return float(array[0])


def pass_a_large_array() -> None:
    """Print how many bytes the object store needs for 1 GB that passes through 10 nodes, and is read by 10."""
    node = array = ones(1_000)
    for _ in range(10):
        node = same(node)
    made = RayWorkflow(array, node, *[first(array) for _ in range(10)], workflow_name="large")
    held = made.run(return_results=False)
    usage = re.findall("Plasma memory usage.*?objects", memory_summary(stats_only=True))
    print(f"\n1 GB (953 MiB) through 10 nodes, and read by 10\n  {usage[0]}, all results held")
    del held


def memory_of_driver(nodes: int) -> None:
    """Print the peak memory of this process after a run of so many nodes; for a process that does nothing else."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    layers(nodes // 100).run(max_pending_tasks=2_000)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nlayers of {nodes}, 2,000 pending: peak of the driver {peak:.0f} MB, {before:.0f} before (goal 400)")


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description="How fast graphs run on Ray.")
    parser.add_argument("--fan", type=int, default=10_000, help="tasks of the fan")
    parser.add_argument("--chain", type=int, default=1_000, help="tasks of the chain, and calls of the object")
    parser.add_argument("--layers", type=int, default=50, help="layers of 100 tasks")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nodes", type=int, default=100_000, help="nodes of the run whose driver is measured")
    parser.add_argument("--driver", action="store_true", help="measure the driver of this process, and nothing else")
    parser.add_argument("only", nargs="*", help="figures to measure")
    options = parser.parse_args()
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    if options.driver:
        memory_of_driver(options.nodes)
        return
    pairs: dict[str, tuple[Callable[[int], Any], Callable[[int], RayWorkflow], int]] = {
        "fan": (bare_fan, fan, options.fan),
        "chain": (bare_chain, chain, options.chain),
        "layers": (bare_layers, layers, options.layers),
        "object": (bare_object, calls_of_an_object, options.chain),
        "stored": (bare_fan, stored, options.fan // 5),
    }
    bare_fan(500)
    fan(500).run()
    for name, (bare, make, size) in pairs.items():
        if not options.only or name in options.only:
            compare(name, bare, make, size, options.rounds)
    if not options.only or "one by one" in options.only:
        size = options.fan // 20
        contenders = {"by hand, one by one": lambda: stored_one_by_one(size), "graph": lambda: stored(size).run()}
        show(f"stored, {size} results", median(contenders, rounds=options.rounds), "by hand, one by one")
    if not options.only or "large" in options.only:
        pass_a_large_array()
    ray.shutdown()
    if not options.only or "driver" in options.only:
        subprocess.run([sys.executable, __file__, "--driver", "--nodes", str(options.nodes)], check=True)


def compare(name: str, bare: Callable[[int], Any], make: Callable[[int], RayWorkflow], size: int, rounds: int) -> None:
    """Let both take turns, and print their medians and the ratio of speeds."""
    contenders = {"bare": lambda: bare(size), "graph, with making it": lambda: make(size).run()}
    show(f"{name} of {size}", median(contenders, rounds=rounds), "bare")


if __name__ == "__main__":
    main()
