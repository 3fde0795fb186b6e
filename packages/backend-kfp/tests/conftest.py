"""A server of Kubeflow Pipelines for a module of tests."""

from __future__ import annotations

import pytest
from kfp_server import FakeKFPServer


@pytest.fixture(scope="module")
def kfp_server(tmp_path_factory):
    server = FakeKFPServer(tmp_path_factory.mktemp("kfp"))
    yield server
    server.close()
