"""A program whose runs the local page shows, and the server of the page in a thread."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import contextmanager

from functionfuse.console._page.server import PageServer
from functionfuse.stores import open_store
from functionfuse.testing import wait_until

HOSTILE = "<script>document.title='owned'</script> \u202e\"'&"
PROGRAM = f"""
import os, sys, time
from pathlib import Path
from functionfuse import workflow
from functionfuse.backends.builtin.localback import LocalWorkflow
from functionfuse.errors import WorkflowFailed
from functionfuse.stores import open_store

folder = Path(sys.argv[1])


@workflow
def load(count):
    return list(range(count))


@workflow
def fit(values, rate, waits=""):
    print("fitting", rate, {HOSTILE!r})
    while waits and not (folder / waits).exists():
        time.sleep(0.02)
    if rate == 13:
        raise ValueError({HOSTILE!r})
    return sum(values) * rate


def run(name, count, rates, waits="", **labels):
    data = load(count).set_name("data")
    nodes = [fit(data, rate, waits if rate == rates[-1] else "").set_name(f"fit-{{rate}}") for rate in rates]
    made = LocalWorkflow(*nodes, workflow_name=name)
    made.set_storage(open_store(str(folder / "results")))
    try:
        made.run(on_error="continue", labels=labels)
    except WorkflowFailed as error:
        print(error, file=sys.stderr)


if sys.argv[2:] == ["live"]:
    run("live", 5, [1, 13, 2], waits="go")
else:
    run("training", 3, [1, 2], experiment="7")
    run("training", 4, [1, 2], experiment="8")
    run("failing", 3, [1, 13])
    run({HOSTILE!r}, 3, [1], evil={HOSTILE!r})
"""


def run_program(folder, *arguments):
    """Start the program, whose store is in a folder."""
    program = folder / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(program), str(folder), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


@contextmanager
def served(folder):
    """The server of the page of a folder's store, in a thread."""
    server = PageServer(open_store(str(folder / "results")))
    thread = threading.Thread(target=server.serve_page)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield server
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
