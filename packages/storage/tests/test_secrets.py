"""No secret leaves the process: not in what is pickled for workers, shown in a notebook, or stored."""

from __future__ import annotations

import json
import pickle

import pytest
import s3_server as s3

from functionfuse.storage import FileStore, S3Store

SIGN_KEY = "a-key-that-signs-results-" * 2


@pytest.fixture(params=["file", "S3", "S3 with a literal key"])
def secretive(request, root, monkeypatch):
    monkeypatch.setenv("FF_TEST_SIGN_KEY", SIGN_KEY)
    if request.param == "file":
        return FileStore(root, sign_key="env:FF_TEST_SIGN_KEY")
    options = request.getfixturevalue("s3_options")
    if request.param != "S3":
        options = {**options, "credentials": None, "key": s3.KEY, "secret": s3.SECRET}
    return S3Store(**options, sign_key="env:FF_TEST_SIGN_KEY")


def shown(store):
    yield repr(store)
    yield json.dumps(store.config())
    yield store._repr_html_()
    yield repr(store.results("w"))
    yield store.results("w")._repr_html_()
    yield repr(store.get_writer_funcs("w"))


def pickled(store, lazy):
    for one in (lazy, store, *store.get_writer_funcs("w"), store.results("w"), store.results("w")[0]):
        try:
            yield pickle.dumps(one)
        except Exception as error:  # a store with a literal key refuses, and says nothing of it either
            assert store.config()["options"].get("credentials") is None
            yield str(error).encode()


def test_no_secret_is_shown_pickled_or_stored(secretive):
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    secretive.save("w", "lazy", da.ones((100, 100), chunks=50), recipe={"a": "1"}, meta={"seconds": 1.0})
    lazy = secretive.read_task("w", "lazy")
    assert lazy.sum().compute() == 10_000
    seen = [text.encode() for text in shown(secretive)] + list(pickled(secretive, lazy))
    seen.append(bytes(secretive._transport.whole("w", "lazy")))
    secrets = [secret.encode() for secret in (SIGN_KEY, s3.SECRET)]
    assert [secret for secret in secrets for data in seen if secret in data] == []
    assert all(seen)
