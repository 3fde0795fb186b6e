"""The command as a process: in terminals, in pipes, at Ctrl-C, beside other processes, and completed by bash."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from command_project import command, environment

from functionfuse.runs import list_runs
from functionfuse.stores import open_store

pexpect = pytest.importorskip("pexpect", reason="pexpect is not installed")

SLOW_GRAPH = """
import pathlib
import time

from functionfuse import workflow


@workflow
def first():
    print("the first one")
    return 1


@workflow
def second(x):
    print("the second one waits")
    pathlib.Path("started").write_text("")
    while not pathlib.Path("go").exists():
        time.sleep(0.02)
    return x + 1


node = second(first().set_name("first")).set_name("second")
"""


@pytest.fixture
def slow_graph(project):
    project.write("waiting.py", SLOW_GRAPH)
    return project


def wait_for(path):
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} does not come"
        time.sleep(0.02)


def start(project, *arguments):
    return subprocess.Popen(
        command(*arguments), cwd=project.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_run_at_ctrl_c_exits_with_130_and_keeps_what_had_finished(slow_graph):
    process = start(slow_graph, "run", "waiting.py:node", "--storage", "results", "--json")
    wait_for(slow_graph.folder / "started")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out)["error"]["exit_code"] == 130
    assert "1 of 2 results are stored" in err
    assert "Traceback" not in err
    assert open_store("results").list_tasks("node") == ["first"]


def test_following_a_run_of_another_process(slow_graph):
    running = start(slow_graph, "run", "waiting.py:node", "--storage", "results")
    watching = logs = None
    try:
        wait_for(slow_graph.folder / "started")
        store = open_store("results")
        end = time.monotonic() + 60
        while not len(list_runs(store)):
            assert time.monotonic() < end
            time.sleep(0.05)
        ended = slow_graph.run("watch", "latest", "--storage", "results", "--timeout", "0.2s", "--json", code=5)
        assert "has not ended after 0.2 seconds" in ended.document["error"]["message"]
        logs = start(slow_graph, "logs", "latest", "--storage", "results", "--follow", "--timeout", "60s")
        watching = start(slow_graph, "watch", "--storage", "results", "--timeout", "60s")
        assert logs.stdout.readline() == "== first\n"
        (slow_graph.folder / "go").write_text("")
        assert logs.stdout.read() == "the first one\n== second\nthe second one waits\n"
        assert ": finished after" in watching.stdout.read()
        assert running.communicate(timeout=60)[0] == "2\n"
    finally:
        (slow_graph.folder / "go").write_text("")
        for process in (running, watching, logs):
            if process is not None:
                process.communicate(timeout=60)


@pytest.mark.parametrize("verb", [("--help",), ("runs", "--storage", "results"), ("diff", "latest")])
def test_a_reader_that_leaves_is_no_error(stored, verb):
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        command(*verb), cwd=stored.folder, stdout=write, stderr=subprocess.PIPE, text=True, check=False, timeout=60
    )
    os.close(write)
    said = ended.stderr if verb[0] != "diff" else ended.stderr.partition("no store is named")[0]
    assert "Broken pipe" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("columns", [40, 160])
def test_a_table_fits_the_terminal(stored, columns):
    child = pexpect.spawn(
        sys.executable,
        command("runs", "--storage", "results")[1:],
        cwd=str(stored.folder),
        dimensions=(24, columns),
        encoding="utf-8",
        env=environment(TERM="xterm-256color", COLUMNS=str(columns)),
        timeout=60,
    )
    child.expect(pexpect.EOF)
    child.close()
    pyte = pytest.importorskip("pyte", reason="pyte is not installed")
    screen = pyte.Screen(columns, 60)
    pyte.Stream(screen).feed(child.before)
    shown = [line.rstrip() for line in screen.display]
    assert shown[0] == "2 runs"
    assert any("workflow failing" in line or "  failing " in line for line in shown)
    assert child.exitstatus == 0
    assert "\x1b[31mfailed" in child.before


def test_progress_is_shown_on_a_terminal(project):
    def written(*options):
        child = pexpect.spawn(
            sys.executable,
            command("run", "graphs.py:pair", *options)[1:],
            cwd=str(project.folder),
            encoding="utf-8",
            env={name: value for name, value in environment(TERM="xterm-256color").items() if name != "CI"},
            timeout=60,
        )
        child.expect(pexpect.EOF)
        child.close()
        return child.before

    shown = written()
    assert "pair" in shown
    assert shown.rstrip().endswith("one: 2\r\nsix: 7")
    assert "2 finished" in shown
    assert "2 finished" not in written("--quiet")


@pytest.mark.slow(reason="starts processes, of which others like it are in the first tier")
@pytest.mark.parametrize("columns", ["60", "120"])
def test_help_fits_the_terminal(project, columns):
    lines = project.spawn("run", "--help", env=environment(COLUMNS=columns)).out.splitlines()
    assert max(map(len, lines)) <= int(columns)


@pytest.mark.slow(reason="starts processes, of which others like it are in the first tier")
def test_pdb_opens_where_it_raises(stored):
    child = pexpect.spawn(
        sys.executable,
        command("debug", "latest", "--storage", "results", "--pdb")[1:],
        cwd=str(stored.folder),
        encoding="utf-8",
        timeout=60,
    )
    child.expect_exact("(Pdb) ")
    child.sendline("p a, b")
    child.expect_exact("(1, 0)")
    child.sendline("q")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


@pytest.mark.slow(reason="a shell that starts the command for each completion")
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes(stored):
    program = stored.write("functionfuse", f'#!/bin/sh\nexec "{sys.executable}" -m functionfuse.console "$@"\n')
    program.chmod(0o755)
    path = f"{stored.folder}{os.pathsep}{os.environ['PATH']}"
    child = pexpect.spawn(
        "bash",
        ["--norc", "--noprofile", "-i"],
        cwd=str(stored.folder),
        encoding="utf-8",
        env=environment(PATH=path, PS1="ready> ", TERM="dumb", INPUTRC=os.devnull),
        timeout=60,
    )
    child.expect_exact("ready> ")
    child.sendline("bind 'set bell-style none'; bind 'set enable-bracketed-paste off'")
    child.expect_exact("ready> ")
    child.sendline('eval "$(functionfuse completion bash)"')
    child.expect_exact("ready> ")
    for typed, completed in [
        ("functionfuse do", "functionfuse doctor "),
        ("functionfuse run --on-e", "functionfuse run --on-error "),
        ("functionfuse run gra", "functionfuse run graphs.py:"),
        ("functionfuse run graphs.py:bu", "functionfuse run graphs.py:build "),
        ("functionfuse run graphs.py:build --ra", "functionfuse run graphs.py:build --rate "),
        ("functionfuse show --storage results lat", "functionfuse show --storage results latest "),
        ("functionfuse results list --storage results bu", "functionfuse results list --storage results build "),
    ]:
        child.send(f"{typed}\t")
        child.expect_exact(completed)
        child.sendcontrol("u")
        child.sendline("")
        child.expect_exact("ready> ")
    child.sendline("exit")
    child.expect(pexpect.EOF)
    child.close()
