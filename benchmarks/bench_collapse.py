"""How fast fans of nodes that do nothing are when they are collapsed, relative to the same fans as they are.

    python benchmarks/bench_collapse.py [--nodes 2000] [--steps 20] [--pods 200] [--rounds 3] [only ...]

The engines are Ray, Prefect and Kubeflow Pipelines (kfp.local, with ``--pods`` nodes in a tenth of so many steps, as
each pod is a process). The two fans take turns; ratios are of medians.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from _measure import median, show
from bench_prefect import server

from functionfuse import workflow

if TYPE_CHECKING:
    from collections.abc import Callable


@workflow
def nothing(number: int) -> int:
    """Return the argument."""
    return number


@workflow
def count(values: list[int]) -> int:
    """Return how many there are."""
    return len(values)


def fans(make: Callable[..., Any], nodes: int, steps: int) -> tuple[Any, Any]:
    """Return a workflow of a fan of nodes, and the same one with collapsed steps.

    Args:
        make: makes a workflow.
        nodes: of the fan.
        steps: that they are collapsed into.
    """
    fan: list[Any] = [nothing(number).set_name(f"step {number * steps // nodes}: {number}") for number in range(nodes)]
    plain = make(count(fan).set_name("count"), workflow_name="fan")
    editing = plain.edit()
    for number in range(steps):
        editing.collapse(f"step {number}: .*", name=f"collapsed {number}")
    return plain, editing.done()


def compare(title: str, make: Callable[..., Any], nodes: int, steps: int, rounds: int) -> None:
    """Measure one engine, and print a line.

    Args:
        title: of the engine.
        make: makes a workflow.
        nodes: of the fan.
        steps: that they are collapsed into.
        rounds: how often each is run.
    """
    plain, collapsed = fans(make, nodes, steps)
    contenders = {"as they are": plain.run, "collapsed": collapsed.run}
    show(f"{title}: {nodes} nodes, in {steps} steps", median(contenders, rounds=rounds), "as they are")


def main() -> None:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(description="collapsed steps")
    parser.add_argument("--nodes", type=int, default=2_000)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pods", type=int, default=200, help="nodes on Kubeflow Pipelines")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("only", nargs="*", default=["ray", "prefect", "kfp"])
    options = parser.parse_args()
    if "ray" in options.only:
        from functionfuse.backends.builtin.rayback import RayWorkflow

        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        with RayWorkflow(nothing(0), workflow_name="first", ray_init_args={"address": "local", "num_cpus": 2}) as first:
            first.run()
            compare("Ray", RayWorkflow, options.nodes, options.steps, options.rounds)
    if "prefect" in options.only:
        from functionfuse.backends.addons.prefectback import PrefectWorkflow

        with server():
            PrefectWorkflow(nothing(0), workflow_name="first").run()
            compare("Prefect", PrefectWorkflow, options.nodes, options.steps, options.rounds)
    if "kfp" in options.only:
        from functionfuse.backends.addons.kfpback import KFPWorkflow

        compare("Kubeflow Pipelines", KFPWorkflow, options.pods, max(1, options.pods // 100), options.rounds)


if __name__ == "__main__":
    main()
