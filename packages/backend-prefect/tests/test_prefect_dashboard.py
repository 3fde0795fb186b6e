"""The dashboard, opened with a browser: the flow run's page has the nodes on it."""

from __future__ import annotations

import pytest
from prefect_browser import CHROMIUM, text_of
from prefect_graphs import add

from functionfuse.backends.addons.prefectback import PrefectWorkflow
from functionfuse.testing import MemoryStore

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def page(server):
    """The page of a run that reused one node."""
    store = MemoryStore()
    for last in (1, 2):
        first = add(1, 1).set_name("measure-a")
        made = PrefectWorkflow(add(first, last).set_name("compare-b"), workflow_name="dashboard")
        made.set_storage(store)
        made.run()
    server.states("dashboard", {"measure-a": "Cached", "compare-b": "Completed"})
    return f"{server.url}/v2/runs/flow-run/{server.flow_run('dashboard')['id']}?tab=TaskRuns"


def test_the_page_of_a_run_names_its_nodes(page, tmp_path):
    text = text_of(page, tmp_path)
    assert [word for word in ("measure-a", "compare-b", "Cached", "Completed") if word not in text] == []
