"""Each verb: what it writes, as text and as JSON, and what it exits with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from command_project import SCHEMA

from functionfuse.console._command.application import VERBS
from functionfuse.stores import open_store

STORE = ("--storage", "results")


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    described = {one["properties"]["verb"]["const"].partition(" ")[0] for one in SCHEMA["oneOf"]}
    verbs = {name for section in VERBS.values() for name in section}
    assert verbs <= described
    assert described - verbs == {"error", "durable"}  # the latter is of the package of Ray


@pytest.mark.parametrize("verb", [name for section in VERBS.values() for name in section])
def test_every_verb_has_help_and_json(project, verb):
    text = project.run(verb, "--help").out
    if verb == "results":
        text = project.run(verb, "list", "--help").out
    assert text.startswith(f"Usage: functionfuse {verb}")
    assert "--json" in text


class TestRun:
    def test_results_are_json_where_they_can_be(self, project):
        results = project.run("run", "graphs.py:arrays", "--json").document["results"]
        assert results == [
            {
                "name": "array",
                "type": "numpy.ndarray",
                "text": "array([[0., 0.],\n       [0., 0.],\n       [0., 0.]])",
                "value": None,
            }
        ]

    def test_a_failure_shows_the_users_traceback_and_exits_with_1(self, project):
        ended = project.run("run", "graphs.py:failing", "--json", code=1)
        assert "ZeroDivisionError: division by zero\n\nfunctionfuse run: node 'bad' failed" in ended.err
        assert ended.document["state"] == "failed"
        assert list(ended.document["failed"]) == ["bad"]

    def test_the_document_says_where_the_run_and_its_report_are(self, project):
        ended = project.run("run", "graphs.py:failing", *STORE, "--report", "report.html", "--quiet", "--json", code=1)
        assert ended.document["run"] == project.run("runs", *STORE, "--json").document["runs"][0]["id"]
        assert (ended.document["counts"]["failed"], ended.document["report"]) == (1, "report.html")
        assert "report: report.html\n" in ended.err
        assert "ZeroDivisionError" in (project.folder / "report.html").read_text("utf-8")

    def test_a_report_without_a_store(self, project):
        document = project.run("run", "graphs.py:pair", "--report", "report.html", "--json").document
        assert (document["run"], document["counts"]["finished"]) == (None, 2)
        assert "2 finished" in (project.folder / "report.html").read_text("utf-8")
        assert "cannot be written" in project.run("run", "graphs.py:one", "--report", "no/r.html", code=3).err

    def test_on_error_continue(self, project):
        ended = project.run("run", "graphs.py:failing", "--on-error", "continue", "--json", code=1)
        assert list(ended.document["failed"]) == ["bad"]

    def test_options_reach_the_workflow(self, stored):
        run = stored.run("show", "latest", *STORE, "--json").document["run"]
        assert run["workflow"] == "failing"
        labelled = stored.run("runs", *STORE, "--label", "kind=first", "--json").document["runs"]
        assert [(one["workflow"], one["labels"]) for one in labelled] == [("build", {"kind": "first"})]

    def test_name_and_scope(self, project):
        project.run("run", "graphs.py:one", *STORE, "--name", "mine", "--scope", "ancestors")
        assert open_store("results").list_tasks("mine") == ["one"]

    @pytest.mark.parametrize("options", [("--workers", "2"), ("--executor", "threads", "--workers", "2")])
    def test_workers_and_executors(self, project, options):
        assert project.run("run", "graphs.py:pair", *options).out == "one: 2\nsix: 7\n"

    def test_an_executor_of_the_user(self, project):
        project.write(
            "mine.py", "from concurrent.futures import ThreadPoolExecutor as P\n\n\ndef pool():\n    return P(1)\n"
        )
        sys.path.insert(0, str(project.folder))
        assert project.run("run", "graphs.py:one", "--executor", "mine:pool").out == "2\n"
        said = project.run("run", "graphs.py:one", "--executor", "mine:pool", "--workers", "2", code=2).err
        assert "--workers is of threads and processes" in said

    def test_a_profile(self, project):
        project.write("profile.toml", "[nodes.one]\ncpus = 1\n\n[env.big.nodes.one]\ncpus = 4096\n")
        project.run("run", "graphs.py:one", "--profile", "profile.toml")
        err = project.run("run", "graphs.py:one", "--profile", "profile.toml", "--env", "big", code=3).err
        assert "4096" in err
        assert (
            "has no environment 'small'"
            in project.run("run", "graphs.py:one", "--profile", "profile.toml", "--env", "small", code=3).err
        )

    def test_a_store_that_cannot_be_used_exits_with_4(self, project):
        project.write("file", "")
        assert "functionfuse run: " in project.run("run", "graphs.py:one", "--storage", "file/results", code=4).err


class TestPlan:
    def test_it_shows_what_would_run(self, stored):
        out = stored.run("plan", "graphs.py:build", "--n", "4", *STORE, "--rate", "1").out
        assert out.splitlines()[1:3] == ["action  step  reason", "run     x     argument b: 0.5 -> 1.0"]
        document = stored.run("plan", "graphs.py:build", "--n", "4", *STORE, "--rate", "1", "--json").document
        assert document["steps"][0] == {"name": "x", "action": "run", "reason": "argument b: 0.5 -> 1.0"}

    @pytest.mark.parametrize(("rate", "code"), [("0.5", 0), ("1", 1)])
    def test_check(self, stored, rate, code):
        stored.run("plan", "graphs.py:build", "--n", "4", "--rate", rate, *STORE, "--check", code=code)

    def test_check_of_what_is_blocked_exits_with_3(self, project):
        project.write("profile.toml", "[nodes.one]\ncpus = 4096\n")
        project.run("plan", "graphs.py:one", "--profile", "profile.toml", "--check", code=3)


class TestGraph:
    def test_mermaid(self, stored):
        assert stored.run("graph", "graphs.py:failing").out.splitlines() == [
            "flowchart TD",
            '    n0["sum"]',
            '    n1["bad"]',
            "    n0 --> n1",
        ]
        assert "class n0 stored" in stored.run("graph", "graphs.py:failing", "--states", *STORE).out

    def test_a_name_is_text(self, project):
        project.write("odd.py", "from functionfuse import task\n\nnode = task(int)(1).set_name('a\"]; click <b>`')\n")
        assert '["a#34;#93;#59; click #60;b#62;#96;"]' in project.run("graph", "odd.py:node").out

    @pytest.mark.parametrize(("name", "start"), [("g.svg", b"<?xml"), ("g.dot", b"digraph"), ("g.mmd", b"flowchart")])
    def test_pictures(self, project, name, start):
        document = project.run("graph", "graphs.py:pair", "-o", name, "--json").document
        assert (project.folder / name).read_bytes().startswith(start)
        assert (document["file"], document["edges"]) == (name, [["one", "six"]])

    def test_an_unknown_format(self, project):
        assert "'g.gif' ends with no known format" in project.run("graph", "graphs.py:one", "-o", "g.gif", code=2).err


class TestRuns:
    def test_runs(self, stored):
        assert stored.run("runs", *STORE).out.splitlines()[0] == "2 runs"
        document = stored.run("runs", *STORE, "--json").document
        assert [run["state"] for run in document["runs"]] == ["failed", "finished"]
        assert [run["workflow"] for run in stored.run("runs", *STORE, "--failed", "--json").document["runs"]] == [
            "failing"
        ]
        assert len(stored.run("runs", "build", *STORE, "--limit", "1", "--json").document["runs"]) == 1

    def test_show(self, stored):
        out = stored.run("show", "latest", *STORE).out
        assert "workflow  failing" in out
        assert [line.split()[:2] for line in out.splitlines()[-2:]] == [["sum", "finished"], ["bad", "failed"]]
        assert [
            step["name"] for step in stored.run("show", "latest", *STORE, "--failed", "--json").document["steps"]
        ] == ["bad"]

    def test_show_a_node(self, stored):
        out = stored.run("show", "latest", "bad", *STORE).out
        assert "needs      sum" in out
        assert "ZeroDivisionError" in out
        assert "has no node 'bd'; did you mean 'bad'?" in stored.run("show", "latest", "bd", *STORE, code=4).err

    def test_a_run_that_is_not_there(self, stored):
        ended = stored.run("show", "20200101", *STORE, "--json", code=4)
        assert ended.document["error"]["kind"] == "TaskNotFound"
        assert "the newest is" in ended.err

    def test_logs(self, stored):
        assert "== sum\nadding 1 and 0\n== bad\nnode 'bad' failed" in stored.run("logs", "latest", *STORE).out
        assert stored.run("logs", "latest", "sum", *STORE).out == "adding 1 and 0\n"
        assert "adding" not in stored.run("logs", "latest", *STORE, "--failed").out
        logs = stored.run("logs", "latest", *STORE, "--json").document["logs"]
        assert [(log["name"], log["state"]) for log in logs] == [("sum", "finished"), ("bad", "failed")]
        assert "== sum" in stored.run("logs", "latest", *STORE, "--follow").out
        assert "leave one of them out" in stored.run("logs", "latest", *STORE, "--follow", "--json", code=2).err

    def test_what_nodes_print_is_not_obeyed(self, project):
        project.write(
            "odd.py", "from functionfuse import task\n\n@task\ndef f():\n    print('\\x1b[2J\\u202egnp')\n\nn = f()\n"
        )
        project.run("run", "odd.py:n", *STORE)
        assert project.run("logs", "latest", *STORE).out == "== f_0000\n\\x1b[2J\\u202egnp\n"

    def test_watch_a_run_that_has_ended(self, stored):
        assert ": failed after" in stored.run("watch", *STORE, code=1).out
        finished = stored.run("runs", "build", *STORE, "--json").document["runs"][0]["id"]
        assert stored.run("watch", finished, *STORE, "--json").document["run"]["state"] == "finished"

    def test_diff(self, stored):
        stored.run("run", "graphs.py:build", "--n", "4", "--rate", "2", *STORE)
        new, old = (run["id"] for run in stored.run("runs", "build", *STORE, "--json").document["runs"])
        document = stored.run("diff", old, new, *STORE, "--json", code=1).document
        assert [step["name"] for step in document["steps"] if step["begins"]] == ["x"]
        assert "begins here  argument b: 0.5 -> 2.0; another result" in stored.run("diff", old, *STORE, code=1).out
        assert "no node differs" in stored.run("diff", "latest", new, *STORE).out

    def test_report(self, stored):
        document = stored.run("report", "latest", *STORE, "-o", "report.html", "--json").document
        assert document["file"] == "report.html"
        assert (stored.folder / "report.html").read_text("utf-8").startswith("<!DOCTYPE html>")
        assert "cannot be written" in stored.run("report", *STORE, "-o", "no/report.html", code=3).err


class TestDebug:
    def test_a_node_of_a_run(self, stored):
        ended = stored.run("debug", "latest", *STORE, "--json", code=1)
        assert ended.document == {
            "format": 1,
            "verb": "debug",
            "node": "bad",
            "fails": True,
            "error": "ZeroDivisionError: division by zero",
            "result": None,
        }
        assert "graphs.py" in ended.err

    def test_a_file(self, project):
        project.write(
            "keep.py",
            "from functionfuse.backends.builtin.localback import LocalWorkflow\nfrom graphs import failing\n\n"
            "LocalWorkflow(failing(), workflow_name='w').run(capsules='capsules')\n",
        )
        subprocess.run([sys.executable, "keep.py"], capture_output=True, check=False, timeout=60)
        (path,) = Path("capsules").iterdir()
        assert "ZeroDivisionError" in project.run("debug", path, code=1).err

    def test_a_run_without_failures(self, stored):
        run = stored.run("runs", "build", *STORE, "--json").document["runs"][0]["id"]
        assert "none did" in stored.run("debug", run, *STORE, code=2).err
        assert "there is no capsule of node 'x'" in stored.run("debug", run, "x", *STORE, code=4).err


class TestResults:
    def test_list(self, stored):
        assert [line.split() for line in stored.run("results", "list", *STORE).out.splitlines()] == [
            ["workflow", "results"],
            ["build", "3"],
            ["failing", "1"],
        ]
        results = stored.run("results", "list", "build", "[xy]", *STORE, "--json").document["results"]
        assert [(one["name"], one["type"]) for one in results] == [("x", "builtins.float"), ("y", "builtins.float")]
        assert (
            "no workflow 'biuld'; did you mean 'build'?" in stored.run("results", "list", "biuld", *STORE, code=4).err
        )

    def test_read(self, stored):
        assert stored.run("results", "read", "build", "x", *STORE).out == "4.5\n"
        assert stored.run("results", "read", "build", "x", *STORE, "--json").document["result"]["value"] == 4.5
        assert "no result 'w'" in stored.run("results", "read", "build", "w", *STORE, code=4).err

    def test_rm(self, stored):
        assert stored.run("results", "rm", "build", "[xy]", *STORE, "--dry-run").out == "x\ny\n"
        assert stored.run("results", "rm", "build", "*", *STORE, "--older-than", "7d").out == ""
        assert stored.run("results", "rm", "build", "x", "y", *STORE, "--json").document["removed"] == ["x", "y"]
        assert stored.run("results", "list", "build", *STORE, "--json").document["results"][0]["name"] == "z"
        assert (
            "'7q' is no duration" in stored.run("results", "rm", "build", "*", *STORE, "--older-than", "7q", code=2).err
        )

    def test_verify(self, stored):
        assert stored.run("results", "verify", *STORE).out == "4 results checked, 0 damaged\n"
        path = stored.folder / "results" / "build" / "x.ffr"
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content[:20] + bytes([content[20] ^ 1]) + content[21:])
        document = stored.run("results", "verify", "build", *STORE, "--json", code=1).document
        assert [one["name"] for one in document["damaged"]] == ["x"]

    def test_gc(self, stored):
        stored.run("results", "rm", "build", "x", *STORE)
        ended = stored.run("gc", *STORE, "--max-size", "0", "--older-than", "0s", "--dry-run", "--json").document
        assert ended["dry_run"] is True
        assert "max_size must be" in stored.run("gc", *STORE, "--max-size", "lots", code=3).err
        assert "removed" in stored.run("gc", *STORE).err


class TestSettings:
    def test_they_give_defaults(self, project):
        project.write("pyproject.toml", '[tool.functionfuse]\nstorage = "kept"\n')
        project.run("run", "graphs.py:one")
        assert open_store(str(project.folder / "kept")).list_workflows() == ["one"]
        inner = project.folder / "inner"
        inner.mkdir()
        os.chdir(inner)
        assert len(project.run("runs", "--json").document["runs"]) == 1
        project.run("run", "../graphs.py:one")
        assert not list(inner.iterdir())

    def test_options_win(self, project):
        project.write("pyproject.toml", '[tool.functionfuse]\nbackend = "none"\nstorage = "kept"\n')
        project.run("run", "graphs.py:one", "--backend", "local", "--storage", "other")
        assert sorted(
            path.name for path in project.folder.iterdir() if path.is_dir() and path.name != "__pycache__"
        ) == ["other"]
        assert "no backend 'none'" in project.run("run", "graphs.py:one", code=2).err

    @pytest.mark.parametrize(
        ("table", "said"),
        [
            ('storag = "x"', "has no key 'storag'; did you mean 'storage'? (known: 'backend', 'profile', 'storage')"),
            ("storage = 3", "storage under [tool.functionfuse] must be a text, got 3"),
            ("storage = ", "pyproject.toml cannot be read"),
        ],
    )
    def test_mistakes_are_named(self, project, table, said):
        path = project.write("pyproject.toml", f"[tool.functionfuse]\n{table}\n")
        err = project.run("runs", code=2).err
        assert said in err
        assert str(path) in err

    def test_without_a_store(self, project):
        assert "no store is named: --storage URL" in project.run("runs", code=2).err
        assert "there is no store at 'nowhere'" in project.run("runs", "--storage", "nowhere", code=4).err
        assert not (project.folder / "nowhere").exists()


def test_an_unknown_verb(project):
    assert "no verb is named 'rnus'; did you mean 'runs'" in project.run("rnus", code=2).err


def test_the_overview_lists_verbs_by_section(project):
    out = project.run("--help").out
    assert [line for line in out.splitlines() if line.endswith(":") and not line.startswith(" ")] == [
        "Options:",
        *(f"{section}:" for section in VERBS),
        "Of other packages:",
    ]


def test_verbs_of_other_packages(project, monkeypatch):
    project.write("greeting.py", "def main(arguments, program):\n    print(program, *arguments)\n    return 7\n")
    metadata = project.folder / "greeting-1.0.dist-info"
    metadata.mkdir()
    (metadata / "entry_points.txt").write_text("[functionfuse.commands]\ngreet = greeting:main\n")
    path = os.pathsep.join([str(project.folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", path)
    ended = project.spawn("greet", "--loud", "you", code=7)
    assert ended.out == "functionfuse greet --loud you\n"


SCRIPT = """
import sys

from functionfuse import workflow

SCALE = 2


def scaled(x):
    return SCALE * x


@workflow
def make(x):
    return scaled(x)


@workflow
def add(a, b):
    return a + b


def build(x: int = 1):
    made = make(x).set_name("made")
    return add(made, 1).set_name("sum")


if __name__ == "__main__":
    from functionfuse.backends.builtin.localback import LocalWorkflow

    summing = LocalWorkflow(build(int(sys.argv[1])), workflow_name="script")
    summing.set_storage("results")
    print(len(summing.plan().having("reuse")), summing.run())
"""


def test_results_of_a_script_are_found_and_the_other_way_round(project):
    path = project.write("script.py", SCRIPT)

    def run_script(x):
        ended = subprocess.run([sys.executable, path, x], capture_output=True, text=True, check=True, timeout=60)
        return ended.stdout

    assert run_script("1") == "0 3\n"
    assert project.run("plan", "script.py:build", *STORE, "--check", "--json").document["counts"]["reuse"] == 2
    project.run("run", "script.py:build", "--x", "2", *STORE)
    assert run_script("2") == "2 5\n"
