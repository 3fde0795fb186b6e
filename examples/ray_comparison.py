"""The classifier comparison on Ray: the very same graph, with its results on the machine that has the disk.

    python ray_comparison.py                      on a cluster of this machine, made for this run
    python ray_comparison.py --address auto       on the cluster that runs here

On a cluster of your own, start the machine with the disk with ``--resources '{"_disk": 1}'``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from classifier_comparison import comparison

from functionfuse.backends.builtin.rayback import RayWorkflow
from functionfuse.backends.plugins import RandomStatePlugin
from functionfuse.storage import storage_factory

ON_DISK = {"resources": {"_disk": 0.001}}


def main() -> None:
    """Run the comparison, and print how much of it ran and the accuracies."""
    parser = argparse.ArgumentParser(description="compare ten classifiers on three data sets, on Ray")
    parser.add_argument("--output", type=Path, default=Path("output"), help="folder for results, where the disk is")
    parser.add_argument("--neighbors", type=int, default=3, help="parameter of the classifier Nearest Neighbors")
    parser.add_argument("--address", default="local", help="of the cluster; 'local' makes one on this machine")
    options = parser.parse_args()

    init = {
        "address": options.address,
        "runtime_env": {"working_dir": str(Path(__file__).parent)},
        "logging_level": "error",
    }
    if options.address == "local":
        init |= {"resources": {"_disk": 1}, "include_dashboard": False, "log_to_driver": False}
    _, text = comparison(options.neighbors)
    with RayWorkflow(text, workflow_name="classifier_comparison", ray_init_args=init) as comparing:
        path = str(options.output / "storage")
        comparing.set_storage(storage_factory({"kind": "ray", "options": {"path": path, "remoteArgs": ON_DISK}}))
        comparing.query(".*_dataset").set_remote_args({**ON_DISK, "num_cpus": 0})  # read where the disk is
        comparing.query(".*(Gaussian Process|Neural Net)-model").set_resources(cpus=1, memory="200 MB")
        comparing.query(".*-model").set_plugin(
            RandomStatePlugin(min=0, max=2**32 - 1, seed=7, seed_func=np.random.seed)
        )
        plan = comparing.plan()
        print(comparing.run())
        reused = len(plan.having("reuse"))
        print(f"{len(plan) - reused} nodes ran, {reused} results stood")


if __name__ == "__main__":
    main()
