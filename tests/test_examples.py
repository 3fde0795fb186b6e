"""The examples run, print what is right, and are the code that the specification gives."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
SPECIFICATION = ROOT.parent / "shared" / "spec" / "introduction-and-quick-start.txt"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # other tests use the other processors


def run_example(name: str, folder: Path, *arguments: str) -> list[str]:
    """Run an example in a folder; return the lines that it prints."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments]
    ended = subprocess.run(
        command, cwd=folder, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=False, timeout=500
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.splitlines()


@pytest.fixture(scope="module")
def quick_start(tmp_path_factory):
    """The folder that the quick start ran in, and the lines that it printed."""
    folder = tmp_path_factory.mktemp("quick_start")
    return folder, run_example("quickstart", folder)


class TestQuickStart:
    def test_it_prints_names_and_a_stored_result(self, quick_start):
        assert quick_start[1] == ["All graph node names:  ['node1', 'node2', 'node3']", "node2: 3"]

    def test_it_leaves_results_and_a_picture(self, quick_start):
        folder = quick_start[0]
        assert sorted(path.name for path in folder.iterdir()) == ["plot_graph.gv", "plot_graph.svg", "storage"]
        assert sorted(path.name for path in (folder / "storage" / "operations").glob("*.ffr")) == [
            "node1.ffr",
            "node2.ffr",
            "node3.ffr",
        ]

    def test_the_picture_has_the_edges_of_the_specification(self, quick_start):
        assert edges(quick_start[0] / "plot_graph.gv") == {("node1", "node2"), ("node2", "node3"), ("node1", "node3")}


def edges(source: Path) -> set[tuple[str, str]]:
    found = re.findall(r'^\s*"?([^">\n]+?)"? -> "?([^"\n]+?)"?$', source.read_text(encoding="utf-8"), re.MULTILINE)
    return set(found)


def test_incremental_sum(tmp_path):
    assert run_example("incremental_sum", tmp_path) == ["4"]


# A line of the first kind is in the specification; what it stands for in an example is of the second.
CORRECTED = {'the_workflow_name = "classifier"': 'the_workflow_name = "operations"'}


@pytest.mark.skipif(not SPECIFICATION.exists(), reason="the specification is not beside this repository")
@pytest.mark.parametrize(
    ("example", "first", "last"),
    [
        ("quickstart", "@workflow\ndef sum(", 'set_name("node3")\n'),
        ("quickstart", "from functionfuse.backends.builtin.localback", "_ = local_workflow.run()\n"),
        ("quickstart", "from functionfuse.backends.builtin.graphback", "graph_workflow.run()\n"),
        ("quickstart", "the_workflow_name = ", "storage = storage_factory(opt)\n"),
        ("quickstart", "all_tasks = ", "all_tasks)\n"),
        ("quickstart", "nodel_result = ", 'task_name="node2")\n'),
        ("incremental_sum", "@workflow\nclass IncrementalSum", 'set_name("six_minus_two")\n'),
    ],
)
def test_the_code_is_that_of_the_specification(example, first, last):
    text = SPECIFICATION.read_text(encoding="utf-8")
    start = text.index(first)
    code = text[start : text.index(last, start) + len(last)]
    for given, corrected in CORRECTED.items():
        code = code.replace(given, corrected)
    assert code in (EXAMPLES / f"{example}.py").read_text(encoding="utf-8")


class Comparison(NamedTuple):
    """What three runs of the comparison printed, and where they put their results."""

    output: Path
    first: list[str]
    again: list[str]
    changed: list[str]


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    output = folder / "results"
    first = run_example("classifier_comparison", folder, "--output", str(output))
    again = run_example("classifier_comparison", folder, "--output", str(output))
    changed = run_example("classifier_comparison", folder, "--output", str(output), "--neighbors", "5")
    return Comparison(output, first, again, changed)


class TestClassifierComparison:
    def counts(self, printed):
        line = next(line for line in printed if line.endswith(" s") and "nodes ran" in line)
        return line.rpartition(",")[0]

    def table(self, printed):
        start = next(
            number for number, line in enumerate(printed) if line.split() == ["digits", "wine", "breast_cancer"]
        )
        return {line[:20].strip(): [float(n) for n in line[20:].split()] for line in printed[start + 1 : start + 11]}

    def test_the_first_run_computes_every_node(self, comparison):
        assert self.counts(comparison.first) == "65 nodes ran, 0 were read from storage"

    def test_the_second_run_computes_nothing(self, comparison):
        assert self.counts(comparison.again) == "0 nodes ran, 65 were read from storage"
        assert self.table(comparison.again) == self.table(comparison.first)

    def test_a_changed_parameter_runs_one_branch(self, comparison):
        assert self.counts(comparison.changed) == "8 nodes ran, 57 were read from storage"
        ran = [line.partition(" s  ")[2] for line in comparison.changed if " s  " in line]
        assert [name for name in ran if "Nearest Neighbors" not in name] == ["accuracies", "table"]
        first, changed = self.table(comparison.first), self.table(comparison.changed)
        assert [name for name in first if first[name] != changed[name]] == ["Nearest Neighbors"]

    def test_the_accuracies_are_plausible(self, comparison):
        table = self.table(comparison.first)
        assert len(table) == 10
        assert all(0.6 < accuracy <= 1 for row in table.values() for accuracy in row)
        assert all(max(column) > 0.97 for column in zip(*table.values(), strict=True))

    def test_it_ends_by_telling_where_pictures_and_results_are(self, comparison):
        told = [Path(line.partition(":")[2].strip()) for line in comparison.first[-4:]]
        names = ["classifier_comparison.svg", "accuracies.png", "storage", "report.html"]
        assert told == [comparison.output / name for name in names]
        assert [path.exists() for path in told] == [True, True, True, True]

    def test_the_report_is_of_the_last_run(self, comparison):
        page = (comparison.output / "report.html").read_text(encoding="utf-8")
        assert "8 finished, 57 reused" in page

    def test_the_command_line_finds_the_same_results(self, comparison):
        target = f"{EXAMPLES / 'classifier_comparison.py'}:comparison"
        command = [sys.executable, "-m", "functionfuse.console", "run", target, "--neighbors", "5", "--json"]
        arguments = ["--storage", str(comparison.output / "storage")]
        ended = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, check=True, timeout=300, env=os.environ | ONE_THREAD
        )
        accuracies, text = json.loads(ended.stdout)["results"]
        assert text["value"].splitlines() == comparison.changed[-16:-5]
        accuracy = accuracies["value"]["wine"]["Nearest Neighbors"]
        assert round(accuracy, 3) == self.table(comparison.changed)["Nearest Neighbors"][1]
        runs = [*command[:3], "runs", "--limit", "1", "--json", *arguments]
        listed = subprocess.run(runs, capture_output=True, text=True, check=True, timeout=60).stdout
        assert json.loads(listed)["runs"][0]["counts"]["reused"] == 65

    def test_the_picture_names_every_node(self, comparison):
        stored = {path.stem for path in (comparison.output / "storage" / "classifier_comparison").glob("*.ffr")}
        picture = (comparison.output / "classifier_comparison.svg").read_text(encoding="utf-8")
        texts = map(unescape, re.findall(r"<text[^>]*>([^<]*)</text>", picture))
        assert len(stored) == 65
        assert stored - set(texts) == set()

    def test_the_scores_are_a_png(self, comparison):
        assert (comparison.output / "accuracies.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow(reason="a large example on a cluster of its own")
def test_the_comparison_on_ray(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="ray is not installed")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    first = run_example("ray_comparison", tmp_path)
    assert first[0].split() == ["digits", "wine", "breast_cancer"]
    assert first[-1] == "65 nodes ran, 0 results stood"
    again = run_example("ray_comparison", tmp_path, "--neighbors", "5")
    assert again[2:-1] == first[2:-1]  # all but the nearest neighbours
    assert again[-1] == "8 nodes ran, 57 results stood"  # a model and a score of each data set, and what needs them


@pytest.mark.slow(reason="a large example on a cluster of its own")
def test_digits_on_ray(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="ray is not installed")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    first = run_example("ray_digits", tmp_path, "--epochs", "1")
    assert first[-1] == "15 nodes ran, 0 results stood"
    more = run_example("ray_digits", tmp_path, "--epochs", "2")
    # Those that ran are an epoch and its accuracy for each of four rates, and the table.
    assert more[-1] == "9 nodes ran, 14 results stood"
    once = [line.split() for line in first[1:-1]]
    twice = [line.split() for line in more[1:-1]]
    assert [line[:2] for line in twice] == once
    assert max(float(line[-1]) for line in twice) > 0.93


@pytest.mark.slow(reason="a large example on a cluster of its own")
def test_the_comparison_on_kfp(tmp_path):
    pytest.importorskip("kfp", reason="kfp is not installed")
    printed = run_example("kfp_comparison", tmp_path)
    assert printed[0].startswith("65 nodes in 4 pods; ")
    assert printed[1].split() == ["digits", "wine", "breast_cancer"]
    stored = {path.stem for path in (tmp_path / "output" / "storage" / "classifier_comparison").glob("*.ffr")}
    assert len(stored) == 65
    again = run_example("kfp_comparison", tmp_path)
    assert again == printed


@pytest.mark.slow(reason="a large example on every engine")
def test_one_profile_for_every_engine(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "CRITICAL")
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    tables = {}
    for env in ("local", "ray", "prefect", "kfp"):
        if env != "local":
            pytest.importorskip(env, reason=f"{env} is not installed")
        plan = run_example("profiled_comparison", tmp_path, "--env", env, "--plan")
        assert plan[0] == "plan of 'classifier_comparison': 65 run"
        tables[env] = run_example("profiled_comparison", tmp_path, "--env", env)[-11:]
    assert tables["local"][0].split() == ["digits", "wine", "breast_cancer"]
    assert all(table == tables["local"] for table in tables.values())
