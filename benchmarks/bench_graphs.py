"""Building and running graphs of no-op nodes, against a bare loop and against dask.delayed.

The bare loop puts the same graph into a dict, orders it with graphlib and calls the functions. Goals: at most
3 times the bare loop, growing by at most 1.5 times a node up to 1,000,000 nodes (``--large``), and at least 20
times faster than dask. Seen elsewhere: dask 340-670 us a node, Hamilton 64, pipefunc 6,300, redun 9,000.

Planning with a profile of 50 rules, against planning without: at most 1.3 times.

A sweep of 10,000 nodes, against two loops that make and name the same nodes: at most 1.5 times.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from functools import partial
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask.delayed import delayed

from functionfuse import sweep, workflow
from functionfuse.backends.builtin.localback import LocalWorkflow

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH = 100  # of a layered graph; each node takes two of the layer before


def one(value: int) -> int:
    """A node without parents."""
    return value


def add(a: int, b: int) -> int:
    """A node with one or two parents."""
    return a + b


def last(values: list[int]) -> int:
    """A node that takes many."""
    return len(values)


def chain(wrap: Callable[[Any], Any], nodes: int) -> Any:
    """Every node takes the one before."""
    adding = wrap(add)
    node = wrap(one)(0)
    for _ in range(nodes - 1):
        node = adding(node, 1)
    return node


def fan_in(wrap: Callable[[Any], Any], nodes: int) -> Any:
    """One node takes all others."""
    single = wrap(one)
    return wrap(last)([single(number) for number in range(nodes - 1)])


def layers(wrap: Callable[[Any], Any], nodes: int) -> Any:
    """Layers in which every node takes two of the layer before."""
    single, adding = wrap(one), wrap(add)
    layer = [single(number) for number in range(WIDTH)]
    for _ in range(nodes // WIDTH - 1):
        layer = [adding(layer[i], layer[i - 1]) for i in range(WIDTH)]
    return wrap(last)(layer)


Call = tuple["Callable[..., Any]", "tuple[int, ...]", "tuple[Any, ...]"]  # function, parents, other arguments


def bare_chain(nodes: int) -> dict[int, Call]:
    """The chain as a dict."""
    graph: dict[int, Call] = {0: (one, (), (0,))}
    for key in range(1, nodes):
        graph[key] = (add, (key - 1,), (1,))
    return graph


def bare_fan_in(nodes: int) -> dict[int, Call]:
    """The fan-in as a dict."""
    graph: dict[int, Call] = {}
    for key in range(nodes - 1):
        graph[key] = (one, (), (key,))
    graph[nodes - 1] = (last_of, tuple(range(nodes - 1)), ())
    return graph


def bare_layers(nodes: int) -> dict[int, Call]:
    """The layers as a dict."""
    graph: dict[int, Call] = {}
    for key in range(WIDTH):
        graph[key] = (one, (), (key,))
    for start in range(WIDTH, nodes, WIDTH):
        for i in range(WIDTH):
            graph[start + i] = (add, (start - WIDTH + i, start - WIDTH + (i - 1) % WIDTH), ())
    graph[len(graph)] = (last_of, tuple(range(len(graph) - WIDTH, len(graph))), ())
    return graph


def last_of(*values: int) -> int:
    """Like ``last``, with the values one by one."""
    return len(values)


BARE = {chain: bare_chain, fan_in: bare_fan_in, layers: bare_layers}


def bare_seconds(shape: Callable[..., Any], nodes: int) -> float:
    """Wall time of the bare loop."""
    start = time.perf_counter()
    graph = BARE[shape](nodes)
    values: dict[int, Any] = {}
    for key in TopologicalSorter({key: call[1] for key, call in graph.items()}).static_order():
        function, parents, others = graph[key]
        values[key] = function(*[values[parent] for parent in parents], *others)
    return time.perf_counter() - start


def our_seconds(shape: Callable[..., Any], nodes: int) -> float:
    """Wall time of building and running with LocalWorkflow."""
    start = time.perf_counter()
    LocalWorkflow(shape(workflow, nodes), workflow_name="bench").run()
    return time.perf_counter() - start


def dask_seconds(shape: Callable[..., Any], nodes: int) -> float:
    """Wall time of the same with dask.delayed, in this thread."""
    start = time.perf_counter()
    shape(delayed, nodes).compute(scheduler="sync")
    return time.perf_counter() - start


def planning_ratio(nodes: int, rounds: int, rules: int = 50) -> float:
    """Time of planning with a profile, of which one rule is for each node, by the time of planning without."""
    wrapped = workflow(add)
    named: list[Any] = []
    for number in range(nodes):
        node = wrapped(named[number // 2] if named else 0, 1)
        named.append(node.set_name(f"group{number % rules}_{number}"))
    plain, granted = (LocalWorkflow(named[-1], workflow_name="bench") for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "profile.toml"
        profile.write_text(
            "".join(f'[nodes."group{n}_.*"]\ntimeout = {n + 1}\n' for n in range(rules)), encoding="utf-8"
        )
        granted.apply_profile(profile)

    def seconds(planned: LocalWorkflow) -> float:
        gc.collect()
        start = time.perf_counter()
        planned.plan()
        return time.perf_counter() - start

    return statistics.median(seconds(granted) / seconds(plain) for _ in range(rounds))


def train(data: int, rate: float, depth: int) -> float:
    """A node of a sweep."""
    return data * rate * depth


def sweep_ratio(rounds: int, values: int = 100) -> float:
    """Time of a sweep over a grid, by the time of loops that make the same mapping of named nodes."""
    called = workflow(train)
    data: Any = workflow(one)(0)
    rates, depths = [number / 10 for number in range(values)], list(range(values))

    def with_loops() -> Any:
        runs = {}
        for rate in rates:
            for depth in depths:
                node: Any = called(data=data, rate=rate, depth=depth)
                runs[rate, depth] = node.set_name(f"train[rate={rate},depth={depth}]")
        return runs

    def seconds(make: Callable[[], Any]) -> float:
        gc.collect()
        start = time.perf_counter()
        runs = make()
        passed = time.perf_counter() - start
        assert len(runs) == values * values
        return passed

    swept = partial(sweep, called, data=data, rate=rates, depth=depths)
    return statistics.median(seconds(swept) / seconds(with_loops) for _ in range(rounds))


def measure(seconds: Callable[..., float], shape: Callable[..., Any], nodes: int) -> float:
    """Microseconds a node."""
    gc.collect()
    return seconds(shape, nodes) / nodes * 1e6


def main() -> None:
    """Print microseconds a node and ratios; medians of interleaved rounds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", action="store_true", help="also with ten times the nodes")
    options = parser.parse_args()
    for shape in (chain, fan_in, layers):
        pairs = [
            (measure(our_seconds, shape, options.nodes), measure(bare_seconds, shape, options.nodes))
            for _ in range(options.rounds)
        ]
        ours, bare = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"{shape.__name__:7} ours {ours:5.1f} us, bare {bare:5.1f} us a node: {ratio:.2f} times (goal 3)")
        if options.large:
            large = measure(our_seconds, shape, 10 * options.nodes)
            print(f"{'':7} ten times the nodes: {large:5.1f} us a node: {large / ours:.2f} times (goal 1.5)")
        few = min(options.nodes, 5_000)
        theirs = measure(dask_seconds, shape, few)
        ours = measure(our_seconds, shape, few)
        print(f"{'':7} dask {theirs:5.1f} us a node: {theirs / ours:.0f} times ours (goal 20, {few} nodes)")
    print(f"planning with a profile: {planning_ratio(options.nodes, options.rounds):.2f} times (goal 1.3)")
    print(f"a sweep against loops: {sweep_ratio(options.rounds):.2f} times (goal 1.5)")


if __name__ == "__main__":
    main()
