"""The comparison of classifiers as a pipeline: compiled for Kubeflow Pipelines, and run under kfp.local.

    python examples/kfp_comparison.py [--output folder] [--host http://localhost:8080]

All nodes of one data set share a pod, so that 65 nodes take five of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from classifier_comparison import comparison

from functionfuse.backends.addons.kfpback import KFPWorkflow
from functionfuse.storage import storage_factory


def main() -> None:
    """Compile the pipeline, run it, and print the scores."""
    parser = argparse.ArgumentParser(description="compare ten classifiers on three data sets, as a pipeline")
    parser.add_argument("--output", type=Path, default=Path("output"), help="folder for the pipeline and results")
    parser.add_argument("--host", default=None, help="of Kubeflow Pipelines (default: kfp.local, on this machine)")
    parser.add_argument("--neighbors", type=int, default=3, help="parameter of the classifier Nearest Neighbors")
    options = parser.parse_args()

    accuracies, text = comparison(options.neighbors)
    comparing = KFPWorkflow(accuracies, text, workflow_name="classifier_comparison", kfp_host=options.host)
    collapsing = comparing.edit().collapse(".*", name="scores")
    for dataset in ("digits", "wine", "breast_cancer"):
        collapsing.collapse(f"{dataset}_dataset.*", name=f"data of {dataset}")
    comparing = collapsing.done()

    options.output.mkdir(parents=True, exist_ok=True)
    print(comparing.compile(str(options.output / "classifier_comparison.yaml")))
    comparing.set_storage(storage_factory({"kind": "file", "options": {"path": str(options.output / "storage")}}))
    _, lines = comparing.run()
    print(lines)


if __name__ == "__main__":
    main()
