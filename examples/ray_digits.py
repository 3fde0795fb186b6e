"""Handwritten digits by logistic regression, trained for several learning rates side by side on a Ray cluster.

    python ray_digits.py                      on a cluster of this machine, made for this run
    python ray_digits.py --address auto       on the cluster that runs here

Each model is an object: on Ray it lives in a process of its own, and keeps its state after each epoch in the store. So
a second run with more epochs goes on from where the first one ended.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from functionfuse import workflow
from functionfuse.backends.builtin.rayback import RayWorkflow
from functionfuse.backends.plugins import RandomStatePlugin
from functionfuse.storage import storage_factory

RATES = (0.1, 0.01, 0.001, 0.0001)


@workflow
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return 1,797 pictures of 8 x 8 pixels as rows of 64, and what they show."""
    return load_digits(return_X_y=True)


@workflow
def split(pictures: np.ndarray, labels: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the sets to learn from, and to test with; pixels are scaled by what the former knows."""
    x_train, x_test, y_train, y_test = train_test_split(pictures, labels, test_size=0.25, stratify=labels)
    scale = StandardScaler().fit(x_train)
    return {"train": (scale.transform(x_train), y_train), "test": (scale.transform(x_test), y_test)}


@workflow
class Regression:
    """A logistic regression that learns by stochastic gradient descent."""

    def __init__(self, rate: float) -> None:
        self.model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=rate)

    def learn(self, examples: tuple[np.ndarray, np.ndarray]) -> None:
        """Go through all examples once."""
        pictures, labels = examples
        order = np.random.permutation(len(labels))
        self.model.partial_fit(pictures[order], labels[order], classes=np.arange(10))

    def accuracy(self, examples: tuple[np.ndarray, np.ndarray]) -> float:
        """Return the share of examples that it knows."""
        return float(self.model.score(*examples))


@workflow
def table(accuracies: dict[float, list[float]]) -> str:
    """Return the accuracies after each epoch as text, a line for each learning rate."""
    rows = [f"{rate:<8} {' '.join(f'{value:.3f}' for value in values)}" for rate, values in accuracies.items()]
    return "\n".join(["rate     accuracy after each epoch", *rows])


def experiment(epochs: int):
    """Return the last node of the graph: the table."""
    pictures = digits().set_name("digits")
    sets = split(pictures[0], pictures[1]).set_name("split")
    accuracies = {}
    for rate in RATES:
        model = Regression(rate).set_name(f"model {rate}")
        accuracies[rate] = []
        for epoch in range(1, epochs + 1):
            model.learn(sets["train"]).set_name(f"model {rate}, epoch {epoch}")
            accuracies[rate].append(model.accuracy(sets["test"]).set_name(f"accuracy {rate}, epoch {epoch}"))
    return table(accuracies).set_name("table")


def main() -> None:
    """Train, and print the accuracies and how much of it ran."""
    parser = argparse.ArgumentParser(description="handwritten digits by logistic regression, on Ray")
    parser.add_argument("--output", type=Path, default=Path("output"), help="folder for results")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--address", default="local", help="of the cluster; 'local' makes one on this machine")
    options = parser.parse_args()

    init = {"address": options.address, "logging_level": "error"}
    if options.address == "local":
        init |= {"include_dashboard": False, "log_to_driver": False}
    with RayWorkflow(experiment(options.epochs), workflow_name="digits", ray_init_args=init) as learning:
        learning.set_storage(storage_factory({"kind": "file", "options": {"path": str(options.output / "storage")}}))
        learning.query("model [0-9.]+").set_remote_args({"num_cpus": 0.25})
        learning.query("split|model .*").set_plugin(
            RandomStatePlugin(min=0, max=2**32 - 1, seed=7, seed_func=np.random.seed)
        )
        plan = learning.plan()
        print(learning.run())
        reused = len(plan.having("reuse"))
        print(f"{len(plan) - reused} nodes ran, {reused} results stood")


if __name__ == "__main__":
    main()
