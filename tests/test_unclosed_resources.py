"""Unclosed resources: those that an engine opened fail no test, all others do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULE = """
import asyncio, os, socket, subprocess, sys

listening = socket.create_server(("127.0.0.1", 0))
stdin, kept = os.pipe()
OPENERS = {
    "socket": socket.socket,
    "client": lambda: socket.create_connection(listening.getsockname()),
    "file": lambda: open(__file__),
    "process": lambda: subprocess.Popen([sys.executable, "-c", "input()"], stdin=stdin),
    "event loop": asyncio.new_event_loop,
}


class Cycle:
    def __init__(self, kind):
        self.opened = OPENERS[kind]()
        self.itself = self
"""
TESTS = """
import gc
import pytest
from opening import Cycle, OPENERS

class Running:
    def collect(self):
        gc.collect()

@pytest.mark.parametrize("kind", OPENERS)
def test_that_leaves_something_open(kind):
    Cycle(kind)
    Running().collect()
"""


def summary_of_tests(folder, module):
    """Run tests that leave things open which a module opened; return the summary that pytest printed."""
    path = folder / module
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(MODULE)
    (folder / "test_leak.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path.parent), str(ROOT)])}
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "test_leak.py"]
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    return ended.stdout.splitlines()[-1].partition(" in ")[0].strip("= ")


@pytest.mark.parametrize("engine", ["distributed", "prefect", "ray"])
def test_one_of_an_engine_fails_no_test(tmp_path, engine):
    assert summary_of_tests(tmp_path, f"site-packages/{engine}/opening.py") == "5 passed"


@pytest.mark.parametrize(
    "module", ["opening.py", "site-packages/functionfuse/opening.py", "site-packages/boto3/opening.py"]
)
def test_any_other_does(tmp_path, module):
    assert summary_of_tests(tmp_path, module) == "5 failed"
