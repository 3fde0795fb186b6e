"""What Function Fuse adds to Kubeflow Pipelines: compiling next to hand-written components, and nodes under kfp.local.

    python benchmarks/bench_kfp.py [--nodes 1000] [--chain 20] [--components 5] [--rounds 3] [only ...]

Contenders take turns; figures are medians.
"""

from __future__ import annotations

import argparse
import inspect
import os
import tempfile
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _measure import median, show
from kfp import dsl, local
from kfp.compiler import Compiler

from functionfuse import workflow
from functionfuse.backends.addons.kfpback import KFPWorkflow

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGE = "python:3.11"


@workflow
def join(*values: int) -> int:
    """Return how many values there are."""
    return len(values)


def graph(nodes: int, folder: Path) -> KFPWorkflow:
    """A graph in which each node takes the results of two before it; its code is too large for a command line."""
    made: list[Any] = []
    for number in range(nodes):
        made.append(join(*made[max(0, number - 3) : number - 1]).set_name(f"node {number}"))
    return KFPWorkflow(made[-1], workflow_name="bench", baseimage=IMAGE, code=str(folder / "code"))


def compile_graph(nodes: int, folder: Path) -> None:
    """Compile the graph."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is too large for some servers
        graph(nodes, folder).compile(str(folder / "graph.yaml"), check_limits=False)


def component(number: int, inputs: int) -> Any:
    """A container component as one writes it by hand, with a command of its own."""
    names = [f"in_{n}" for n in range(inputs)]
    annotations = dict.fromkeys([*names, "code"], dsl.Input[dsl.Artifact]) | {"out": dsl.Output[dsl.Artifact]}

    def run(*places: Any) -> dsl.ContainerSpec:
        by_name = dict(zip(annotations, places, strict=True))
        args = [f"node-{number}", *(by_name[name].path for name in names), by_name["out"].path, by_name["out"].uri]
        return dsl.ContainerSpec(image=IMAGE, command=["python3", by_name["code"].path], args=args)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind, annotation=annotation) for name, annotation in annotations.items()]
    run.__name__ = f"node-{number}"
    run.__signature__ = inspect.Signature(parameters, return_annotation=dsl.ContainerSpec)  # type: ignore[attr-defined]
    run.__annotations__ = {**annotations, "return": dsl.ContainerSpec}
    return dsl.container_component(run)


def compile_by_hand(nodes: int, folder: Path) -> None:
    """Compile the same pipeline from hand-written components."""

    def pipeline() -> None:
        code = dsl.importer(artifact_uri=str(folder / "code.zip"), artifact_class=dsl.Artifact).outputs["artifact"]
        made: list[Any] = []
        for number in range(nodes):
            before = made[max(0, number - 3) : max(0, number - 1)]
            given = {f"in_{n}": output for n, output in enumerate(before)}
            task = component(number, len(before))(code=code, **given)
            made.append(task.set_display_name(f"node {number}").set_caching_options(True, cache_key="k").outputs["out"])

    pipeline.__annotations__.clear()
    Compiler().compile(dsl.pipeline(name="bench")(pipeline), str(folder / "hand.yaml"))


def run_chain(length: int) -> None:
    """Run nodes one behind the other."""
    last = join(0)
    for _ in range(length - 1):
        last = join(last)
    assert KFPWorkflow(last, workflow_name="chain").run_local() == 1


def lightweight(n: int) -> int:
    """Return the next number, as a component of the SDK."""
    return n + 1


def run_components(length: int, folder: Path) -> None:
    """Run lightweight components one behind the other."""
    lightweight.__annotations__.update(n=int, **{"return": int})  # kfp reads no text
    make = dsl.component(base_image=IMAGE)(lightweight)
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "components"))

    def pipeline() -> None:
        last: Any = 0
        for _ in range(length):
            last = make(n=last).output

    pipeline.__annotations__.clear()
    with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing):
        dsl.pipeline(name="components")(pipeline)()


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description="What Function Fuse adds to Kubeflow Pipelines.")
    parser.add_argument("--nodes", type=int, default=1_000, help="of the pipeline that is compiled")
    parser.add_argument("--chain", type=int, default=20, help="nodes that run under kfp.local")
    parser.add_argument("--components", type=int, default=5, help="lightweight components that run under kfp.local")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("only", nargs="*", help="figures to measure: compile, local")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-kfp-") as name:
        folder = Path(name)
        figures: dict[str, Callable[[], None]] = {
            "compile": lambda: compare_compiling(options.nodes, options.rounds, folder),
            "local": lambda: compare_nodes(options.chain, options.components, options.rounds, folder),
        }
        for figure, measure in figures.items():
            if not options.only or figure in options.only:
                measure()


def compare_compiling(nodes: int, rounds: int, folder: Path) -> None:
    """Let both compilers take turns."""
    contenders = {"by hand": lambda: compile_by_hand(nodes, folder), "graph": lambda: compile_graph(nodes, folder)}
    times = median(contenders, rounds=rounds)
    show(f"compile {nodes} nodes", times, "by hand")
    print(f"  the graph takes {times['graph'] / times['by hand']:.2f} times as long")


def compare_nodes(chain: int, components: int, rounds: int, folder: Path) -> None:
    """Let both kinds of nodes take turns; the cost of one more node is that of a longer run, less a shorter one."""
    contenders = {
        "one node": lambda: run_chain(1),
        "chain": lambda: run_chain(chain + 1),
        "one component": lambda: run_components(1, folder),
        "components": lambda: run_components(components + 1, folder),
    }
    times = median(contenders, rounds=rounds)
    node = (times["chain"] - times["one node"]) / chain
    lightweight_one = (times["components"] - times["one component"]) / components
    show("one more node under kfp.local", {"lightweight": lightweight_one, "node": node}, "lightweight")


if __name__ == "__main__":
    main()
