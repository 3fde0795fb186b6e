"""Records of runs: of processes that are killed, of stores that cannot be written, and what they cost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from functionfuse import workflow
from functionfuse.storage import FileStore
from functionfuse.stores import runs_of
from functionfuse.testing import wait_until

BACKEND = "functionfuse.backends.builtin.localback"
LocalWorkflow = pytest.importorskip(BACKEND, reason="the local backend is not installed").LocalWorkflow

PROGRAM = f"""
import sys, time
from {BACKEND} import LocalWorkflow
from functionfuse import workflow
from functionfuse.storage import FileStore

@workflow
def first(n):
    print("first is here")
    return n

@workflow
def waits(n):
    time.sleep(600)

@workflow
def last(n):
    return n

if __name__ == "__main__":
    local = LocalWorkflow(last(waits(first(1).set_name("a")).set_name("b")).set_name("c"), workflow_name="killed")
    local.set_storage(FileStore("store"))
    workers = int(sys.argv[1])
    local.run(labels={{"who": "test"}}, **({{"max_workers": workers}} if workers else {{}}))
"""


@workflow
def same(value):
    return value


@workflow
def interrupts(value):
    raise KeyboardInterrupt("Ctrl-C")


def local(*nodes, store):
    made = LocalWorkflow(*nodes, workflow_name="w")
    made.set_storage(store)
    return made


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_is_killed(tmp_path, workers):
    """It can be watched while it goes on; once its process is killed it is interrupted, with what it had done."""
    (tmp_path / "program.py").write_text(PROGRAM)
    process = subprocess.Popen([sys.executable, "program.py", str(workers)], cwd=tmp_path, start_new_session=True)
    try:
        store = FileStore(tmp_path / "store")
        wait_until(lambda: store.runs() and store.run().steps["b"].state == "running")
        (running,) = store.runs("killed")
        assert (running.state, running.ended, running.counts["finished"]) == ("running", None, 1)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    (killed,) = store.runs()
    assert (killed.state, killed.labels) == ("interrupted", {"who": "test"})
    run = store.run(killed.id)
    assert [(step.name, step.state) for step in run.steps.values()] == [
        ("a", "finished"),
        ("b", "stopped"),
        ("c", "not run"),
    ]
    assert run.steps["a"].output == "first is here\n"
    assert run.environment["process"] == process.pid


def test_an_interrupted_run(tmp_path):
    """Has what it had done until then, and is no failure."""
    store = FileStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        local(same(interrupts(same(1).set_name("a")).set_name("b")).set_name("c"), store=store).run()
    run = store.run()
    assert (run.state, run.error) == ("cancelled", "KeyboardInterrupt: Ctrl-C")
    assert [step.state for step in run.steps.values()] == ["finished", "stopped", "not run"]


def test_a_run_of_another_machine(tmp_path):
    """Is taken for interrupted once nothing was heard of it for long."""
    store = FileStore(tmp_path)
    local(same(1), store=store).run()
    (run,) = store.runs()
    meta = dict(store.info(runs_of("w"), run.id)["meta"]["run"])
    meta |= {"state": "running", "host": "elsewhere"}
    for silence, state in ((100.0, "running"), (100_000.0, "interrupted")):
        meta["updated"] = time.time() - silence
        store.save(runs_of("w"), run.id, b"", meta={"run": meta})
        assert store.runs()[0].state == state


class FullStore(FileStore):
    """A store that has room for results, and for nothing else."""

    def save(self, workflow_name, *args, **options):
        if workflow_name == runs_of("w"):
            raise OSError("no space is left")
        return super().save(workflow_name, *args, **options)


def test_a_record_that_cannot_be_written(tmp_path):
    """Warns once, and the run goes on."""
    store = FullStore(tmp_path)
    with pytest.warns(UserWarning, match="has no whole record, which cannot be written: OSError: no space") as warned:
        assert local(same(same(1)), store=store).run() == 1
    assert len(warned) == 1
    assert list(store.runs()) == []


def test_a_signed_store(tmp_path, monkeypatch):
    """Its records of runs are signed, too."""
    monkeypatch.setenv("KEY", "k" * 32)
    local(same(1), store=FileStore(tmp_path)).run()
    signed = FileStore(tmp_path, sign_key="env:KEY")
    assert [run.state for run in signed.runs()] == ["damaged"]
    local(same(1), store=signed).run(reuse="never")
    assert [run.state for run in signed.runs()] == ["finished", "damaged"]


def test_a_lost_result(tmp_path):
    """What ran before the run planned again is what it did; no step counts twice."""
    store = FileStore(tmp_path)
    first, second = same(1).set_name("first"), same(2).set_name("second")
    local(first, second, store=store).run()
    before = store.run()
    stored = next(path for path in tmp_path.rglob("*.ffr") if path.stem == "first")
    stored.write_bytes(stored.read_bytes()[:-200])
    both = same([first, second, same(3).set_name("third")]).set_name("both")
    with pytest.warns(UserWarning, match="cannot be read and will be made again"):
        assert local(both, store=store).run() == [1, 2, 3]
    run = store.run()
    assert run.counts == {"finished": 3, "reused": 1, "failed": 0, "skipped": 0, "steps": 4}
    assert run.steps["second"].state == "reused"
    assert run.id > before.id


def test_the_size(tmp_path):
    """At most 200 bytes a step."""
    store, number = FileStore(tmp_path, durable=False), 2_000
    local(*[same(n) for n in range(number)], store=store).run()
    run = store.run()
    assert run.counts["finished"] == number
    assert len(store.read_task(runs_of("w"), run.id)) < 200 * number


def test_tables(tmp_path):
    """Lists and records are plain data, and tables in notebooks."""
    store = FileStore(tmp_path)
    local(same("<b>").set_name("<i>"), store=store).run(labels={"<u>": "x"})
    runs, run = store.runs(), store.run()
    assert runs.as_dicts()[0]["labels"] == {"<u>": "x"}
    assert run.as_dict()["steps"]["<i>"]["state"] == "finished"
    for shown in (runs, run, store.diff(run, run)):
        html = shown._repr_html_()
        assert "<table" in html
        assert not {"<i>", "<u>", "<b>"} & set(html.replace(">", ">\n").split())
    assert "&lt;u&gt;=x" in runs._repr_html_()
    assert "no step differs" in str(store.diff(run, run))


class Broken:
    """An argument whose attributes raise."""

    @property
    def shape(self):
        raise RuntimeError("no shape")

    def __repr__(self):
        raise RuntimeError("no text")


RATE = 0.5
TOKEN_OF_SERVER = "xyzzy"
_THINGS = {"a": 1}


@workflow
def works_on(values, weights, *more, password="none", other=None):
    return (RATE, len(TOKEN_OF_SERVER), _THINGS, values, weights, more, password) and 1


def test_texts_of_arguments(tmp_path):
    """Values are told shortly, and secrets and what is the user's own not at all."""
    store = FileStore(tmp_path)
    node = works_on([1, "b"], list(range(100)), 3, same(1), password="swordfish", other=Broken())
    local(node.set_name("n"), store=store).run()
    step = store.run().steps["n"]
    assert step.arguments == {
        "values": "[1, 'b']",
        "weights": "list of length 100",
        "2": "3",
        "password": "(left out: its name looks secret)",
        "other": "a Broken",
    }
    assert step.globals == {
        "RATE": "0.5",
        "TOKEN_OF_SERVER": "(left out: its name looks secret)",
        "_THINGS": "{'a': 1}",
    }


def test_numbers_that_are_too_large(tmp_path):
    """Cost their texts, and not the record."""
    store = FileStore(tmp_path)
    local(same(1 << 100_000).set_name("n"), same([1 << 100_000]).set_name("m"), store=store).run()
    steps = store.run().steps
    assert [(step.state, step.arguments) for step in steps.values()] == [("finished", {})] * 2


def test_a_global_that_changed(tmp_path, monkeypatch):
    """Is named, with its values."""
    store = FileStore(tmp_path)
    for rate in (0.5, 0.25):
        monkeypatch.setitem(globals(), "RATE", rate)
        local(works_on(1, 2).set_name("n"), store=store).run()
    newer, older = store.runs()
    assert store.diff(older, newer).begins[0].changes == ("global RATE: 0.5 -> 0.25",)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit(tmp_path):
    """Of the folder of the program is in the record, and whether files differ from it."""
    program = PROGRAM.replace("time.sleep(600)", "pass")
    (tmp_path / "program.py").write_text(program)
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True)
    store = FileStore(tmp_path / "store")
    for is_dirty in (False, True):
        if is_dirty:
            (tmp_path / "program.py").write_text(f"{program}\n# changed\n")
        subprocess.run([sys.executable, "program.py", "0"], cwd=tmp_path, check=True)
        assert store.run().environment["git"] == {"commit": commit.stdout.strip(), "dirty": is_dirty}


@workflow
def parity(number, version):
    return number % 2


def test_a_step_that_was_checked(tmp_path):
    """Is reused where its input came out the same, and told so."""
    store = FileStore(tmp_path)
    for version in (1, 2):
        made = parity(3, version).set_name("parity")
        local(same(made).set_name("after"), store=store).run()
    newer, older = store.runs()
    assert newer.counts == {"finished": 1, "reused": 1, "failed": 0, "skipped": 0, "steps": 2}
    after = store.run().steps["after"]
    assert (after.action, after.state, after.started) == ("check", "reused", None)
    begins = store.diff(older, newer).begins
    assert [(step.name, step.content, step.changes) for step in begins] == [
        ("parity", False, ("argument version: 1 -> 2",))
    ]
