"""The main job: ten classifiers of scikit-learn, compared on three real data sets.

The scientist's part builds the graph and knows nothing of engines or storage. The engineer's part, `main`,
runs it with storage: a second run computes nothing, and a changed parameter runs one branch again:

    python classifier_comparison.py
    python classifier_comparison.py --neighbors 5

The command line runs the same graph, and finds the same results:

    functionfuse run classifier_comparison.py:comparison --neighbors 5 --storage output/storage
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from sklearn import datasets
from sklearn.base import clone
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import AdaBoostClassifier, RandomForestClassifier
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from functionfuse import workflow

if TYPE_CHECKING:
    from functionfuse.backends.observers import Event

# ---- the scientist's part

LOADERS = {"digits": datasets.load_digits, "wine": datasets.load_wine, "breast_cancer": datasets.load_breast_cancer}


def classifiers(neighbors: int) -> dict[str, Any]:
    """The ten classifiers of scikit-learn's comparison, by name."""
    return {
        "Nearest Neighbors": KNeighborsClassifier(neighbors),
        "Linear SVM": SVC(kernel="linear", C=0.025),
        "RBF SVM": SVC(gamma="scale", C=1),
        "Gaussian Process": GaussianProcessClassifier(RBF(8.0), optimizer=None),
        "Decision Tree": DecisionTreeClassifier(max_depth=5, random_state=42),
        "Random Forest": RandomForestClassifier(max_depth=5, n_estimators=10, max_features=1, random_state=42),
        "Neural Net": MLPClassifier(alpha=1, max_iter=1000, random_state=42),
        "AdaBoost": AdaBoostClassifier(random_state=42),
        "Naive Bayes": GaussianNB(),
        "QDA": QuadraticDiscriminantAnalysis(reg_param=0.1),
    }


@workflow
def load(name: str) -> dict[str, Any]:
    """A data set, split into a part to learn from and a part to test on."""
    data, target = LOADERS[name](return_X_y=True)
    parts = train_test_split(data, target, test_size=0.4, random_state=42)
    return dict(zip(("train_data", "test_data", "train_target", "test_target"), parts, strict=True))


@workflow
def fit(classifier: Any, data: Any, target: Any) -> Any:
    """A model: the classifier behind a scaler, fitted."""
    return make_pipeline(StandardScaler(), clone(classifier)).fit(data, target)


@workflow
def score(model: Any, data: Any, target: Any) -> float:
    """The accuracy of a model, from 0 to 1."""
    return float(model.score(data, target))


@workflow
def collect(scores: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """All accuracies, by data set and classifier."""
    return scores


@workflow
def table(scores: dict[str, dict[str, float]]) -> str:
    """Accuracies as text: a row for each classifier, a column for each data set."""
    names = list(next(iter(scores.values())))
    lines = [" " * 20 + "".join(f"{dataset:>15}" for dataset in scores)]
    lines += [f"{name:20}" + "".join(f"{column[name]:15.3f}" for column in scores.values()) for name in names]
    return "\n".join(lines)


def comparison(neighbors: int = 3) -> tuple[Any, Any]:
    """Build the graph; return the nodes of all scores and of the table.

    Args:
        neighbors: parameter of the classifier Nearest Neighbors.
    """
    scores: dict[str, dict[str, Any]] = {}
    for dataset in LOADERS:
        split = load(dataset).set_name(f"{dataset}_dataset")
        scores[dataset] = {}
        for name, classifier in classifiers(neighbors).items():
            model = fit(classifier, split["train_data"], split["train_target"])
            model.set_name(f"{dataset}_dataset, {name}-model")
            accuracy = score(model, split["test_data"], split["test_target"])
            scores[dataset][name] = accuracy.set_name(f"{dataset}_dataset, {name}-accuracy")
    accuracies = collect(scores).set_name("accuracies")
    return accuracies, table(accuracies).set_name("table")


# ---- the engineer's part


def main() -> None:
    """Run the comparison, with storage; draw the graph and the scores, and write a report."""
    from functionfuse.backends.builtin.graphback import GraphWorkflow
    from functionfuse.backends.builtin.localback import LocalWorkflow
    from functionfuse.storage import storage_factory

    parser = argparse.ArgumentParser(description="compare ten classifiers on three data sets")
    parser.add_argument("--output", type=Path, default=Path("output"), help="folder for results and pictures")
    parser.add_argument("--neighbors", type=int, default=3, help="parameter of the classifier Nearest Neighbors")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: this one alone)")
    options = parser.parse_args()

    accuracies, text = comparison(options.neighbors)
    events: Counter[str] = Counter()

    def progress(event: Event) -> None:
        events[event.kind] += 1
        if event.kind == "finished":
            print(f"{event.seconds:8.2f} s  {event.name}", flush=True)

    comparing = LocalWorkflow(accuracies, text, workflow_name="classifier_comparison")
    comparing.set_storage(storage_factory({"kind": "file", "options": {"path": str(options.output / "storage")}}))
    comparing.add_observer(progress)
    start = time.perf_counter()
    values, lines = comparing.run(max_workers=options.workers)
    seconds = time.perf_counter() - start

    drawn = GraphWorkflow(text, workflow_name="classifier_comparison", doc_path=options.output).run()
    plotted = plot(values, options.output / "accuracies.png")
    print(lines)
    print(f"{events['finished']} nodes ran, {events['reused']} were read from storage, in {seconds:.1f} s")
    print(f"graph:    {drawn}\nscores:   {plotted}\nresults:  {options.output / 'storage'}")
    print(f"report:   {comparing.report(options.output / 'report.html')}")


def plot(values: dict[str, dict[str, float]], path: Path) -> Path:
    """Draw the accuracies as a heat map, data sets by classifiers, with the best of each data set marked."""
    names = list(next(iter(values.values())))
    rows = [[column[name] for name in names] for column in values.values()]
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(10, 3.4), layout="constrained")
        axes = figure.subplots()
        low = min(map(min, rows))
        image = axes.imshow(rows, cmap="viridis", vmin=low, vmax=1, aspect="auto")
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
        axes.set_yticks(range(len(values)), [dataset.replace("_", " ") for dataset in values])
        for y, row in enumerate(rows):
            for x, value in enumerate(row):
                weight = "bold" if value == max(row) else "normal"
                color = "black" if value > low + 0.6 * (1 - low) else "white"
                axes.text(x, y, f"{value:.3f}", ha="center", va="center", color=color, weight=weight)
        axes.set_title("accuracy on the test set (best of each data set in bold)")
        figure.colorbar(image, label="accuracy")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    return path


if __name__ == "__main__":
    main()
