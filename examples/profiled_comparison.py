"""The classifier comparison on an engine of your choice: one word changes, the graph and the files stay.

    python profiled_comparison.py --env local
    python profiled_comparison.py --env ray
    python profiled_comparison.py --env prefect
    python profiled_comparison.py --env kfp

The scientist says in resources.json what kinds of things nodes need; the engineer says in profile.toml what these are
in each environment, and sets retries, time limits, plugins and options of the engine. As pods take long to start, the
nodes of one data set share one on Kubeflow Pipelines.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

import numpy as np
from classifier_comparison import comparison

from functionfuse.backends.plugins import RandomStatePlugin

HERE = Path(__file__).parent
SEED = RandomStatePlugin(min=0, max=2**32 - 1, seed=7, seed_func=np.random.seed)
WORKFLOWS: dict[str, tuple[str, dict[str, Any]]] = {
    "local": ("builtin.localback:LocalWorkflow", {}),
    "ray": ("builtin.rayback:RayWorkflow", {"ray_init_args": {"address": "local", "logging_level": "error"}}),
    "prefect": ("addons.prefectback:PrefectWorkflow", {}),
    "kfp": ("addons.kfpback:KFPWorkflow", {}),
}


def main() -> None:
    """Run the comparison as the profile says, and print the accuracies."""
    parser = argparse.ArgumentParser(description="compare ten classifiers on three data sets, on any engine")
    parser.add_argument("--env", choices=WORKFLOWS, default="local", help="the environment of profile.toml")
    parser.add_argument("--plan", action="store_true", help="print the plan, and run nothing")
    options = parser.parse_args()

    location, arguments = WORKFLOWS[options.env]
    module, name = location.split(":")
    workflow_class = getattr(importlib.import_module(f"functionfuse.backends.{module}"), name)
    _, text = comparison(neighbors=3)
    comparing = workflow_class(text, workflow_name="classifier_comparison", **arguments)
    if options.env == "kfp":
        collapsing = comparing.edit()
        for dataset in ("digits", "wine", "breast_cancer"):
            collapsing.collapse(f"{dataset}_dataset.*", name=f"data of {dataset}")
        comparing = collapsing.done()
    comparing.apply_profile(HERE / "profile.toml", env=options.env, needs=HERE / "resources.json")
    print(comparing.plan() if options.plan else comparing.run())


if __name__ == "__main__":
    main()
