"""How fast durable workflows run on Ray, as ratios to bare ``.remote()`` code on the same cluster in the same run.

    python benchmarks/bench_durable.py [--rounds 3] [--long] [--flush] [--peer PYTHON]

Contenders take turns; ratios are of medians. "strict" stores each task's result as a record of its own in a folder, in
the cache of its disk or, with ``--flush``, on the disk itself; "grouped" stores many in one record. ``--peer`` is the
interpreter of an environment with Ray 2.47.1, whose ``ray.workflow`` runs the same graphs before, in its own process.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from _measure import median, show

from functionfuse.backends.addons import rayworkflow as workflow
from functionfuse.storage import FileStore

if TYPE_CHECKING:
    from collections.abc import Callable

CLUSTER = {"address": "local", "num_cpus": 2, "include_dashboard": False, "log_to_driver": False}
SIZES = {"fan": (200, 1_000), "chain": (100, 300)}
PEER = """
import json, logging, sys, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import ray
from ray import workflow
{graphs}
ray.init(storage=sys.argv[1], logging_level=logging.ERROR, **{cluster})
workflow.init()

@ray.remote
def nothing(*values):
    return None

@ray.remote
def add(a, b):
    return a + b

@ray.remote
def fib(n):
    return n if n <= 1 else workflow.continuation(add.bind(fib.bind(n - 1), fib.bind(n - 2)))

workflow.run(fan(20, nothing.bind))
for name, sizes in {sizes}.items():
    for size in sizes:
        dag = globals()[name](size, nothing.bind)
        start = time.perf_counter()
        workflow.run(dag, workflow_id=f"{{name}} of {{size}}")
        print(json.dumps([f"{{name}} of {{size}}", time.perf_counter() - start]), flush=True)
files = [path.stat().st_size for path in Path(sys.argv[1]).rglob("*") if "fan of 1000" in str(path) and path.is_file()]
print(json.dumps(["files", len(files) / 1_001]), flush=True)
print(json.dumps(["bytes", sum(files) / 1_001]), flush=True)
if {long}:
    start = time.perf_counter()
    ray.get([workflow.run_async(chain(3, nothing.bind)) for _ in range(100)])
    print(json.dumps(["workflows", 10 * (time.perf_counter() - start)]), flush=True)
    start = time.perf_counter()
    workflow.run(fib.bind(10))
    print(json.dumps(["fib(10)", time.perf_counter() - start]), flush=True)
"""


def fan(width: int, made: Callable[..., Any]) -> Any:
    """Many tasks, and one that takes all their results."""
    return made(*[made(n) for n in range(width)])


def chain(length: int, made: Callable[..., Any]) -> Any:
    """Tasks one behind the other."""
    last = made()
    for _ in range(length - 1):
        last = made(last)
    return last


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
def down(path: str, n: int) -> Any:
    """Count down, by one task after another; fail once at the end, then say when that ran."""
    return workflow.continuation(down.bind(path, n - 1)) if n else _once(path)


@ray.remote  # type: ignore[untyped-decorator]
def once(path: str, *_: object) -> float:
    """Fail at first; then say when this ran."""
    return _once(path)


def _once(path: str) -> float:
    if not Path(path).exists():
        Path(path).touch()
        raise OSError("not yet")
    return time.time()


def compared(rounds: int, peer: dict[str, float]) -> None:
    """Print graphs of some sizes beside bare Ray."""
    grouped = nothing.options(**workflow.options(checkpoint="grouped"))
    for shape in (fan, chain):
        for size in SIZES[shape.__name__]:
            name = f"{shape.__name__} of {size}"
            contenders: dict[str, Callable[[], object]] = {
                "bare Ray": lambda shape=shape, size=size: ray.get(shape(size, nothing.remote)),  # type: ignore[misc]
                "strict": lambda shape=shape, size=size: workflow.run(shape(size, nothing.bind)),  # type: ignore[misc]
                "grouped": lambda shape=shape, size=size: workflow.run(shape(size, grouped.bind)),  # type: ignore[misc]
            }
            times = median(contenders, rounds=rounds)
            if name in peer:
                times["ray.workflow 2.47.1, its own process"] = peer[name]
            show(name, times, "bare Ray")


def written(folder: str, peer: dict[str, float]) -> None:
    """Print what is written for each task of a fan of 1,000."""
    print("\nfiles and bytes for each task of a fan of 1,000")
    for mode in ("strict", "grouped"):
        made = nothing.options(**workflow.options(checkpoint=mode))
        workflow.run(fan(1_000, made.bind), workflow_id=f"written {mode}")
        paths = [path for path in Path(folder).rglob("*.ffr") if f"written {mode}" in str(path).replace("=20", " ")]
        sizes = [path.stat().st_size for path in paths]
        print(f"  {mode:40} {len(sizes) / 1_001:10.2f}   {sum(sizes) / 1_001:10.0f}")
    if "files" in peer:
        print(f"  {'ray.workflow 2.47.1':40} {peer['files']:10.2f}   {peer['bytes']:10.0f}")


def alone(folder: str, peer: dict[str, float]) -> None:
    """Print long ones, and what follows a failure."""
    print("\nlong ones, strict and grouped")
    grouped = nothing.options(**workflow.options(checkpoint="grouped"))
    for shape, size in ((fan, 10_000), (chain, 1_000), (chain, 5_000)):
        for mode, made in (("strict", nothing), ("grouped", grouped)):
            _timed(f"{shape.__name__} of {size}, {mode}", size, partial(workflow.run, shape(size, made.bind)))
    times = {
        "bare Ray": _timed(
            "1,000 chains of 3 tasks, bare", 3_000, lambda: ray.get([chain(3, nothing.remote) for _ in range(1_000)])
        ),
        "durable": _timed("1,000 workflows of 3 tasks", 3_000, partial(_workflows, 1_000)),
    }
    if "workflows" in peer:
        times["ray.workflow 2.47.1, 10 times 100"] = peer["workflows"]
    show("1,000 workflows of 3 tasks", times, "bare Ray")
    _timed("fib(15)", 2_959, partial(workflow.run, fib.bind(15)))
    times = {"durable": _timed("fib(10)", 265, partial(workflow.run, fib.bind(10)))}
    if "fib(10)" in peer:
        times["ray.workflow 2.47.1"] = peer["fib(10)"]
        show("fib(10)", times, "durable")
    finished = [nothing.bind(n) for n in range(10_000)]
    _resumed("10,000 finished tasks", once.bind(f"{folder}/once", *finished))
    _resumed("a recursion of depth 10,000", down.bind(f"{folder}/down", 10_000))


def _workflows(number: int) -> None:
    ray.get([workflow.run_async(chain(3, nothing.bind)) for _ in range(number)])


def _resumed(title: str, dag: Any) -> None:
    """Print how long it takes until a workflow that failed once runs its next task."""
    start = time.time()
    try:
        workflow.run(dag, workflow_id=title)
    except workflow.WorkflowExecutionError:
        failed = time.time()
        print(f"  {title}: {failed - start:.1f} s; resumed, ", end="", flush=True)
        print(f"the next task ran after {workflow.resume(title) - failed:.1f} s")


def _timed(title: str, tasks: int, call: Callable[[], object]) -> float:
    """Print how long one call takes, and return it."""
    start = time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    print(f"  {title:40} {seconds:10.3f} s {tasks / seconds:8.0f} tasks/s", flush=True)
    return seconds


def peer_times(python: str, *, long: bool) -> dict[str, float]:
    """Return what the peer needs, by name."""
    if not python:
        return {}
    graphs = f"from typing import Any, Callable\n{inspect.getsource(fan)}\n{inspect.getsource(chain)}"
    script = PEER.format(graphs=graphs, cluster=CLUSTER, sizes=SIZES, long=long)
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
        environment.pop("PYTHONPATH", None)
        command = [python, "-c", script, folder]
        ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900, check=False)
    if ended.returncode:
        sys.exit(f"the peer failed:\n{ended.stderr[-2_000:]}")
    return dict(json.loads(line) for line in ended.stdout.splitlines() if line.startswith("["))


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--flush", action="store_true", help="store results on the disk itself")
    parser.add_argument("--peer", default="")
    given = parser.parse_args()
    peer = peer_times(given.peer, long=given.long)
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    with tempfile.TemporaryDirectory() as folder:
        ray.init(logging_level="ERROR", **CLUSTER)
        workflow.init(storage=FileStore(folder, durable=given.flush))
        workflow.run(fan(50, nothing.bind))
        ray.get(fan(300, nothing.remote))
        compared(given.rounds, peer)
        written(folder, peer)
        if given.long:
            alone(folder, peer)
        ray.shutdown()


if __name__ == "__main__":
    main()
