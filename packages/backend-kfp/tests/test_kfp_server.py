"""Runs on a server: the real client, over HTTP."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest
from kfp_functions import Counter, add, divided, reads, says, total, waits, writes
from kfp_server import ROUTES

from functionfuse import File, workflow
from functionfuse.backends.addons._kfp.client.server import connect
from functionfuse.backends.addons.kfpback import KFPWorkflow
from functionfuse.errors import (
    EngineError,
    EngineUnreachable,
    NodeError,
    OptionError,
    PlanError,
    RunCancelled,
    WorkflowFailed,
)
from functionfuse.storage import FileStore


@pytest.fixture
def store(tmp_path):
    return FileStore(tmp_path / "store", durable=False)


@pytest.fixture
def make_workflow(kfp_server, store):
    """Make a workflow on the server; after the test, all of its requests were such as the API takes."""

    def make(*nodes, **options):
        made = KFPWorkflow(*nodes, workflow_name="on-server", kfp_host=kfp_server.url, **options)
        made.set_storage(store)
        return made

    earlier = len(kfp_server.refused)
    yield make
    assert kfp_server.refused[earlier:] == []


def test_the_server_has_all_routes_of_the_client():
    assert len(ROUTES) == 40


def test_run(make_workflow, store):
    counter = Counter(add(1, 2))
    counter.up(10)
    last = counter.up(20).set_name("the, last")
    assert make_workflow(last, add(last, 1)).run() == [33, 34]
    assert store.read_task("on-server", "the, last") == 33
    assert make_workflow(last).plan()["the, last"].action == "reuse"


def test_a_handle(make_workflow, kfp_server):
    run = make_workflow(total([1, add(1, 1)]).set_name("sum")).submit()
    assert run.wait(60) == "SUCCEEDED"
    assert run.state == "SUCCEEDED"
    assert run.result() == 3
    assert run.url == f"{kfp_server.url}/#/runs/details/{run.run_id}"
    assert run.run_id in repr(run)


def test_the_record_of_a_submitted_run(make_workflow, store):
    """It is begun when the run is submitted, and tells how the run ended once its handle was asked."""
    run = make_workflow(divided(4, add(1, 1).set_name("two")).set_name("quotient")).submit()
    assert store.run().state == "running"
    assert run.result() == 2
    recorded = store.run()
    assert (recorded.state, recorded.engine) == ("finished", "KFPWorkflow")
    assert {name: step.state for name, step in recorded.steps.items()} == {"two": "finished", "quotient": "finished"}
    failing = make_workflow(divided(4, add(-1, 1)).set_name("quotient")).submit()
    with pytest.raises(NodeError, match="ZeroDivisionError"):
        failing.result()
    assert (store.run().state, store.run().steps["quotient"].state) == ("failed", "failed")


def test_logs(make_workflow):
    run = make_workflow(says("hello there").set_name("greeter"), says("goodbye").set_name("other")).submit()
    run.wait(60)
    assert "hello there" in run.logs("greeter")
    assert "goodbye" not in run.logs("greeter")
    assert "goodbye" in run.logs()


def test_a_failed_run(make_workflow):
    """The error has the node's name, its traceback, and what was raised."""
    node = divided(1, add(0, 0)).set_name("1/0")
    with pytest.raises(NodeError, match=r"(?s)node '1/0' failed: ZeroDivisionError.*divided\(1, 0\)") as caught:
        make_workflow(add(node, 1)).run()
    assert type(caught.value.__cause__) is ZeroDivisionError
    assert "in divided" in caught.value.__cause__.__notes__[0]


def test_continuing_after_failures(make_workflow):
    bad = divided(1, 0).set_name("bad")
    after = add(bad, 1).set_name("after")
    with pytest.raises(WorkflowFailed) as caught:
        make_workflow(after, add(1, 1).set_name("good")).run(on_error="continue")
    report = caught.value.report
    assert (list(report.failed), report.skipped, report.finished) == (["bad"], {"after": "bad"}, ["good"])


def test_events(make_workflow):
    events = []
    made = make_workflow(add(add(1, 1).set_name("a"), 1).set_name("b"))
    made.add_observer(lambda event: events.append((event.kind, event.name)))
    made.run()
    assert sorted(events) == [("finished", "a"), ("finished", "b"), ("started", "a"), ("started", "b")]


def test_cancel(make_workflow):
    run = make_workflow(waits(60)).submit()
    run.cancel()
    assert run.wait(60) == "CANCELED"
    with pytest.raises(RunCancelled, match="CANCELED"):
        run.result()


def test_a_run_that_takes_too_long(make_workflow):
    run = make_workflow(waits(60)).submit()
    with pytest.raises(EngineError, match=r"still RUNNING after 0.3 s"):
        run.wait(0.3)
    run.cancel()


def test_a_stored_result_that_is_lost(make_workflow, store):
    """It is made again by another run."""
    first = add(1, 1).set_name("first")
    make_workflow(first).run()
    made = make_workflow(add(first, 1).set_name("second"))
    lost = ["first"]

    def lose(event):
        if event.kind == "reused" and lost:
            store.remove_task("on-server", lost.pop())

    made.add_observer(lose)
    with pytest.warns(UserWarning, match="'first' cannot be read and will be made again"):
        assert made.run() == 3


@pytest.mark.parametrize("on_error", ["raise", "continue"])
def test_what_finished_before_a_result_was_lost(make_workflow, store, tmp_path, on_error):
    """It does not run again, though it is never reused; also where the pod that found out ran it."""

    @workflow
    def counted(path):
        with path.open("a") as file:
            file.write("x")
        return path.read_text()

    kept = add(1, 1).set_name("kept")
    make_workflow(kept).run()
    alone, grouped = (counted(tmp_path / name).set_name(name) for name in ("alone", "grouped"))
    made = make_workflow(add([kept, alone], [grouped]).set_name("last"))
    made.query("alone|grouped").set_cache("never")
    made = made.edit().collapse("grouped|last", name="g").done()
    lost = ["kept"]

    def lose(event):
        if event.kind == "reused" and lost:
            store.remove_task("on-server", lost.pop())

    made.add_observer(lose)
    with pytest.warns(UserWarning, match="'kept' cannot be read and will be made again"):
        assert made.run(on_error=on_error) == [2, "x", "x"]


def test_schedule(make_workflow, kfp_server):
    schedule = make_workflow(add(1, 1)).schedule(cron="0 0 6 * * *", name="every morning")
    kept = kfp_server.recurring[schedule.recurring_run_id]
    assert kept["display_name"] == "every morning"
    assert kept["trigger"]["cron_schedule"]["cron"] == "0 0 6 * * *"
    schedule.delete()
    assert kfp_server.recurring == {}


def test_a_cron_of_five_fields(make_workflow):
    with pytest.raises(OptionError, match="six fields"):
        make_workflow(add(1, 1)).schedule(cron="0 6 * * *", name="x")


def test_an_experiment(make_workflow, kfp_server):
    make_workflow(add(1, 1), experiment="my experiment").submit().wait(60)
    assert "my experiment" in [e["display_name"] for e in kfp_server.experiments.values()]


def test_results_need_a_store(kfp_server):
    made = KFPWorkflow(add(1, 1), workflow_name="no-store", kfp_host=kfp_server.url)
    with pytest.raises(OptionError, match="set_storage"):
        made.run()
    run = made.submit()
    with pytest.raises(OptionError, match="set_storage"):
        run.result()
    assert run.wait(60) == "SUCCEEDED"


def test_a_server_that_does_not_run(make_workflow):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    made = make_workflow(add(1, 1))
    made.set_kfp_host(address)
    with pytest.raises(EngineUnreachable, match=f"'{address}' does not answer"):
        made.run()


def test_a_server_that_never_answers():
    """The client would wait without limit."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(EngineUnreachable, match=f"'{address}' does not answer"):
            connect(address, None, {}, timeout=0.2)


def test_a_server_of_something_else(kfp_server):
    made = KFPWorkflow(add(1, 1), workflow_name="on-server", kfp_host=f"{kfp_server.url}/elsewhere")
    with pytest.raises(EngineError, match=r"is no Kubeflow Pipelines API server.*404"):
        made.submit()


def test_a_host_that_is_no_address():
    with pytest.raises(OptionError, match="address like"):
        KFPWorkflow(add(1, 1), workflow_name="on-server", kfp_host="localhost")


def test_submitting_without_a_server():
    made = KFPWorkflow(add(1, 1), workflow_name="no-server")
    with pytest.raises(OptionError, match="set_kfp_host"):
        made.submit()


def test_an_interrupt_cancels(make_workflow, kfp_server):
    """Ctrl-C in run() cancels the run on the server."""
    before = set(kfp_server.runs)
    made = make_workflow(waits(60).set_name("long"))

    def press(event):
        raise KeyboardInterrupt

    made.add_observer(press)
    with pytest.raises(KeyboardInterrupt):
        made.run()
    (run_id,) = set(kfp_server.runs) - before
    assert kfp_server.runs[run_id]["state"] in ("CANCELING", "CANCELED")


def test_cancelling_from_another_thread(make_workflow, kfp_server):
    """The run on the server is cancelled, too; its pods cannot be let finish."""
    before = set(kfp_server.runs)
    made = make_workflow(waits(60).set_name("long"))
    made.add_observer(lambda event: threading.Thread(target=made.cancel).start())
    with pytest.raises(RunCancelled, match="the run was cancelled"):
        made.run()
    (run_id,) = set(kfp_server.runs) - before
    assert kfp_server.runs[run_id]["state"] in ("CANCELING", "CANCELED")
    with pytest.raises(OptionError, match="cannot be let finish"):
        made.run(on_interrupt="finish")
    with pytest.raises(OptionError, match="keep failure capsules in the store"):
        made.run(capsules="folder")


def test_failures_that_are_tolerated(make_workflow):
    """The run succeeds, and the report of what failed comes from the task that looks for failures."""
    bad = divided(1, 0).set_name("bad")
    made = make_workflow(add(add(bad).set_name("skipped"), 1).set_name("taken"))
    made.query("taken").allow_failed_inputs(default=5)
    kinds = {}
    made.add_observer(lambda event: kinds.update({event.name: event.kind}))
    assert made.run() == 6
    assert kinds["bad"] == "failed"
    assert kinds["taken"] == "finished"


def test_a_dynamic_child_that_fails(make_workflow):
    @workflow
    def parent():
        return add(divided(1, 0).set_name("child"), 1)

    with pytest.raises(NodeError, match="'p/child' failed") as caught:
        make_workflow(parent().set_name("p")).run()
    assert caught.value.name == "p/child"


@pytest.mark.parametrize("on_error", ["raise", "continue"])
def test_a_pod_that_dies(make_workflow, on_error):
    """It reports no error; the message names its node, and no node that did not run counts as finished."""

    @workflow
    def dies():
        os._exit(9)

    dead = dies().set_name("Dead One")
    made = make_workflow(add(dead, 1).set_name("after"), add(1, 1).set_name("beside"))
    with pytest.raises((NodeError, WorkflowFailed), match=r"'Dead One' failed: its pod exited|1 failed") as caught:
        made.run(on_error=on_error)
    if on_error == "continue":
        report = caught.value.report
        assert (list(report.failed), report.skipped) == (["Dead One"], {"after": "Dead One"})
        assert set(report.finished) <= {"beside"}


def test_a_file_that_pods_do_not_have(make_workflow, tmp_path):
    (tmp_path / "data.txt").write_text("text")
    made = make_workflow(reads(File(tmp_path / "data.txt")).set_name("n"))
    assert made.plan()["n"].action == "blocked"
    for start in (made.run, made.submit, lambda: made.compile(str(tmp_path / "pipeline.yaml"))):
        with pytest.raises(PlanError, match=r"'n': argument 'file': KFPWorkflow runs nodes on machines.*ship=True"):
            start()
    assert made.run_local() == "text"


def test_a_file_that_is_shipped(make_workflow, store, tmp_path):
    (tmp_path / "data.txt").write_text("text")
    made = make_workflow(
        reads(File(tmp_path / "data.txt", ship=True)), reads(writes(str(tmp_path / "made"), ship=True))
    )
    assert made.run() == ["text", "made"]
    (tmp_path / "made").unlink()
    assert Path(store.read_task("on-server", "writes_0000")).read_text() == "made"
    assert {step.action for step in made.plan()} == {"reuse"}


def test_a_returned_file_that_other_pods_do_not_have(make_workflow, tmp_path):
    made = make_workflow(reads(writes(str(tmp_path / "made"), ship=False).set_name("writer")))
    with pytest.raises(NodeError, match=r"(?s)'writer' failed.*which other pods and the user do not have.*ship=True"):
        made.run()
