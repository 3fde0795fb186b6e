"""Processes: those that runs are made in, forked, spawned or daemonic, and workers whose driver ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from functionfuse.testing import wait_until

PROGRAM = """
import multiprocessing, os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functionfuse import workflow
from functionfuse.backends.builtin.localback import LocalWorkflow

@workflow
def square(x):
    return x * x

def run(executor=None, **options):
    try:
        return LocalWorkflow(square(3), workflow_name="w", executor=executor).run(**options)
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def child(queue, executor=None):
    queue.put(run(executor) if executor else run(max_workers=1))

def run_in_process(method, *args, daemon=False):
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=child, args=(queue, *args), daemon=daemon)
    process.start()
    print(queue.get())
    process.join()
    print(process.exitcode)

if __name__ == "__main__":
"""


@pytest.fixture
def said(tmp_path):
    """Run a program, and return the lines that it printed."""

    def run(*lines):
        file = tmp_path / "main.py"
        file.write_text(PROGRAM + "".join(f"    {line}\n" for line in lines))
        done = subprocess.run([sys.executable, file], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_parallel_run_in_a_child(said, method):
    """After one in the parent: a fork has the parent's pool, but not the threads that serve it."""
    assert said("print(run(max_workers=1))", f"run_in_process('{method}')", "print(run(max_workers=1))") == [
        "9",
        "9",
        "0",
        "9",
    ]


def test_a_parallel_run_after_a_plain_fork(said):
    lines = said(
        "run(max_workers=1)",
        "pid = os.fork()",
        "if not pid: print(run(max_workers=1), flush=True)",
        "elif os.waitpid(pid, 0)[1] == 0: print('the child ended')",
    )
    assert lines == ["9", "the child ended"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_parallel_run_in_a_daemonic_process(said, method):
    error, code = said(f"run_in_process('{method}', daemon=True)")
    assert error.startswith("EngineError: run(max_workers=1) cannot start processes in a daemonic process")
    assert code == "0"


@pytest.mark.parametrize("executor", ["ThreadPoolExecutor", "ProcessPoolExecutor"])
def test_an_executor_that_a_fork_inherited(said, executor):
    before, error, code = said(
        f"pool = {executor}(1)", "print(run(pool))", "run_in_process('fork', pool)", "pool.shutdown()"
    )
    assert error.startswith(f"EngineError: the executor {executor} does not run in this process, which was forked")
    assert (before, code) == ("9", "0")


# Drivers that end


DRIVER = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from functionfuse import workflow
from functionfuse.backends.builtin.localback import LocalWorkflow

@workflow
def works(folder, number):
    Path(folder, f"{os.getpid()}.worker").touch()
    time.sleep(300)

if __name__ == "__main__":
    folder, method = sys.argv[1:]
    nodes = [works(folder, number) for number in range(6)]
    if method == "loky":
        LocalWorkflow(*nodes, workflow_name="w").run(max_workers=2)
    else:
        executor = ProcessPoolExecutor(2, mp_context=get_context(method))
        LocalWorkflow(*nodes, workflow_name="w", executor=executor).run()
"""


def is_alive(process):
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks at processes as Linux shows them")
@pytest.mark.parametrize(
    ("method", "number"),
    [("loky", signal.SIGTERM), *((method, signal.SIGKILL) for method in ("loky", "fork", "spawn", "forkserver"))],
)
def test_workers_end_with_their_driver(tmp_path, method, number):
    file = tmp_path / "main.py"
    file.write_text(DRIVER)
    driver = subprocess.Popen([sys.executable, file, tmp_path, method])
    try:
        wait_until(lambda: len(list(tmp_path.glob("*.worker"))) == 2)
    finally:
        driver.send_signal(number)
        driver.wait()
    workers = [int(worker.stem) for worker in tmp_path.glob("*.worker")]
    wait_until(lambda: not any(map(is_alive, workers)), 60)
    assert len(list(tmp_path.glob("*.worker"))) == 2
