"""The progress of runs on a real pseudo-terminal, and without one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pexpect
import pyte
import pytest

SCRIPT = Path(__file__).with_name("progress_script.py")
SECONDS = 60
SURROUNDINGS = ("CI", "COLUMNS", "LINES", "NO_COLOR")  # of these tests: pytest sets some


class Terminal:
    """A script on a terminal, and what that shows."""

    def __init__(self, how, gate, columns=80, **environment):
        variables = {name: text for name, text in os.environ.items() if name not in SURROUNDINGS}
        variables |= {"TERM": "xterm-256color", "PYTHONUNBUFFERED": "1", "LANG": "C.UTF-8", **environment}
        self.child = pexpect.spawn(
            sys.executable, [str(SCRIPT), how, str(gate)], dimensions=(24, columns), env=variables, timeout=SECONDS
        )
        self.screen = pyte.Screen(columns, 24)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""

    @property
    def lines(self):
        return [line.rstrip() for line in self.screen.display if line.strip()]

    def read_until(self, is_there):
        """Read what is written until the screen shows something, or the script has ended."""
        end = time.monotonic() + SECONDS
        while not is_there("\n".join(self.lines)):
            assert time.monotonic() < end, self.lines
            try:
                data = self.child.read_nonblocking(65536, timeout=0.1)
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                break
            self.raw += data
            self.stream.feed(data)

    def read_to_the_end(self):
        self.read_until(lambda text: False)
        self.child.close()


@pytest.fixture
def terminal(tmp_path):
    started = []

    def start(how, columns=80, **environment):
        started.append(Terminal(how, tmp_path / "gate", columns, **environment))
        return started[-1]

    yield start
    for one in started:
        one.child.close(force=True)


@pytest.mark.parametrize("columns", [44, 100])
def test_a_run(terminal, tmp_path, columns):
    """What is printed comes out above, failures too; one line stays."""
    shown = terminal("threads", columns)
    parts = "fold 1 converged", "▸ model3", "✕ model1", "▸ model2"
    shown.read_until(
        lambda text: (
            all(part in text for part in parts)
            and any("━" in line and "50 %" in line for line in shown.lines)
            and shown.screen.cursor.hidden
        )
    )
    (tmp_path / "gate").touch()
    shown.read_to_the_end()
    assert shown.lines[-2].startswith("comparison failed in ")
    assert shown.lines[-1] == "comparison is over"
    assert not any("━" in line or "▸" in line for line in shown.lines)
    assert not shown.screen.cursor.hidden


def test_two_runs_share_the_screen(terminal, tmp_path):
    shown = terminal("two", 100)
    shown.read_until(lambda text: text.count("▸ model3") == 2)
    assert [line.split()[0] for line in shown.lines if "━" in line] in (["first", "second"], ["second", "first"])
    (tmp_path / "gate").touch()
    shown.read_to_the_end()
    assert sorted(line.split()[0] for line in shown.lines if "failed in" in line) == ["first", "second"]
    assert not any("━" in line for line in shown.lines)


def test_ctrl_c_restores_the_terminal(terminal):
    shown = terminal("serial")
    shown.read_until(lambda text: "▸ model2" in text)
    shown.child.send("\x03")
    shown.read_to_the_end()
    assert shown.lines[-2].startswith("comparison cancelled in ")
    assert shown.lines[-1] == "interrupted"
    assert not shown.screen.cursor.hidden
    assert shown.child.exitstatus == 0


def test_no_colour(terminal, tmp_path):
    (tmp_path / "gate").touch()
    shown = terminal("threads", NO_COLOR="1")
    shown.read_to_the_end()
    assert b"comparison failed in" in shown.raw.replace(b"\x1b[1m", b"").replace(b"\x1b[0m", b"")
    assert b"\x1b[31m" not in shown.raw


def test_a_dumb_terminal_gets_lines(terminal, tmp_path):
    (tmp_path / "gate").touch()
    shown = terminal("threads", TERM="dumb")
    shown.read_to_the_end()
    assert b"\x1b" not in shown.raw
    assert b"failed model1: ValueError: Input X contains NaN" in shown.raw


def test_off(terminal, tmp_path):
    (tmp_path / "gate").touch()
    shown = terminal("threads", FUNCTIONFUSE_PROGRESS="0")
    shown.read_to_the_end()
    assert sorted(shown.lines) == ["comparison is over", "fold 1 converged", "from a library in C"]


@pytest.mark.parametrize(("asked", "lines"), [("", 0), ("1", 2)])
def test_a_pipe(tmp_path, asked, lines):
    """Quiet, unless it is asked for."""
    (tmp_path / "gate").touch()
    environment = {**os.environ, "FUNCTIONFUSE_PROGRESS": asked}
    ended = subprocess.run(
        [sys.executable, SCRIPT, "threads", tmp_path / "gate"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert len(ended.stderr.splitlines()) == lines
    assert not lines or "comparison: failed in " in ended.stderr


def test_a_wrong_value_is_named(tmp_path):
    ended = subprocess.run(
        [sys.executable, SCRIPT, "threads", tmp_path / "gate"],
        env={**os.environ, "FUNCTIONFUSE_PROGRESS": "yes"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert """the environment variable FUNCTIONFUSE_PROGRESS is "0" or "1", got 'yes'""" in ended.stderr
