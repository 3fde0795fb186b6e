"""The local backend with the file store, from one process to the next: restart, edits, damage and death.

Each test writes a project into a folder (a script, and modules that it imports), runs it, changes something, and
runs it again. Steps note that they ran in a file beside it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from functionfuse import workflow
from functionfuse.backends.builtin.localback import LocalWorkflow
from functionfuse.storage import FileStore

if TYPE_CHECKING:
    from pathlib import Path

HELPERS = '''
OFFSET = 10


def shifted(value):
    """Moves a value."""
    return value + OFFSET


def halved(value):
    return value / 2
'''

STEPS = """
import os

import helpers
from functionfuse import workflow


def note(word):
    with open("ran", "a") as ran:
        ran.write(f"{word}\\n")


@workflow
def load(n):
    note("load")
    return list(range(n))


@workflow
def shift(values):
    note("shift")
    return [helpers.shifted(value) for value in values]


@workflow
def halve(values):
    note("halve")
    return [helpers.halved(value) for value in values]


@workflow
def add(one, other, tags):
    note("add")
    return sum(one) + sum(other)


@workflow
class Counter:
    def __init__(self, start):
        note("Counter")
        self.count = start

    def increase(self, by):
        note("increase")
        self.count += by
        return self.count
"""

MAIN = """
import json
import os
import sys

from functionfuse.backends.builtin.localback import LocalWorkflow
from functionfuse.storage import storage_factory
from steps import Counter, add, halve, load, shift

data = load(4).set_name("data")
total = add(
    shift(data).set_name("shifted"), halve(data).set_name("halved"), {"a", "b", "c", "spam", "eggs"}
).set_name("total")
counter = Counter(total).set_name("counter")
counter.increase(1).set_name("first")
last = counter.increase(total).set_name("last")

if __name__ == "__main__":
    local = LocalWorkflow(total, last, workflow_name="project")
    local.set_storage(storage_factory({"kind": "file", "options": {"path": "results", "durable": False}}))
    workers = int(sys.argv[1]) if len(sys.argv) > 1 else None
    print(json.dumps(local.run(max_workers=workers)))
"""

EVERYTHING = ["load", "shift", "halve", "add", "Counter", "increase", "increase"]
RESULTS = [49.0, 99.0]


class Project:
    """A folder with a program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("helpers.py", HELPERS)
        self.write("steps.py", STEPS)
        self.write("main.py", MAIN)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text(encoding="utf-8")
        assert old in text
        self.write(name, text.replace(old, new))

    def start(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the program in a process of its own, to its end."""
        (self.folder / "ran").write_text("")
        return subprocess.run(
            [sys.executable, "-B", "main.py", *arguments],  # -B: an edit within a second is not hidden by bytecode
            cwd=self.folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[object, list[str], str]:
        """Run the program; return what it printed, which steps ran, and its warnings."""
        ended = self.start(*arguments, **environment)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout), self.ran(), ended.stderr

    def error(self) -> str:
        """Run the program, which fails; return the last line that it says about it."""
        ended = self.start()
        assert ended.returncode == 1
        return ended.stderr.splitlines()[-1]

    def ran(self) -> list[str]:
        return (self.folder / "ran").read_text().split()

    def record(self, name: str) -> Path:
        return self.folder / "results" / "project" / f"{name}.ffr"


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture
def finished(project):
    """A project that ran once."""
    assert project.run() == (RESULTS, EVERYTHING, "")
    return project


class TestRestart:
    def test_a_second_process_computes_nothing(self, finished):
        assert finished.run() == (RESULTS, [], "")

    def test_the_order_of_hashes_does_not_matter(self, project):
        project.run(PYTHONHASHSEED="1")
        assert project.run(PYTHONHASHSEED="2") == (RESULTS, [], "")

    def test_workers_make_the_same_recipes_and_results(self, project):
        results, ran, warnings = project.run("2")
        assert (results, sorted(ran), warnings) == (RESULTS, sorted(EVERYTHING), "")
        assert project.run() == (RESULTS, [], "")

    def test_workers_compute_nothing_a_second_time(self, finished):
        assert finished.run("2") == (RESULTS, [], "")

    def test_a_moved_project_computes_nothing(self, finished, tmp_path):
        moved = tmp_path / "elsewhere"
        moved.mkdir()
        for path in [path for path in tmp_path.iterdir() if path != moved]:
            path.rename(moved / path.name)
        finished.folder = moved
        assert finished.run() == (RESULTS, [], "")


def test_the_table_of_results_says_how_long_each_node_took(finished):
    results = FileStore(finished.folder / "results").results("project")
    assert [row.name for row in results] == ["data", "first", "halved", "last", "shifted", "total"]
    assert [(row.problem, row.duration > 0) for row in results] == [("", True)] * 6


class TestEdits:
    @pytest.mark.parametrize(
        ("name", "old", "new"),
        [
            ("helpers.py", "return value + OFFSET", "# a comment\n    return value + OFFSET  # another"),
            ("helpers.py", "return value + OFFSET", "return (\n        value\n        + OFFSET\n    )"),
            ("helpers.py", '"""Moves a value."""', '"""Moves a value by a constant."""'),
            ("helpers.py", "def shifted", "\n\n\ndef unused():\n    return 1\n\n\ndef shifted"),
            ("steps.py", '    note("shift")', '    # remember\n    note("shift")'),
            ("main.py", "counter = Counter", "\n\n# an object\ncounter = Counter"),
        ],
        ids=["comments", "formatting", "docstring", "other_function", "comment_in_step", "lines_in_main"],
    )
    def test_an_edit_that_changes_no_result_runs_nothing(self, finished, name, old, new):
        finished.edit(name, old, new)
        assert finished.run() == (RESULTS, [], "")

    def test_an_edited_helper_runs_what_uses_it(self, finished):
        finished.edit("helpers.py", "return value / 2", "return value / 4")
        results, ran, _ = finished.run()
        assert results == [47.5, 96.0]
        assert ran == ["halve", "add", "Counter", "increase", "increase"]

    def test_an_edited_constant_runs_what_uses_it(self, finished):
        finished.edit("helpers.py", "OFFSET = 10", "OFFSET = 20")
        results, ran, _ = finished.run()
        assert results == [89.0, 179.0]
        assert ran == ["shift", "add", "Counter", "increase", "increase"]

    def test_an_edit_taken_back_runs_nothing(self, finished):
        finished.edit("helpers.py", "OFFSET = 10", "OFFSET = 20")
        finished.run()
        finished.edit("helpers.py", "OFFSET = 20", "OFFSET = 10")
        assert finished.run() == (RESULTS, [], "")

    def test_an_edited_argument_runs_what_follows(self, finished):
        finished.edit("main.py", "counter.increase(1)", "counter.increase(2)")
        assert finished.run()[:2] == ([49.0, 100.0], ["increase", "increase"])  # from the state after Counter

    def test_an_edited_method_runs_the_object(self, finished):
        finished.edit("steps.py", "self.count += by", "self.count += 2 * by")
        assert finished.run()[:2] == ([49.0, 149.0], ["Counter", "increase", "increase"])


class TestDamage:
    def test_a_truncated_record_is_made_again_with_a_warning(self, finished):
        record = finished.record("total")
        record.write_bytes(record.read_bytes()[:-10])
        results, ran, warnings = finished.run()
        assert (results, ran) == (RESULTS, ["add"])
        assert "UserWarning: the stored result of 'total' cannot be read and will be made again" in warnings
        assert finished.run() == (RESULTS, [], "")

    def test_a_changed_byte_is_noticed_when_it_is_read(self, finished):
        record = finished.record("total")
        content = bytearray(record.read_bytes())
        content[20] ^= 1
        record.write_bytes(content)
        results, ran, warnings = finished.run()
        assert (results, ran) == (RESULTS, ["add"])
        assert "UserWarning: the stored result of 'total' cannot be read and will be made again" in warnings
        assert finished.run() == (RESULTS, [], "")

    def test_damage_that_nobody_reads_runs_nothing(self, finished):
        record = finished.record("data")
        content = bytearray(record.read_bytes())
        content[20] ^= 1
        record.write_bytes(content)
        assert finished.run() == (RESULTS, [], "")

    def test_a_record_whose_name_was_removed_gets_it_again(self, finished):
        """Its recipe finds it; what removes results themselves are the verbs of the store."""
        finished.record("halved").unlink()
        assert finished.run() == (RESULTS, [], "")
        assert finished.record("halved").exists()

    def test_a_path_that_is_a_file_is_named(self, project):
        (project.folder / "results").write_text("not a folder")
        assert re.match(r"functionfuse\.errors\.\w+Error: .*/results", project.error())
        assert project.ran() == []

    @pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may write everywhere")
    def test_a_folder_that_cannot_be_written_is_named(self, project):
        (project.folder / "results").mkdir(mode=0o500)
        assert re.match(r"functionfuse\.errors\.\w+Error: .*/results", project.error())
        assert project.ran() == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("arguments", [[], ["2"]], ids=["serial", "two_workers"])
def test_a_killed_driver_goes_on_where_it_was(project, arguments):
    """The driver dies when it takes in that ``total`` is finished: all before it is stored, ``total`` too."""
    killing = (
        "    def die(event):\n"
        "        if (event.kind, event.name) == ('finished', 'total'):\n"
        "            os.kill(os.getpid(), 9)\n"
        "    local.add_observer(die)\n"
        "    workers ="
    )
    project.edit("main.py", "    workers =", killing)
    command = [sys.executable, "-B", "main.py", *arguments]
    (project.folder / "ran").write_text("")
    with (project.folder / "output").open("w") as output:  # a pipe would be held open by workers that outlive it
        killed = subprocess.run(command, cwd=project.folder, stdout=output, stderr=output, check=False, timeout=120)
    assert (killed.returncode, sorted(project.ran())) == (-signal.SIGKILL, ["add", "halve", "load", "shift"])

    project.edit("main.py", killing, "    workers =")
    assert project.run(*arguments)[:2] == (RESULTS, ["Counter", "increase", "increase"])
    assert project.run(*arguments) == (RESULTS, [], "")


def test_a_workflow_takes_the_place_of_a_store(tmp_path):
    flow = LocalWorkflow(workflow(abs)(-1).set_name("one"), workflow_name="w")
    flow.set_storage(f"file:{tmp_path / 'store'}")
    assert flow.run() == 1
    assert FileStore(tmp_path / "store").list_tasks("w") == ["one"]
