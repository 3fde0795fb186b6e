"""What the S3 store asks of a server: how often, again after a conflict, and from a forked process."""

from __future__ import annotations

import os
import signal
import threading

import pytest
import s3_server as s3

from functionfuse import workflow
from functionfuse.errors import LostRace, StorageError
from functionfuse.storage import S3Store


@pytest.fixture
def requests(behind, s3_proxy):
    """The methods of the requests that a call made."""

    def made_by(call):
        s3_proxy.seen.clear()
        call()
        return [line.partition(" ")[0] for line in s3_proxy.seen]

    return made_by


class TestCounts:
    def test_a_new_result_is_one_request(self, behind, requests):
        assert requests(lambda: behind.save("w", "a", 1)) == ["PUT"]
        assert requests(lambda: behind.save("w", "b", 1, create=True)) == ["PUT"]
        assert requests(lambda: behind.read_task("w", "a")) == ["GET"]
        assert requests(lambda: behind.info("w", "a")) == ["GET"]
        assert requests(lambda: behind.remove_task("w", "a")) == ["GET", "DELETE"]

    def test_what_is_replaced_is_read_first(self, behind, requests):
        behind.save("w", "a", 1)
        assert requests(lambda: behind.save("w", "a", 2)) == ["PUT", "GET", "PUT"]
        assert behind.read_task("w", "a") == 2

    def test_without_conditions_the_look_comes_first(self, s3_server, s3_options):
        proxy = s3.Proxy(s3_server.endpoint, without="If-None-Match")
        store = S3Store(**{**s3_options, "endpoint_url": proxy.endpoint})
        proxy.seen.clear()
        store.save("w", "a", 1)
        store.save("w", "a", 2)
        assert [line.partition(" ")[0] for line in proxy.seen] == ["GET", "PUT"] * 2
        proxy.stop()

    def test_names_of_a_result_that_a_recipe_finds(self, behind, requests):
        for number in (2, 3):
            behind.save("w", "a", number, recipe={"digest": f"d{number}"})
        assert requests(lambda: behind.link_results("w", {"a": "d3"})) == ["HEAD"] * 2
        assert requests(lambda: behind.link_results("w", {"a": "d2"})) == [*["HEAD"] * 3, "GET", "GET", "PUT", "PUT"]
        assert requests(lambda: behind.link_results("w", {"b": "d2"})) == [*["HEAD"] * 2, "GET", "GET", "PUT", "PUT"]
        assert [behind.read_task("w", name) for name in "ab"] == [2, 2]

    def test_nothing_large_is_sent_for_a_race_that_is_lost(self, behind, requests):
        behind.save("w", "a", 1)

        def lose():
            with pytest.raises(LostRace):
                behind.save("w", "a", bytes(20 << 20), create=True)

        assert set(requests(lose)) == {"GET"}


def test_a_plan_of_reused_nodes_is_one_request(behind, requests):
    back = pytest.importorskip("functionfuse.backends.builtin.localback", reason="the local backend is not installed")

    @workflow
    def add(number, more):
        return number + more

    nodes = [add(number, 1).set_name(f"n{number}") for number in range(150)]
    made = back.LocalWorkflow(*nodes, workflow_name="w")
    made.set_storage(behind)
    made.run()
    plans = []
    assert requests(lambda: plans.append(made.plan())) == ["GET"]
    assert {step.action for step in plans[0]} == {"reuse"}


class TestReplacing:
    def test_a_save_repeated_after_a_lost_response_keeps_its_own_blobs(
        self, behind, s3_proxy, blobby, blobby_serializer
    ):
        behind.register_persistent_serializers(blobby_serializer)
        lost = iter(["lose response"])
        s3_proxy.rule = lambda request: next(lost, None) if ".ffr" in request.path else None
        behind.save("w", "a", blobby(b"content"))
        assert sum("PUT" in line and ".ffr" in line for line in s3_proxy.seen) == 3  # lost, refused, not conditional
        assert behind.read_task("w", "a").content == b"content"

    def test_a_record_of_another_name_is_not_replaced(self, s3_store, s3_api):
        s3_store.save("w", "a", 1)
        prefix = s3_store._settings.prefix
        s3_api.copy_object(Bucket=s3.BUCKET, Key=f"{prefix}w/b.ffr", CopySource=f"{s3.BUCKET}/{prefix}w/a.ffr")
        with pytest.raises(StorageError, match=r"holds 'a', not 'b'; move it away first"):
            s3_store.save("w", "b", 2)
        assert s3_store.read_task("w", "a") == 1

    def test_create_replaces_only_the_damage_it_saw(self, behind, s3_proxy, s3_store, s3_api):
        s3_store.save("w", "a", "old")
        target = {"Bucket": s3.BUCKET, "Key": f"{s3_store._settings.prefix}w/a.ffr"}
        s3_api.put_object(**target, Body=b"damaged")
        first = iter(["first"])

        def rule(request):
            if "If-Match" in request.headers:
                for value in first:
                    s3_store.save("w", "a", value, create=True)

        s3_proxy.rule = rule
        with pytest.raises(LostRace):
            behind.save("w", "a", "second", create=True)
        assert s3_store.read_task("w", "a") == "first"


class TestConflicts:
    @pytest.fixture(autouse=True)
    def no_waiting(self, monkeypatch):
        self.waits = []
        monkeypatch.setattr("functionfuse.storage._object.writes.time.sleep", self.waits.append)

    @pytest.mark.parametrize("create", [False, True])
    def test_a_write_that_meets_another_is_repeated(self, behind, s3_proxy, create):
        verdicts = iter([(409, "ConditionalRequestConflict")] * 3)
        s3_proxy.rule = lambda request: next(verdicts, None) if request.command == "PUT" else None
        behind.save("w", "a", 1, create=create)
        assert behind.read_task("w", "a") == 1
        assert self.waits == [0.05, 0.1, 0.2]

    def test_conflicts_without_end_are_an_error(self, behind, s3_proxy, s3_store):
        s3_store.save("w", "a", "old")
        s3_proxy.rule = lambda request: (409, "ConditionalRequestConflict") if request.command == "PUT" else None
        with pytest.raises(StorageError, match=r"cannot write 's3://.*/w/a\.ffr': other writers keep replacing it"):
            behind.save("w", "a", 1)
        assert len(self.waits) == 5
        assert s3_store.read_task("w", "a") == "old"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_process_makes_clients_of_its_own(s3_store):
    s3_store.save("w", "of the parent", "parent")
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        ok = False
        try:
            s3_store.save("w", "of the child", "child")
            ok = s3_store.read_task("w", "of the parent") == "parent"
        finally:
            os._exit(0 if ok else 1)
    for number in range(20):  # at the same time, on the connections that the child must not use
        s3_store.save("w", f"{number}", number)
        assert s3_store.read_task("w", f"{number}") == number
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert s3_store.read_task("w", "of the child") == "child"


@pytest.mark.parametrize("size", [1, 24 << 20])
def test_a_server_that_dies_while_a_result_is_read(behind, s3_proxy, s3_store, size):
    s3_store.save("w", "a", b"v" * size)
    died = threading.Event()

    def rule(request):
        if died.is_set():
            return "drop"
        if size == 1 or "If-Match" in request.headers:
            died.set()
            return "cut response"
        return None

    s3_proxy.rule = rule
    with pytest.raises(StorageError, match=r"cannot read 's3://results/.*/w/a\.ffr': no response from 'http"):
        behind.read_task("w", "a")
    s3_proxy.rule = lambda request: None
    assert behind.read_task("w", "a") == b"v" * size
