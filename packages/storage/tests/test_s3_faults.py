"""The S3 store in trouble: lost responses, races, killed writers, servers that ignore conditions.

A proxy on this machine comes between the store and a real server, and does what networks do.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import s3_server as s3

from functionfuse.errors import BadSignature, CorruptRecord, LostRace, StorageError
from functionfuse.storage import FileStore, S3Store
from functionfuse.storage._object.sink import ObjectSink
from functionfuse.storage._s3.client import S3Client

LARGE = 18 << 20  # bytes; more than one part


@pytest.fixture
def uploads(s3_store, s3_api):
    """The unfinished uploads of the store."""

    def list_uploads():
        found = s3_api.list_multipart_uploads(Bucket=s3.BUCKET).get("Uploads", ())
        return [one["Key"] for one in found if one["Key"].startswith(s3_store._settings.prefix)]

    return list_uploads


@pytest.fixture
def kill_writer(s3_proxy, s3_options):
    """Save in another process, and kill it before a request that is wanted gets to the server."""

    def save_and_kill(arguments, is_wanted):
        reached, released = threading.Event(), threading.Event()

        def rule(request):
            if not is_wanted(request):
                return None
            reached.set()
            released.wait(60)
            return "drop"

        s3_proxy.rule = rule
        options = {**s3_options, "endpoint_url": s3_proxy.endpoint}
        code = f"from functionfuse.storage import S3Store\nS3Store(**{options!r}).save({arguments})"
        writer = subprocess.Popen([sys.executable, "-c", code], env=os.environ)
        try:
            assert reached.wait(60)
        finally:
            writer.kill()
            writer.wait(30)
            released.set()

    return save_and_kill


def lose(count, wanted, verdict="lose response"):
    """Lose the responses to the first ``count`` requests that are wanted."""
    left = iter([verdict] * count)
    return lambda request: next(left, None) if wanted(request) else None


def is_put(request):
    return request.command == "PUT" and ".ffr" in request.path and "partNumber" not in request.path


def is_complete(request):
    return request.command == "POST" and "uploadId=" in request.path


class TestLostResponses:
    def test_our_own_retried_put_is_no_lost_race(self, behind, s3_proxy):
        s3_proxy.rule = lose(1, is_put)
        footer = behind.save("w", "a", 1, create=True)
        assert behind.info("w", "a")["uid"] == footer["uid"]
        assert sum(line.startswith("PUT") for line in s3_proxy.seen) == 2
        with pytest.raises(LostRace):
            behind.save("w", "a", 2, create=True)

    @pytest.mark.parametrize("create", [False, True])
    def test_a_lost_response_to_the_end_of_an_upload(self, behind, s3_proxy, uploads, create):
        s3_proxy.rule = lose(1, is_complete)
        behind.save("w", "a", bytes(LARGE), create=create)
        assert behind.read_task("w", "a") == bytes(LARGE)
        assert sum("uploadId=" in line for line in s3_proxy.seen) >= 4  # two parts, two ends
        assert uploads() == []

    @pytest.mark.parametrize("size", [1, LARGE])
    def test_all_responses_lost_but_the_last(self, behind, s3_proxy, size):
        s3_proxy.rule = lose(100, lambda request: is_put(request) or is_complete(request))
        behind.save("w", "a", bytes(size), create=True)
        s3_proxy.rule = lambda request: None
        assert behind.read_task("w", "a") == bytes(size)

    def test_nothing_is_known_and_nothing_is_lost(self, behind, s3_proxy, s3_store, blobby, blobby_serializer):
        for store in (behind, s3_store):
            store.register_persistent_serializers(blobby_serializer)
        s3_proxy.rule = lose(100, lambda request: is_put(request) or request.command == "HEAD")
        with pytest.raises(StorageError, match=r"cannot write 's3://results/.*/w/a\.ffr': no response from"):
            behind.save("w", "a", blobby(b"content"))
        # The record did arrive, and so its blob must not have been cleaned up.
        assert s3_store.read_task("w", "a").content == b"content"

    def test_a_lost_part_is_sent_again(self, behind, s3_proxy):
        s3_proxy.rule = lose(1, lambda request: "partNumber=1" in request.path)
        behind.save("w", "a", bytes(LARGE))
        assert behind.read_task("w", "a") == bytes(LARGE)


class TestAServerInTrouble:
    """It throttles, or connections are lost, for longer than botocore retries."""

    TROUBLES = ((503, "SlowDown"), (429, "TooManyRequests"), (500, "InternalError"), "drop")

    @pytest.fixture(autouse=True)
    def no_waiting(self, monkeypatch):
        monkeypatch.setattr("functionfuse.storage._s3.retries.back_off", lambda attempt: 0.0)
        monkeypatch.setattr("functionfuse.storage._object.retries.back_off", lambda attempt: 0.0)

    @pytest.fixture
    def make(self, s3_options, s3_proxy):
        once = {"retries": {"mode": "standard", "total_max_attempts": 1}}
        return partial(S3Store, **{**s3_options, "endpoint_url": s3_proxy.endpoint, "options": once})

    @pytest.mark.parametrize("trouble", TROUBLES)
    @pytest.mark.parametrize("size", [1, LARGE])
    def test_a_save_outlasts_it(self, make, s3_proxy, trouble, size):
        store = make()
        s3_proxy.rule = lose(20, lambda request: request.command in ("PUT", "POST"), trouble)
        store.save("w", "a", bytes(size))
        assert store.read_task("w", "a") == bytes(size)

    @pytest.mark.parametrize("trouble", [*TROUBLES, "cut response"])
    def test_a_read_outlasts_it(self, make, s3_proxy, trouble):
        store = make()
        store.save("w", "a", bytes(LARGE))
        s3_proxy.rule = lose(20, lambda request: request.command in ("GET", "HEAD"), trouble)
        assert store.has_tasks("w", ["a"]) == {"a"}
        assert store.read_task("w", "a") == bytes(LARGE)

    @pytest.mark.parametrize("trouble", [*TROUBLES, "cut response"])
    def test_a_blob_outlasts_it(self, make, s3_proxy, trouble, blobby, blobby_serializer):
        store = make()
        store.register_persistent_serializers(blobby_serializer)
        s3_proxy.rule = lose(20, lambda request: request.command == "PUT" and ".big/" in request.path, trouble)
        store.save("w", "a", blobby(b"content"))
        s3_proxy.rule = lose(20, lambda request: request.command == "GET" and ".big/" in request.path, trouble)
        assert store.read_task("w", "a").content == b"content"

    def test_a_warning_says_what_is_waited_for(self, make, s3_proxy, monkeypatch):
        monkeypatch.setattr("functionfuse.storage._s3.retries._QUIET", 0.0)
        store = make()
        s3_proxy.rule = lose(20, lambda request: request.command == "PUT", (503, "SlowDown"))
        with pytest.warns(
            UserWarning, match=r"of 's3://results/.*' is in trouble \(503 SlowDown\).* up to 300 s"
        ) as seen:
            store.save("w", "a", 1)
        assert len(seen) == 1

    def test_it_lasts_too_long(self, make, s3_proxy):
        store = make(retry_seconds=0.2)
        s3_proxy.rule = lambda request: (503, "SlowDown")
        with pytest.raises(StorageError, match=r"cannot write 's3://.*/w/a\.ffr'.*SlowDown"):
            store.save("w", "a", 1)
        assert len(s3_proxy.seen) > 4

    def test_what_is_refused_is_not_retried(self, make, s3_proxy):
        store = make()
        s3_proxy.seen.clear()
        s3_proxy.rule = lambda request: (403, "AccessDenied")
        with pytest.raises(StorageError, match="AccessDenied"):
            store.save("w", "a", 1)
        assert len(s3_proxy.seen) == 1

    def test_a_store_at_such_a_server_is_refused_soon(self, make, s3_proxy):
        s3_proxy.rule = lambda request: (503, "SlowDown")
        with pytest.raises(StorageError, match=r"cannot open a store at .*SlowDown"):
            make()
        assert len(s3_proxy.seen) <= 2


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("ExpiredToken", "the credentials have expired; renew them"),
        ("RequestTimeTooSkewed", "it is .* GMT here, and .* on the server; set the clock of this machine"),
        ("AccessDenied", "check key, secret"),
    ],
)
@pytest.mark.parametrize("status", [400, 403])
def test_a_refused_look_says_why(behind, s3_proxy, status, code, why):
    """A response to HEAD has no body that could."""
    s3_proxy.rule = lambda request: (status, code)
    with pytest.raises(StorageError, match=rf"access was refused \({code}\).*{why}"):
        behind.has_tasks("w", ["a"])
    assert [line.partition(" ")[0] for line in s3_proxy.seen[-2:]] == ["HEAD", "GET"]


@pytest.mark.parametrize("refusal", [(400, "MissingContentMD5"), (501, "NotImplemented")])
def test_a_server_that_refuses_checksums_can_be_emptied(behind, s3_proxy, keys, refusal):
    for name in ("a", "b"):
        behind.save("w", name, 1)
    s3_proxy.rule = lambda request: refusal if "x-amz-checksum-crc32" in request.headers else None
    behind.remove_workflow("w")
    assert keys() == ["ffstore.json"]


class TestReading:
    @pytest.fixture(autouse=True)
    def small_ranges(self, monkeypatch):
        monkeypatch.setattr("functionfuse.storage._object.download.FIRST", 1 << 20)
        monkeypatch.setattr("functionfuse.storage._object.download.RANGE", 1 << 20)

    def test_an_overwrite_between_two_ranges(self, behind, s3_proxy, s3_store):
        s3_store.save("w", "a", b"o" * 4_000_000)
        new = iter([b"n" * 4_000_000])

        def rule(request):
            if "If-Match" in request.headers:
                for value in new:  # once, whatever number of ranges are on their way
                    s3_store.save("w", "a", value)

        s3_proxy.rule = rule
        assert behind.read_task("w", "a") == b"n" * 4_000_000
        assert next(new, None) is None

    def test_an_overwrite_at_every_read(self, behind, s3_proxy, s3_store):
        s3_store.save("w", "a", bytes(2_000_000))
        versions = iter(range(1, 100))

        def rule(request):
            if "If-Match" in request.headers:
                s3_store.save("w", "a", [next(versions), bytes(2_000_000)])

        s3_proxy.rule = rule
        with pytest.raises(StorageError, match="replaced faster than read"):
            behind.read_task("w", "a")

    @pytest.mark.parametrize("verdict", ["lose response", "cut response"])
    @pytest.mark.parametrize("span", ["bytes=0-", "bytes=1048576-", "bytes=-"])
    def test_what_is_cut_is_read_again(self, behind, s3_proxy, s3_store, verdict, span):
        s3_store.save("w", "a", b"v" * 4_000_000)
        s3_proxy.rule = lose(1, lambda request: request.headers.get("Range", "").startswith(span), verdict)
        assert behind.read_task("w", "a") == b"v" * 4_000_000
        assert behind.info("w", "a")["type"] == "builtins.bytes"


class TestWriters:
    @pytest.mark.parametrize("sizes", [(LARGE, LARGE, LARGE), (LARGE, LARGE, 1)])
    def test_a_create_race_of_large_results_has_one_winner(self, s3_store, uploads, keys, sizes):
        start = threading.Barrier(3)

        def create(number):
            start.wait(30)
            try:
                s3_store.save("w", "a", bytes([number]) * sizes[number], create=True)
            except LostRace:
                return None
            return number

        with ThreadPoolExecutor(3) as pool:
            winners = [number for number in pool.map(create, range(3)) if number is not None]
        assert len(winners) == 1
        size = sizes[winners[0]]
        assert s3_store.read_task("w", "a") == bytes(winners) * size
        assert uploads() == []
        assert len(keys()) == (3 if size == LARGE else 2)  # the marker, the record, and its content

    def test_an_upload_that_fails_leaves_nothing(self, s3_store, uploads, keys):
        s3_store.save("w", "a", "old")
        with pytest.raises(TypeError):
            s3_store.save("w", "a", [bytes(LARGE), threading.Lock()])
        with pytest.raises(TypeError):
            s3_store.save("w", "a", [[str(n) * 40_000 for n in range(900)], threading.Lock()])
        assert s3_store.read_task("w", "a") == "old"
        assert (uploads(), keys()) == ([], ["ffstore.json", "w/a.ffr"])

    def test_gc_frees_what_a_killed_writer_left(self, kill_writer, s3_store, uploads, keys):
        kill_writer(f"'w', 'a', bytes({3 * LARGE})", lambda request: "partNumber=2" in request.path)
        assert not s3_store.has_task("w", "a")
        assert len(uploads()) == 1
        assert s3_store.gc("w", grace=3600) == []
        assert s3_store.gc("other", grace=0) == []
        assert s3_store.gc("w", grace=0) == ["a.ffr"]
        assert (uploads(), keys()) == ([], ["ffstore.json"])

    def test_a_live_upload_that_gc_took_starts_again(self, behind, s3_proxy, s3_store):
        taken = []

        def rule(request):
            if is_complete(request) and not taken:
                taken.extend(s3_store.gc("w", grace=0))

        s3_proxy.rule = rule
        behind.save("w", "a", bytes(LARGE))
        assert taken == ["a.ffr"]
        assert s3_store.read_task("w", "a") == bytes(LARGE)


class TestContentApart:
    """What is large and created: a blob, and a small record that refers to it."""

    @pytest.fixture(autouse=True)
    def all_is_large(self, monkeypatch):
        end_content = ObjectSink.end_content

        def end_content_apart(upload):
            if upload.apart:
                upload.send(bytes(upload.pending))
                upload.pending = bytearray()
            return end_content(upload)

        monkeypatch.setattr(ObjectSink, "end_content", end_content_apart)

    @pytest.fixture
    def content(self, s3_store, s3_api):
        """The object of the content of a result, as arguments of boto3."""
        return lambda: {
            "Bucket": s3.BUCKET,
            "Key": f"{s3_store._settings.prefix}w/.big/{s3_store.info('w', 'a')['content']}",
        }

    def test_it_comes_and_goes_with_its_record(self, s3_store, keys, content):
        footer = s3_store.save("w", "a", "old", create=True)
        assert footer == s3_store.info("w", "a")
        assert (s3_store.read_task("w", "a"), s3_store.check_workflow("w")) == ("old", [])
        assert len(keys()) == 3
        with pytest.raises(LostRace):
            s3_store.save("w", "a", "lost", create=True)
        assert s3_store.gc("w", grace=0) == []
        assert (s3_store.read_task("w", "a"), len(keys())) == ("old", 3)
        s3_store.save("w", "a", "new")
        assert (s3_store.read_task("w", "a"), keys()) == ("new", ["ffstore.json", "w/a.ffr"])
        s3_store.remove_task("w", "a")
        s3_store.save("w", "a", "again", create=True)
        s3_store.remove_task("w", "a")
        assert keys() == ["ffstore.json"]

    @pytest.mark.parametrize("at", [0, 8, 20, -1])
    def test_damage_is_noticed(self, s3_store, s3_api, content, at):
        s3_store.save("w", "a", "value", create=True)
        stored = bytearray(s3_api.get_object(**content())["Body"].read())
        stored[at] ^= 1
        s3_api.put_object(**content(), Body=bytes(stored))
        with pytest.raises(CorruptRecord, match=r"w/a\.ffr': "):
            s3_store.read_task("w", "a")
        assert [name for name, _ in s3_store.check_workflow("w")] == ["a"]

    @pytest.mark.parametrize("check", [True, False])
    def test_truncation_is_noticed(self, s3_store, s3_api, content, check):
        s3_store.save("w", "a", "value", create=True)
        stored = s3_api.get_object(**content())["Body"].read()
        s3_api.put_object(**content(), Body=stored[:-1])
        with pytest.raises(CorruptRecord, match="is not the content that was written"):
            s3_store.read_task("w", "a", check=check)

    def test_missing_content(self, s3_store, s3_api, content):
        s3_store.save("w", "a", "value", create=True)
        s3_api.delete_object(**content())
        with pytest.raises(CorruptRecord, match=r"w/a\.ffr'.*blob 's3://results/.*/w/\.big/.*' is missing"):
            s3_store.read_task("w", "a")

    def test_a_result_that_is_replaced_while_its_content_is_read(self, behind, s3_proxy, s3_store):
        s3_store.save("w", "a", "old", create=True)
        new = iter(["new"])

        def rule(request):
            if "/.big/" in request.path:
                for value in new:
                    s3_store.save("w", "a", value)

        s3_proxy.rule = rule
        assert behind.read_task("w", "a") == "new"

    def test_a_signature_covers_it(self, s3_options, s3_api, content, monkeypatch):
        monkeypatch.setenv("FF_TEST_KEY", "k" * 32)
        store = S3Store(**s3_options, sign_key="env:FF_TEST_KEY")
        store.save("w", "a", "value", create=True)
        assert store.read_task("w", "a") == "value"
        stored = s3_api.get_object(**content())["Body"].read()
        s3_api.put_object(**content(), Body=stored.replace(b"value", b"eulav"))
        with pytest.raises(BadSignature, match="content is not what was signed"):
            store.read_task("w", "a", check=False)

    @pytest.mark.parametrize("moment", ["PUT .tmp/", "POST uploadId=", "PUT .ffr"])
    def test_a_writer_that_is_killed_blocks_nobody(self, kill_writer, s3_store, uploads, keys, moment):
        verb, _, part = moment.partition(" ")

        def is_wanted(request):
            return request.command == verb and part in request.path and "partNumber" not in request.path

        kill_writer(f"'w', 'a', bytes({LARGE}), create=True", is_wanted)
        assert not s3_store.has_task("w", "a")
        s3_store.save("w", "a", "new", create=True)
        s3_store.gc("w", grace=0)
        assert (s3_store.read_task("w", "a"), uploads(), len(keys())) == ("new", [], 3)

    def test_gc_at_any_moment(self, behind, s3_proxy, s3_store):
        collected = []

        def rule(request):
            if request.command == "PUT" and "partNumber" not in request.path:
                collected.append(s3_store.gc("w", grace=0))

        s3_proxy.rule = rule
        behind.save("w", "a", "value", create=True)
        assert collected == [[]] * 2  # before the draft and the record
        assert behind.read_task("w", "a") == "value"

    def test_a_folder_with_a_copy_of_the_bucket_is_a_store(self, s3_store, s3_api, keys, tmp_path):
        s3_store.save("w", "a", "value", create=True)
        for key in keys():
            (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
            s3_api.download_file(s3.BUCKET, s3_store._settings.prefix + key, str(tmp_path / key))
        copy = FileStore(tmp_path)
        assert (copy.read_task("w", "a"), copy.check_workflow("w")) == ("value", [])
        next(tmp_path.glob("w/.big/*")).unlink()
        with pytest.raises(CorruptRecord, match="missing"):
            copy.read_task("w", "a")


class TestAServerThatIgnoresConditions:
    @pytest.fixture
    def careless(self, s3_server, s3_options):
        proxy = s3.Proxy(s3_server.endpoint, without="If-None-Match")
        yield S3Store(**{**s3_options, "endpoint_url": proxy.endpoint})
        proxy.stop()

    def test_create_is_refused(self, careless, s3_options):
        with pytest.raises(StorageError, match=r"ignores If-None-Match.*save without create=True"):
            careless.save("w", "a", 1, create=True)
        assert careless.list_tasks("w") == []
        careless.save("w", "a", 2)
        assert careless.read_task("w", "a") == 2
        assert S3Store(**s3_options)._transport.conditional is False  # the marker says so to everybody

    def test_a_server_that_honours_them_is_known(self, s3_store, s3_options, keys):
        assert s3_store._transport.conditional is True
        assert S3Store(**s3_options)._transport.conditional is True
        assert keys() == ["ffstore.json"]  # and no probe


class TestBlobs:
    @pytest.fixture
    def blob_store(self, s3_store, blobby_serializer):
        s3_store.register_persistent_serializers(blobby_serializer)
        return s3_store

    def test_they_come_back_and_go_with_their_record(self, blob_store, blobby, keys):
        blob_store.save("w", "a", [blobby(b"one"), blobby(b"two")])
        assert [one.content for one in blob_store.read_task("w", "a")] == [b"one", b"two"]
        assert blob_store.check_workflow("w") == []
        assert len(keys()) == 4
        blob_store.save("w", "a", [blobby(b"three")])
        assert len(keys()) == 3
        blob_store.remove_task("w", "a")
        assert keys() == ["ffstore.json"]

    def test_a_missing_blob_is_damage(self, blob_store, blobby, s3_api, keys):
        blob_store.save("w", "a", blobby(b"one"))
        (blob,) = [key for key in keys() if ".big/" in key]
        s3_api.delete_object(Bucket=s3.BUCKET, Key=f"{blob_store._settings.prefix}{blob}")
        with pytest.raises(CorruptRecord, match="missing"):
            blob_store.read_task("w", "a")
        assert [name for name, _ in blob_store.check_workflow("w")] == ["a"]

    def test_gc_takes_what_nothing_refers_to(self, blob_store, blobby, s3_api, keys):
        blob_store.save("w", "a", blobby(b"one"))
        orphan = f"{'0' * 32}.bin"
        target = {"Bucket": s3.BUCKET, "Key": f"{blob_store._settings.prefix}w/.big/{orphan}"}
        s3_api.put_object(**target, Body=b"orphan")
        assert blob_store.gc("w") == []
        assert blob_store.gc("w", grace=0) == [orphan]
        assert blob_store.read_task("w", "a").content == b"one"
        s3_api.put_object(**target, Body=b"orphan")
        s3_api.put_object(Bucket=s3.BUCKET, Key=f"{blob_store._settings.prefix}w/b.ffr", Body=b"damaged")
        assert blob_store.gc("w", grace=0) == []

    def test_a_save_is_safe_from_gc_at_any_moment(self, behind, s3_proxy, s3_store, blobby, blobby_serializer):
        behind.register_persistent_serializers(blobby_serializer)
        collected = []

        def rule(request):
            if request.command == "PUT":
                collected.append(s3_store.gc("w", grace=0))

        s3_proxy.rule = rule
        behind.save("w", "a", blobby(b"one"))
        assert collected == [[]] * 3  # before the draft, the blob and the record
        assert behind.read_task("w", "a").content == b"one"

    def test_a_failed_save_leaves_no_blob(self, blob_store, blobby, keys):
        with pytest.raises(TypeError):
            blob_store.save("w", "a", [blobby(b"one"), threading.Lock()])
        assert keys() == ["ffstore.json"]

    def test_a_blob_may_be_a_folder(self, s3_store, keys):
        blobs = s3_store._transport.blobs("w")
        blob, path = blobs.new(".zarr")
        Path(path, "c").mkdir(parents=True)
        Path(path, "zarr.json").write_bytes(b"{}")
        Path(path, "c", "0").write_bytes(b"chunk")
        blobs.upload()
        assert blobs.listed() == [{"id": blob, "size": 7}]
        copy = s3_store._transport.blobs("w")
        assert copy.size(blob) == 7
        assert Path(copy.path(blob), "c", "0").read_bytes() == b"chunk"
        assert copy.path(blob) == copy.path(blob)  # downloaded once
        copy.remove([blob])
        assert keys() == ["ffstore.json"]


class TestListing:
    def test_pages_are_put_together(self, s3_store):
        for number in range(7):
            s3_store.save("w", f"task {number}", number)
        found = list(S3Client(s3_store._settings).list_objects(f"{s3_store._settings.prefix}w/", nested=False, page=3))
        assert [entry.key.rpartition("/")[2] for entry in found] == [f"task {number}.ffr" for number in range(7)]

    def test_folders_that_only_the_server_remembers_are_no_workflows(self, s3_store):
        s3_store.save("w", "a", 1)
        s3_store.save("kept", "a", 1)
        s3_store.remove_task("w", "a")
        assert s3_store.list_workflows() == ["kept"]
