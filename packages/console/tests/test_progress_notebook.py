"""The progress of runs below the cell of a notebook, in a real kernel."""

from __future__ import annotations

import pytest

nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")
from nbformat.v4 import new_code_cell, new_notebook  # noqa: E402

CELL = """
from functionfuse import workflow
from functionfuse.backends.builtin.localback import LocalWorkflow

@workflow
def same(value):
    return value

LocalWorkflow(same(1), workflow_name="<b>name").run({option})
"""


@pytest.mark.parametrize(("option", "count"), [("", 1), ("progress=False", 0)])
def test_a_cell(tmp_path, monkeypatch, option, count):
    """One display, which has the outcome at the end."""
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    monkeypatch.delenv("CI", raising=False)
    notebook = new_notebook(cells=[new_code_cell(CELL.format(option=option))])
    nbclient.NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = notebook.cells[0].outputs
    shown = [output["data"]["text/html"] for output in outputs if output["output_type"] == "display_data"]
    assert len(shown) == count
    assert all("&lt;b&gt;name" in page and "finished in" in page and "1 finished" in page for page in shown)
    assert [output["data"]["text/plain"] for output in outputs if output["output_type"] == "execute_result"] == ["1"]
