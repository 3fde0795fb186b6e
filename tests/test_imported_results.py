"""Runs that reuse what the original stored."""

from __future__ import annotations

import hashlib
import pickle

import pytest

from functionfuse import workflow
from functionfuse.backends.builtin.localback import LocalWorkflow
from functionfuse.storage import FileStore


@workflow
def double(x):
    return 2 * x


@pytest.fixture
def flow(tmp_path):
    """A workflow of two nodes; the result of the first was imported, and is not what the node returns."""
    file = tmp_path / "original" / "w" / "first"
    file.parent.mkdir(parents=True)
    content = pickle.dumps(20)
    file.write_bytes(content + hashlib.sha1(content).digest())
    store = FileStore(tmp_path / "store", durable=False)
    assert store.import_original(tmp_path / "original") == {"w": ["first"]}
    first = double(1).set_name("first")
    flow = LocalWorkflow(double(first).set_name("second"), workflow_name="w")
    flow.set_storage(store)
    return flow


def test_a_run_that_trusts_names(flow):
    assert flow.run(reuse="name") == 40


def test_a_node_that_trusts_its_name(flow):
    flow.query("first").set_cache("trust")
    assert flow.plan().having("run") == ["second"]
    assert flow.run() == 40
    assert flow.plan().having("run") == []


def test_recipes_do_not_find_imported_results(flow):
    assert flow.run() == 4
