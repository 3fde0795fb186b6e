"""A host of Kubeflow Pipelines for a module of tests."""

from __future__ import annotations

import pytest
from kfp_host import KFPHost


@pytest.fixture(scope="module")
def kfp_host(tmp_path_factory):
    host = KFPHost(tmp_path_factory.mktemp("kfp"))
    yield host
    host.close()
