"""A run whose driver is killed at any moment, and started again until it comes to its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from functionfuse import workflow
from functionfuse.storage import FileStore
from functionfuse.testing import wait_until

BACKEND = "functionfuse.backends.builtin.localback"
LocalWorkflow = pytest.importorskip(BACKEND, reason="the local backend is not installed").LocalWorkflow
WIDTH, DEPTH = 4, 4

# Row n of the graph adds to each number its neighbour's of row n - 1; an object counts what the last row has.
PROGRAM = f"""
import os, sys, time
from {BACKEND} import LocalWorkflow
from functionfuse import workflow
from functionfuse.storage import FileStore

def note(name):
    with open(os.environ["RAN"], "a") as ran:
        ran.write(name + "\\n")

@workflow
def first(name, number):
    note(name)
    return [number] * 30_000

@workflow
def add(name, one, other):
    note(name)
    time.sleep(0.01)
    return [a + b for a, b in zip(one, other)]

@workflow
class Sum:
    def __init__(self):
        self.total = 0

    def take(self, name, numbers):
        note(name)
        self.total += numbers[0]
        return self.total

row = [first(f"0-{{n}}", n).set_name(f"0-{{n}}") for n in range({WIDTH})]
for depth in range(1, {DEPTH}):
    row = [
        add(f"{{depth}}-{{n}}", row[n], row[n - 1]).set_name(f"{{depth}}-{{n}}") for n in range({WIDTH})
    ]
total = Sum()
for n, numbers in enumerate(row):
    last = total.take(f"take-{{n}}", numbers).set_name(f"take-{{n}}")

if __name__ == "__main__":
    local = LocalWorkflow(last, workflow_name="sums")
    local.set_storage(FileStore("store", durable=sys.argv[1] == "durable"))
    workers = int(sys.argv[2])
    print(local.run(**({{"max_workers": workers}} if workers else {{}})))
"""
NODES = {f"{depth}-{n}" for depth in range(DEPTH) for n in range(WIDTH)} | {f"take-{n}" for n in range(WIDTH)}
RESULT = sum(range(WIDTH)) * 2 ** (DEPTH - 1)


@pytest.fixture
def start(tmp_path):
    """Starts the program, which notes what runs in a file of its own."""
    (tmp_path / "program.py").write_text(PROGRAM)
    notes, running = [], []

    def start(*arguments):
        notes.append(tmp_path / f"ran-{len(notes)}")
        notes[-1].touch()
        # Files, because workers that outlive the driver would hold pipes open; other ones than the next driver's.
        with notes[-1].with_suffix(".out").open("w") as output, notes[-1].with_suffix(".err").open("w") as errors:
            driver = subprocess.Popen(
                [sys.executable, "program.py", *arguments],
                cwd=tmp_path, stdout=output, stderr=errors, start_new_session=True,
                env={**os.environ, "RAN": str(notes[-1])},
            )  # fmt: skip
        running.append(driver)
        return driver, notes[-1]

    yield start
    for driver in running:
        with suppress(ProcessLookupError):
            os.killpg(driver.pid, signal.SIGKILL)
        driver.wait(30)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.chaos(weight=3)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_driver_never_runs_a_finished_node_again(tmp_path, start, effort, workers):
    pick = effort.pick
    for _ in effort.rounds(1):
        store = FileStore(tmp_path / "store")
        store.remove_workflow("sums")
        finished, kills = {}, 0
        while True:
            driver, note = start(pick.choice(["durable", "relaxed"]), str(workers))
            if kills < 10:
                killed_after = pick.randrange(len(NODES) - len(finished) + 1)
                kills += kill_after(driver, note, killed_after, pick.uniform(0, 0.03))
            returned = driver.wait(120)
            assert not finished.keys() & set(ran(note))
            for name in store.list_tasks("sums"):
                value = store.read_task("sums", name)
                assert finished.setdefault(name, value) == value
            if returned != -signal.SIGKILL:
                break
        output, errors = (note.with_suffix(suffix).read_text() for suffix in (".out", ".err"))
        assert (returned, output) == (0, f"{RESULT}\n"), errors
        assert store.read_task("sums", f"take-{WIDTH - 1}") == RESULT
        assert finished.keys() == NODES
        assert store.check_workflow("sums") == []
        print(json.dumps({"kills": kills}))


def ran(note):
    return note.read_text().split()


def kill_after(driver, note, count, delay):
    """Kill a driver a moment after it has run some nodes; whether it had not ended before."""
    wait_until(lambda: driver.poll() is not None or len(ran(note)) >= count, interval=0.002)
    time.sleep(delay)
    driver.kill()
    return driver.wait(30) == -signal.SIGKILL


@workflow
class Counter:
    calls = ()

    def __init__(self):
        self.count = 0

    def add(self, name):
        Counter.calls += (name,)
        self.count += 1
        return self.count


def test_an_end_after_any_write_leaves_nothing_to_run_twice(tmp_path, monkeypatch):
    replace = os.replace
    endings = 0
    for endings in range(100):
        left = iter(range(endings))

        def replace_and_end(*names, left=left):
            replace(*names)
            if next(left, None) is None:
                raise KeyboardInterrupt

        Counter.calls = ()  # a value of the class, which recipes hold
        counter = Counter()
        last = [counter.add(name).set_name(name) for name in "abc"][-1]
        local = LocalWorkflow(last, workflow_name="counts")
        store = FileStore(tmp_path / f"{endings}", durable=False)
        local.set_storage(store)
        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            patch.setattr(os, "replace", replace_and_end)
            local.run()
            break
        stored, Counter.calls = store.list_tasks("counts"), ()
        assert local.run() == 3
        assert not set(stored) & set(Counter.calls)
    # Three results, the state of the object at its start and after each call, the run when it begins and ends, and when
    # results were collected.
    assert endings == 10
