"""What S3 stores are made from: options, credentials, and what cannot be used."""

from __future__ import annotations

import importlib
import json
import pickle
import socket
import sys
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import s3_server as s3

from functionfuse.errors import CorruptRecord, OptionError, StorageError, UnsupportedRecord
from functionfuse.storage import S3Store, storage_factory
from functionfuse.storage._s3.connection import boto_client
from functionfuse.storage._s3.settings import make_settings, options_of_s3fs

botocore = pytest.importorskip("botocore", reason="botocore is not installed")
boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")

NOWHERE = {"path": "/bucket/prefix", "endpoint_url": "http://127.0.0.1:1", "key": "k", "secret": "s3cr3t"}


def make(**options):
    return storage_factory({"kind": "S3", "options": options})


def test_config_is_json_and_makes_the_same_store(s3_options):
    store = make(**s3_options, workers=2, retry_seconds=60, options={"read_timeout": 30})
    store.save("w", "a", 1)
    again = storage_factory(json.loads(json.dumps(store.config())))
    assert again.config() == store.config()
    assert again.read_task("w", "a") == 1


def test_a_pickled_store_holds_no_secret(s3_options):
    store = make(**s3_options)
    shown = pickle.dumps([store, store.get_writer_funcs("w")]) + json.dumps(store.config()).encode()
    assert s3.SECRET.encode() not in shown + repr([store, store._settings, vars(store)]).encode()
    assert s3.KEY.encode() not in shown


@pytest.mark.parametrize("spelling", ["plain", "s3fs", "client_kwargs", "all in client_kwargs", "other names"])
def test_literal_credentials_work_and_stay_in_the_process(s3_options, spelling):
    path, endpoint_url = s3_options["path"], s3_options["endpoint_url"]
    literal = {"key": s3.KEY, "secret": s3.SECRET}
    store = {
        "plain": lambda: make(path=path, endpoint_url=endpoint_url, **literal),
        "s3fs": lambda: make(path=path, s3fs={**literal, "endpoint_url": endpoint_url}),
        "client_kwargs": lambda: make(path=path, s3fs={**literal, "client_kwargs": {"endpoint_url": endpoint_url}}),
        "all in client_kwargs": lambda: make(
            path=path,
            s3fs={
                "anon": False,
                "client_kwargs": {
                    "aws_access_key_id": s3.KEY,
                    "aws_secret_access_key": s3.SECRET,
                    "endpoint_url": endpoint_url,
                },
            },
        ),
        "other names": lambda: make(
            path=path,
            endpoint_url=endpoint_url,
            s3fs={"username": s3.KEY, "password": s3.SECRET, "use_ssl": False},
        ),
    }[spelling]()
    store.save("w", "a", 1)
    assert store.read_task("w", "a") == 1
    for thing in (store, store.get_writer_funcs("w"), store._settings):
        with pytest.raises(StorageError, match="credentials='env:PREFIX_'"):
            pickle.dumps(thing)
    shown = json.dumps(store.config()) + repr([store, store._settings, vars(store)])
    assert s3.SECRET not in shown
    assert s3.KEY not in shown


def test_credentials_of_a_function(s3_options, tmp_path, monkeypatch):
    (tmp_path / "vault_of_this_test.py").write_text(
        f"def read():\n    return {{'key': {s3.KEY!r}, 'secret': {s3.SECRET!r}}}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    store = make(**{**s3_options, "credentials": "vault_of_this_test:read"})
    store.save("w", "a", 1)
    assert pickle.loads(pickle.dumps(store)).read_task("w", "a") == 1


class TestCredentialsThatExpire:
    @pytest.fixture
    def vault(self, tmp_path, monkeypatch):
        """A module whose ``read`` returns two pairs of credentials, one after another; the last again and again."""
        name = f"vault_{uuid.uuid4().hex}"
        (tmp_path / f"{name}.py").write_text(
            "answers, calls = [], []\n"
            "def read():\n"
            "    calls.append(1)\n"
            "    return answers.pop(0) if len(answers) > 1 else answers[0]\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        module = importlib.import_module(name)
        module.answers += [{"key": s3.KEY, "secret": s3.SECRET}, {"key": s3.OTHER_KEY, "secret": s3.OTHER_SECRET}]
        return module

    @pytest.fixture
    def expiring(self, s3_options, s3_proxy, vault):
        return {**s3_options, "endpoint_url": s3_proxy.endpoint, "credentials": f"{vault.__name__}:read"}

    @pytest.mark.parametrize("form", [datetime.isoformat, lambda moment: moment])
    def test_before_a_known_time_the_function_is_called_again(self, expiring, s3_proxy, vault, form):
        for answer, minutes in zip(vault.answers, (5, 600), strict=True):
            answer["expiry"] = form(datetime.now(UTC) + timedelta(minutes=minutes))
        keys = []
        s3_proxy.rule = lambda request: keys.append(request.headers["Authorization"].split("/")[0])
        store = make(**expiring)
        store.save("w", "a", 1)
        assert store.read_task("w", "a") == 1
        assert {key.rpartition("=")[2] for key in keys} == {s3.OTHER_KEY}
        assert len(vault.calls) == 2

    def test_at_an_unknown_time_the_server_says_so(self, expiring, s3_proxy, vault):
        store = make(**expiring)
        store.save("w", "a", 1)
        assert len(vault.calls) == 1
        s3_proxy.rule = lambda request: (400, "ExpiredToken") if s3.KEY in request.headers["Authorization"] else None
        store.save("w", "b", 2)
        assert store.read_task("w", "a") == 1
        assert len(vault.calls) == 2

    def test_a_response_to_head_does_not_say_so(self, expiring, s3_proxy, vault):
        store = make(**expiring)
        store.save("w", "a", 1)
        s3_proxy.rule = lambda request: (400, "ExpiredToken") if s3.KEY in request.headers["Authorization"] else None
        assert store.has_tasks("w", ["a"]) == {"a"}
        assert len(vault.calls) == 2

    def test_a_function_that_has_nothing_new(self, expiring, s3_proxy, vault):
        store = make(**expiring)
        s3_proxy.rule = lambda request: (400, "ExpiredToken")
        with pytest.raises(StorageError, match=r"access was refused \(ExpiredToken\)"):
            store.save("w", "a", 1)
        assert len(vault.calls) == 2

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            ({"expiry": datetime(2001, 1, 1, tzinfo=UTC)}, "have expired at 2001-01-01"),
            ({"expiry": datetime(2100, 1, 1)}, "'expiry' must be a time with its zone"),
            ({"expiry": "tomorrow"}, "'expiry' must be a time with its zone, got 'tomorrow'"),
            ({"secre": "s3cr3t"}, "must return a mapping with 'key', 'secret'"),
        ],
    )
    def test_what_no_function_may_return(self, expiring, vault, answer, message):
        vault.answers[0].update(answer)
        with pytest.raises(StorageError, match=message) as caught:
            make(**expiring)
        assert "s3cr3t" not in str(caught.value)

    def test_a_function_that_forgets_the_secret(self, expiring, vault):
        del vault.answers[0]["secret"]
        with pytest.raises(StorageError, match="must return a mapping with 'key', 'secret'"):
            make(**expiring)


def test_a_signed_store(s3_options, monkeypatch):
    monkeypatch.setenv("FF_TEST_KEY", "k" * 32)
    store = make(**s3_options, sign_key="env:FF_TEST_KEY")
    store.save("w", "a", 1)
    assert store.read_task("w", "a") == 1
    make(**s3_options).save("w", "a", 2)
    with pytest.raises(CorruptRecord, match="not signed"):
        store.read_task("w", "a")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": ""}, "'path' must look like '/bucket/prefix'"),
        ({"path": 5}, "'path' must look like"),
        ({"path": "/b"}, "'path' must look like"),
        ({"path": "/bucket/a/../b"}, "'path' must have a plain name between slashes"),
        ({"path": "/bucket/a//b"}, "'path' must have a plain name between slashes"),
        ({"endpoint_url": "127.0.0.1:1"}, "'endpoint_url' must look like"),
        ({"endpoint_url": "http://me:s3cr3t@127.0.0.1:1"}, "'endpoint_url'.*without user and password"),
        ({"worker": 2}, "no option 'worker'.*did you mean 'workers'"),
        ({"workers": 0}, "'workers' must be a whole number from 1 to 64, got 0"),
        ({"workers": True}, "'workers' must be"),
        ({"retry_seconds": -1}, "'retry_seconds' must be a number of seconds, 0 or more, got -1"),
        ({"retry_seconds": float("inf")}, "'retry_seconds' must be"),
        ({"region": 5}, "'region' must be a name, got 5"),
        ({"credentials": {"key": "s3cr3t"}}, "'credentials' must be 'env:PREFIX_'"),
        ({"credentials": "env:A_"}, "without 'credentials'"),
        ({"secret": None}, "go together, got only 'key'"),
        ({"key": 5}, "'key' must be a string"),
        ({"s3fs": {"ke": "s3cr3t"}}, "'s3fs' knows 'anon'.*not 'ke'"),
        ({"s3fs": "s3cr3t"}, "'s3fs' must be a mapping"),
        ({"s3fs": {"client_kwargs": {"verifi": False}}}, "'client_kwargs' of 's3fs'.*not 'verifi'; did you mean 'ver"),
        ({"s3fs": {"client_kwargs": ["verify"]}}, "'client_kwargs' in option 's3fs' must be a mapping"),
        ({"s3fs": {"default_block_size": 1}}, "'s3fs' knows 'anon'.*not 'default_block_size'"),
        ({"s3fs": {"requester_pays": True}}, "'s3fs' knows 'anon'.*not 'requester_pays'"),
        ({"s3fs": {"use_ssl": False}, "endpoint_url": None}, "'use_ssl' in option 's3fs' is what 'endpoint_url' says"),
        ({"s3fs": {"config_kwargs": {"read_timeot": 1}}}, "Config has no 'read_timeot'"),
        ({"s3fs": {"max_concurrency": 3}, "workers": 2}, "'workers' is given twice"),
        ({"s3fs": {"secret": "s3cr3t", "client_kwargs": {"aws_secret_access_key": "x"}}}, "gives 'secret' twice"),
        ({"s3fs": {"anon": True}}, "'anon' is for use without 'key'"),
        ({"anon": 1}, "'anon' must be True or False"),
        ({"verify": "/no/such/file"}, "'verify' must be True, False or the path of certificates"),
        ({"s3fs": {"key": "s3cr3t"}}, "'key' is given twice"),
        ({"options": {"read_timeot": 1}}, "Config has no 'read_timeot'; did you mean 'read_timeout'"),
        ({"options": {"proxies": {"http": "http://me:s3cr3t@proxy"}}}, "must not hold a password"),
        ({"options": {"retries": {"mode": "sometimes"}}}, "cannot be made of it"),
        ({"options": "s3cr3t"}, "'options' must be a mapping"),
        ({"sign_key": "s3cr3t"}, "'sign_key' must be"),
    ],
)
def test_options_that_cannot_be_used(options, message):
    with pytest.raises(OptionError, match=message) as caught:
        make(**{**NOWHERE, **options})
    assert "s3cr3t" not in str(caught.value)


def test_a_bucket_that_is_not_there(s3_options):
    with pytest.raises(StorageError, match="there is no bucket 'absent'; make it first"):
        make(**{**s3_options, "path": "/absent/prefix"})


@pytest.mark.parametrize(("variable", "error"), [("ACCESS_KEY_ID", "Invalid"), ("SECRET_ACCESS_KEY", "Signature")])
def test_wrong_credentials(s3_options, monkeypatch, variable, error):
    monkeypatch.setenv(f"FF_TEST_S3_{variable}", "wrong-s3cr3t")
    with pytest.raises(StorageError, match=rf"access was refused \({error}.*check key, secret") as caught:
        make(**s3_options)
    assert "wrong-s3cr3t" not in str(caught.value)


def test_credentials_that_are_not_there(s3_options, monkeypatch):
    monkeypatch.delenv("FF_TEST_S3_SECRET_ACCESS_KEY")
    with pytest.raises(StorageError, match="variable 'FF_TEST_S3_SECRET_ACCESS_KEY' is not set"):
        make(**s3_options)
    with pytest.raises(StorageError, match="cannot use 'no_such_module:function'"):
        make(**{**s3_options, "credentials": "no_such_module:function"})
    with pytest.raises(StorageError, match="no credentials were found; give 'credentials'"):
        make(**{**s3_options, "credentials": None})
    with pytest.raises(StorageError, match="no profile 'nobody'"):
        make(**{**s3_options, "credentials": None, "profile": "nobody"})


@pytest.mark.parametrize("listens", [False, True])
def test_an_endpoint_that_does_not_respond_is_tried_twice(listens):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        if not listens:
            silent.close()
        with pytest.raises(StorageError, match=rf"cannot open a store at .*no response from 'http://127.0.0.1:{port}'"):
            make(**{**NOWHERE, "endpoint_url": f"http://127.0.0.1:{port}"})
        if listens:
            assert len(list(waiting_connections(silent))) == 2


def waiting_connections(server):
    server.setblocking(False)
    while True:
        try:
            connection, _ = server.accept()
        except BlockingIOError:
            return
        connection.close()
        yield connection


def test_the_first_request_gives_up_within_ten_seconds(s3_store):
    config = boto_client(s3_store._settings, probing=True).meta.config
    tries = config.retries["total_max_attempts"]
    assert tries * (config.connect_timeout + config.read_timeout) <= 10


def test_without_boto3_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(StorageError, match=r"needs boto3: pip install 'functionfuse-storage\[s3\]'"):
        S3Store(**{**NOWHERE, "path": "/bucket/without-boto3"})


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"", CorruptRecord),
        (b"[]", CorruptRecord),
        (b'{"format": 2, "names": "exact"}', CorruptRecord),
        (b'{"format": 3, "names": "exact", "conditional": true}', UnsupportedRecord),
    ],
)
def test_a_marker_that_cannot_be_used(s3_options, s3_api, text, error):
    prefix = s3_options["path"].split("/")[2]
    s3_api.put_object(Bucket=s3.BUCKET, Key=f"{prefix}/ffstore.json", Body=text)
    with pytest.raises(error, match=r"ffstore\.json"):
        make(**s3_options)


def test_what_s3fs_options_come_to(tmp_path):
    certificates = tmp_path / "ca.pem"
    certificates.write_text("")
    s3fs = {
        "anon": True,
        "key": None,
        "config_kwargs": {"connect_timeout": 7},
        "max_concurrency": 3,
        "use_ssl": True,
        "client_kwargs": {
            "region_name": "eu-west-1",
            "endpoint_url": "https://s3.example",
            "verify": str(certificates),
        },
    }
    options = options_of_s3fs(s3fs)
    assert options == {
        "anon": True,
        "options": {"connect_timeout": 7},
        "workers": 3,
        "region": "eu-west-1",
        "endpoint_url": "https://s3.example",
        "verify": str(certificates),
    }
    settings = make_settings("/bucket/prefix", **options, profile=None, credentials=None, retry_seconds=0, literal={})
    client = boto_client(settings)
    assert client.meta.config.connect_timeout == 7
    assert client.meta.config.signature_version is botocore.UNSIGNED
    assert client._endpoint.http_session._verify == str(certificates)


def test_a_store_without_credentials_signs_nothing(s3_proxy):
    signed = []

    def refuse(request):
        signed.append(request.headers.get("Authorization"))
        return 403, "AccessDenied"

    s3_proxy.rule = refuse
    with pytest.raises(StorageError, match="access was refused"):
        make(path=f"/{s3.BUCKET}/public", endpoint_url=s3_proxy.endpoint, anon=True)
    assert set(signed) == {None}
