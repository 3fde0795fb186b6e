"""Results of pods in a bucket: the credentials come from the pods' environment, and are in no pipeline."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from functionfuse import workflow

pytest.importorskip("kfp", reason="kfp is not installed")

SERVER = Path(__file__).parents[1] / "packages" / "storage" / "tests" / "s3_server.py"
VARIABLES = {"KFP_TEST_ACCESS_KEY_ID": "key", "KFP_TEST_SECRET_ACCESS_KEY": "secret"}


@workflow
def square(x):
    return x * x


@pytest.fixture(scope="module")
def servers():
    """The servers of the tests of the S3 store."""
    spec = importlib.util.spec_from_file_location("s3_server_for_kfp", SERVER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
