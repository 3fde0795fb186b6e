"""How fast durable workflows run on Ray, as ratios to bare ``.remote()`` code on the same cluster in the same run.

    python benchmarks/bench_durable.py [--rounds 3] [--long] [--peer PYTHON]

Contenders take turns; ratios are of medians. Each task's result is a record of its own in a folder, on a disk cache
("stored") or, where it says so, flushed to the disk. ``--peer`` is the interpreter of an environment with Ray 2.47.1,
whose ``ray.workflow`` runs the same graphs in a process of its own, before.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from _measure import median, show

from functionfuse.backends.addons import rayworkflow as workflow
from functionfuse.storage import FileStore

if TYPE_CHECKING:
    from collections.abc import Callable

PEER = """
import json, logging, sys, tempfile, time, warnings
warnings.simplefilter("ignore")
import ray
from ray import workflow
options = {"num_cpus": 2, "include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
ray.init(address="local", storage=sys.argv[1], **options)
workflow.init()

@ray.remote
def nothing(*values):
    return None

def fan(width):
    return nothing.bind(*[nothing.bind(n) for n in range(width)])

def chain(length):
    last = nothing.bind()
    for _ in range(length - 1):
        last = nothing.bind(last)
    return last

workflow.run(fan(20))
graphs = {"fan of 200": fan(200), "fan of 1000": fan(1000), "chain of 100": chain(100), "chain of 300": chain(300)}
for name, dag in graphs.items():
    start = time.perf_counter()
    workflow.run(dag)
    print(json.dumps([name, time.perf_counter() - start]), flush=True)
"""


@ray.remote  # type: ignore[untyped-decorator]
def nothing(*values: object) -> None:
    """Do nothing."""


@ray.remote  # type: ignore[untyped-decorator]
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@ray.remote  # type: ignore[untyped-decorator]
def fib(n: int) -> Any:
    """Return a number of Fibonacci, the long way."""
    return n if n <= 1 else workflow.continuation(add.bind(fib.bind(n - 1), fib.bind(n - 2)))


@ray.remote  # type: ignore[untyped-decorator]
def down(n: int) -> Any:
    """Count down, by one task after another."""
    return workflow.continuation(down.bind(n - 1)) if n else 0


@ray.remote  # type: ignore[untyped-decorator]
def once(path: str, *_: object) -> float:
    """Fail at first; then say when this ran."""
    if not Path(path).exists():
        Path(path).touch()
        raise OSError("not yet")
    return time.time()


def fan(width: int, made: Callable[..., Any]) -> Any:
    """Many tasks, and one that takes all their results."""
    return made(*[made(n) for n in range(width)])


def chain(length: int, made: Callable[..., Any]) -> Any:
    """Tasks one behind the other."""
    last = made()
    for _ in range(length - 1):
        last = made(last)
    return last


def timed(title: str, tasks: int, call: Callable[[], object]) -> None:
    """Print how long one call takes."""
    start = time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    print(f"  {title:40} {seconds:10.3f} s {tasks / seconds:8.0f} tasks/s")


def compared(rounds: int, peer: dict[str, float]) -> None:
    """Print graphs of some sizes beside bare Ray."""
    for name, shape, size in (
        ("fan of 200", fan, 200),
        ("fan of 1000", fan, 1000),
        ("chain of 100", chain, 100),
        ("chain of 300", chain, 300),
    ):
        contenders: dict[str, Callable[[], object]] = {
            "bare Ray": lambda shape=shape, size=size: ray.get(shape(size, nothing.remote)),  # type: ignore[misc]
            "durable": lambda shape=shape, size=size: workflow.run(shape(size, nothing.bind)),  # type: ignore[misc]
        }
        times = median(contenders, rounds=rounds)
        if name in peer:
            times["ray.workflow 2.47.1, its own process"] = peer[name]
        show(name, times, "bare Ray")


def alone(folder: str) -> None:
    """Print what has nothing to compare with."""
    print("\nlong ones")
    timed("fan of 10,000", 10_000, lambda: workflow.run(fan(10_000, nothing.bind)))
    timed("chain of 5,000", 5_000, lambda: workflow.run(chain(5_000, nothing.bind)))
    timed("recursion of depth 10,000", 10_000, lambda: workflow.run(down.bind(10_000), workflow_id="down"))
    timed("fib(15)", 2_959, lambda: workflow.run(fib.bind(15)))
    small = [chain(3, nothing.bind) for _ in range(1_000)]
    timed("1,000 workflows of 3 tasks", 3_000, lambda: ray.get([workflow.run_async(dag) for dag in small]))
    dag = once.bind(f"{folder}/once", *[nothing.bind(n) for n in range(10_000)])
    try:
        workflow.run(dag, workflow_id="resumed")
    except workflow.WorkflowExecutionError:
        start = time.time()
        print(
            f"  resume of 10,000 finished tasks: the first new one ran after {workflow.resume('resumed') - start:.1f} s"
        )
    files = [path.stat().st_size for path in Path(folder, "durable=2Fresumed").rglob("*.ffr")]
    print(f"  files for each task: {len(files) / 10_001:.2f}, bytes: {sum(files) / 10_001:.0f}")


def peer_times(python: str) -> dict[str, float]:
    """Return what the peer needs, by name."""
    if not python:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
        environment.pop("PYTHONPATH", None)
        command = [python, "-c", PEER, folder]
        ended = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=600)
    return dict(json.loads(line) for line in ended.stdout.splitlines() if line.startswith("["))


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--durable", action="store_true", help="flush each result to the disk")
    parser.add_argument("--peer", default="")
    given = parser.parse_args()
    peer = peer_times(given.peer)
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    with tempfile.TemporaryDirectory() as folder:
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        workflow.init(storage=FileStore(folder, durable=given.durable))
        workflow.run(fan(50, nothing.bind))
        ray.get(fan(300, nothing.remote))
        compared(given.rounds, peer)
        if given.long:
            alone(folder)
        ray.shutdown()


if __name__ == "__main__":
    main()
