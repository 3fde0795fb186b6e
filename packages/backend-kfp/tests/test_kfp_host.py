"""Runs on a host: the real client, over the wire."""

from __future__ import annotations

import os
import socket

import pytest
from kfp_functions import Counter, add, divided, says, total, waits
from kfp_host import ROUTES

from functionfuse import workflow
from functionfuse.backends.addons.kfpback import KFPWorkflow
from functionfuse.errors import (
    EngineError,
    EngineUnreachable,
    NodeError,
    OptionError,
    RunCancelled,
    WorkflowFailed,
)
from functionfuse.storage import FileStore


@pytest.fixture
def store(tmp_path):
    return FileStore(tmp_path / "store", durable=False)


@pytest.fixture
def hosted(kfp_host, store):
    """Make a workflow for the host."""

    def make(*nodes, **options):
        made = KFPWorkflow(*nodes, workflow_name="hosted", kfp_host=kfp_host.url, **options)
        made.set_storage(store)
        return made

    return make


def test_the_host_knows_all_routes_of_the_client():
    assert len(ROUTES) == 40


def test_run(hosted, store):
    counter = Counter(add(1, 2))
    counter.up(10)
    last = counter.up(20).set_name("the, last")
    assert hosted(last, add(last, 1)).run() == [33, 34]
    assert store.read_task("hosted", "the, last") == 33
    assert hosted(last).plan()["the, last"].action == "reuse"


def test_a_handle(hosted, kfp_host):
    run = hosted(total([1, add(1, 1)]).set_name("sum")).submit()
    assert run.wait(60) == "SUCCEEDED"
    assert run.state == "SUCCEEDED"
    assert run.result() == 3
    assert run.url == f"{kfp_host.url}/#/runs/details/{run.run_id}"
    assert run.run_id in repr(run)


def test_logs(hosted):
    run = hosted(says("hello there").set_name("greeter"), says("goodbye").set_name("other")).submit()
    run.wait(60)
    assert "hello there" in run.logs("greeter")
    assert "goodbye" not in run.logs("greeter")
    assert "goodbye" in run.logs()


def test_a_failed_run(hosted):
    """The error has the node's name, its traceback, and what was raised."""
    node = divided(1, add(0, 0)).set_name("1/0")
    with pytest.raises(NodeError, match=r"(?s)node '1/0' failed: ZeroDivisionError.*divided\(1, 0\)") as caught:
        hosted(add(node, 1)).run()
    assert type(caught.value.__cause__) is ZeroDivisionError
    assert "in divided" in caught.value.__cause__.__notes__[0]


def test_going_on_after_failures(hosted):
    bad = divided(1, 0).set_name("bad")
    after = add(bad, 1).set_name("after")
    with pytest.raises(WorkflowFailed) as caught:
        hosted(after, add(1, 1).set_name("good")).run(on_error="continue")
    report = caught.value.report
    assert (list(report.failed), report.skipped, report.finished) == (["bad"], {"after": "bad"}, ["good"])


def test_events(hosted):
    heard = []
    made = hosted(add(add(1, 1).set_name("a"), 1).set_name("b"))
    made.add_observer(lambda event: heard.append((event.kind, event.name)))
    made.run()
    assert sorted(heard) == [("finished", "a"), ("finished", "b"), ("started", "a"), ("started", "b")]


def test_cancel(hosted):
    run = hosted(waits(60)).submit()
    run.cancel()
    assert run.wait(60) == "CANCELED"
    with pytest.raises(RunCancelled, match="CANCELED"):
        run.result()


def test_a_run_that_takes_too_long(hosted):
    run = hosted(waits(60)).submit()
    with pytest.raises(EngineError, match=r"still RUNNING after 0.3 s"):
        run.wait(0.3)
    run.cancel()


def test_a_stored_result_that_is_lost(hosted, store):
    """It is made again by another run."""
    first = add(1, 1).set_name("first")
    hosted(first).run()
    made = hosted(add(first, 1).set_name("second"))
    lost = ["first"]

    def lose(event):
        if event.kind == "reused" and lost:
            store.remove_task("hosted", lost.pop())

    made.add_observer(lose)
    with pytest.warns(UserWarning, match="'first' cannot be read and will be made again"):
        assert made.run() == 3


def test_schedule(hosted, kfp_host):
    schedule = hosted(add(1, 1)).schedule(cron="0 0 6 * * *", name="every morning")
    kept = kfp_host.recurring[schedule.recurring_run_id]
    assert kept["display_name"] == "every morning"
    assert kept["trigger"]["cron_schedule"]["cron"] == "0 0 6 * * *"
    schedule.delete()
    assert kfp_host.recurring == {}


def test_a_cron_of_five_fields(hosted):
    with pytest.raises(OptionError, match="six fields"):
        hosted(add(1, 1)).schedule(cron="0 6 * * *", name="x")


def test_an_experiment(hosted, kfp_host):
    hosted(add(1, 1), experiment="my experiment").submit().wait(60)
    assert "my experiment" in [e["display_name"] for e in kfp_host.experiments.values()]


def test_nothing_was_refused(kfp_host):
    """Whatever the tests above sent was what the API takes."""
    assert kfp_host.refused == []


def test_results_need_a_store(kfp_host):
    made = KFPWorkflow(add(1, 1), workflow_name="no-store", kfp_host=kfp_host.url)
    with pytest.raises(OptionError, match="set_storage"):
        made.run()
    run = made.submit()
    with pytest.raises(OptionError, match="set_storage"):
        run.result()
    assert run.wait(60) == "SUCCEEDED"


def test_a_host_that_is_not_there(hosted):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    made = hosted(add(1, 1))
    made.set_kfp_host(address)
    with pytest.raises(EngineUnreachable, match=f"'{address}' does not answer"):
        made.run()


def test_a_host_that_never_answers(hosted, monkeypatch):
    """The client would wait without end."""
    monkeypatch.setattr("functionfuse.backends.addons._kfp.client.cluster._ANSWER", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        made = hosted(add(1, 1))
        made.set_kfp_host(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(EngineError, match="does not answer"):
            made.submit()


def test_what_is_no_kfp_host(hosted, kfp_host):
    made = hosted(add(1, 1))
    made.set_kfp_host(f"{kfp_host.url}/elsewhere")
    with pytest.raises(EngineError, match="404"):
        made.submit()
    with pytest.raises(OptionError, match="address like"):
        made.set_kfp_host("localhost")


def test_without_a_host():
    made = KFPWorkflow(add(1, 1), workflow_name="hostless")
    with pytest.raises(OptionError, match="set_kfp_host"):
        made.submit()


def test_an_interrupt_cancels(hosted, kfp_host):
    """Ctrl-C in run() ends the run on the host."""
    before = set(kfp_host.runs)
    made = hosted(waits(60).set_name("long"))

    def press(event):
        raise KeyboardInterrupt

    made.add_observer(press)
    with pytest.raises(KeyboardInterrupt):
        made.run()
    (run_id,) = set(kfp_host.runs) - before
    assert kfp_host.runs[run_id]["state"] in ("CANCELING", "CANCELED")


def test_a_dynamic_child_that_fails(hosted):
    @workflow
    def parent():
        return add(divided(1, 0).set_name("child"), 1)

    with pytest.raises(NodeError, match="'p/child' failed") as caught:
        hosted(parent().set_name("p")).run()
    assert caught.value.name == "p/child"


@pytest.mark.parametrize("on_error", ["raise", "continue"])
def test_a_pod_that_dies(hosted, on_error):
    """It leaves no word of why; the node is named, and no node that did not run is called finished."""

    @workflow
    def dies():
        os._exit(9)

    dead = dies().set_name("Dead One")
    made = hosted(add(dead, 1).set_name("after"), add(1, 1).set_name("beside"))
    with pytest.raises((NodeError, WorkflowFailed), match=r"'Dead One' failed: its pod ended|1 failed") as caught:
        made.run(on_error=on_error)
    if on_error == "continue":
        report = caught.value.report
        assert (list(report.failed), report.skipped) == (["Dead One"], {"after": "Dead One"})
        assert set(report.finished) <= {"beside"}
