"""What targets name, and how functions become options."""

from __future__ import annotations

import pytest
from command_project import environment


@pytest.mark.parametrize(
    ("target", "out"),
    [
        ("graphs.py:one", "2\n"),
        ("graphs:one", "2\n"),
        ("./graphs.py:one", "2\n"),
        ("graphs.py:pair", "one: 2\nsix: 7\n"),
        ("graphs.py:by_name", "2\n"),
        ("graphs.py:swept", "{1: 4, 2: 5}\n"),
        ("graphs.py:failing()", None),
    ],
)
def test_a_target_names_nodes(project, target, out):
    ended = project.run("run", target, code=1 if out is None else 0)
    assert ended.out == (out or "")


def test_what_users_print_goes_to_stderr(project):
    ended = project.spawn("run", "graphs.py:one", "--json", env=environment(BY_A_PROCESS="1"))
    assert ended.document["results"] == [{"name": "one", "type": "int", "text": "2", "value": 2}]
    assert {"printed at import", "printed by a process", "adding 1 and 1"} <= set(ended.err.splitlines())


def test_parameters_are_options(project):
    ended = project.run("run", "graphs.py:build", "--n", "4", "--rate", "1.5", "--param-workers", "7")
    assert ended.out == "y: 12.5\nz: 9.5\n"


def test_every_kind_of_parameter(project):
    defaults = project.run("run", "graphs.py:everything").out
    assert defaults == "('data', 'fast', 'TRAIN', False, None, (0.1, 0.2), (1, 2), 1.5, None, 'own')\n"
    given = project.run(
        *("run", "graphs.py:everything", "--path", "a/b", "--mode", "slow", "--kind", "TEST", "--flag", "--maybe", "3"),
        *("--rates", "1", "--rates", "2", "--size", "3", "4", "--guess", "2", "--free", "[1, 'x']"),
        *("--param-json", "text"),
    ).out
    assert given == "('a/b', 'slow', 'TEST', True, 3, (1.0, 2.0), (3, 4), 2.0, [1, 'x'], 'text')\n"
    assert "False" in project.run("run", "graphs.py:everything", "--no-flag", "--free", "plain text").out


def test_the_help_of_a_target_has_its_parameters(project):
    text = project.run("run", "graphs.py:build", "--help").out
    parameters = text.partition("Parameters of graphs.py:build:\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split() for line in parameters] == [
        ["--n", "INTEGER", "how", "many", "there", "are.", "[required]"],
        ["--rate", "FLOAT", "of", "learning.", "[default:", "0.5]"],
        ["--param-workers", "INTEGER", "[default:", "2]"],
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["graphs.py:bild"], 2, "graphs.py has no 'bild'; did you mean 'build'?; it has one, pair, swept, build, "),
        (["graphs.py"], 2, "'graphs.py' is a whole module; it has one, pair, swept, build, "),
        (["graph.py:one"], 2, "there is no file graph.py; did you mean 'graphs.py'?"),
        (["nowhere.x:one"], 2, "there is no module 'nowhere.x' here, nor among the installed ones"),
        (["one"], 2, "'one' is no target: write file.py:name or module:name"),
        (["graphs.py:number"], 3, "'number' is, or holds, a int, not a node or nodes"),
        (["graphs.py:nothing"], 3, "'nothing' returns nothing, not a node or nodes"),
        (["graphs.py:wrong"], 3, "'wrong' returns a int, not a node or nodes"),
        (["graphs.py:raising"], 3, "raising() built no graph: RuntimeError: cannot build"),
        (["graphs.py:build"], 2, "Missing option '--n'"),
        (["graphs.py:build", "--n", "x"], 2, "Invalid value for '--n': 'x' is not a valid integer"),
        (["graphs.py:build", "--m", "1"], 2, "No such option '--m'"),
        (["--n", "1", "graphs.py:build"], 2, "no option '--n' of this verb; parameters of a target stand behind it"),
        (["graphs.py:one", "--backend", "rya"], 2, "no backend 'rya' is installed (installed: "),
        (["graphs.py:one", "--backend", "graph", "--workers", "2"], 2, "backend 'graph' takes no --workers"),
        (["graphs.py:one", "--executor", "fibers"], 2, "no executor 'fibers'"),
        (["graphs.py:one", "--env", "prod"], 2, "--env and --needs go with a profile"),
        (["graphs.py:one", "--profile", "no.toml"], 3, "no.toml"),
        (["graphs.py:one", "--storage", "ftp:x"], 3, "no store of kind 'ftp'"),
        (["graphs.py:one", "--label", "x"], 2, "'x' is no label: write NAME=TEXT"),
        ([], 2, "Missing argument 'TARGET'"),
    ],
)
def test_wrong_uses_are_explained(project, arguments, code, said):
    ended = project.run("run", *arguments, "--json", code=code)
    assert said in ended.err
    assert said in ended.document["error"]["message"]
    assert ended.document["error"]["exit_code"] == code


def test_a_file_that_cannot_be_imported_shows_the_users_traceback(project):
    project.write("broken.py", "def f():\n    return 1 / 0\n\nx = f()\n")
    err = project.run("run", "broken.py:x", code=3).err
    assert [line for line in err.splitlines() if line.startswith("  File")] == [
        f'  File "{project.folder / "broken.py"}", line 4, in <module>',
        f'  File "{project.folder / "broken.py"}", line 2, in f',
    ]
    assert err.endswith("broken.py cannot be imported: ZeroDivisionError: division by zero\n")


def test_a_syntax_error_names_the_line(project):
    path = project.write("broken.py", "x = (\n")
    err = project.run("run", "broken.py:x", code=3).err
    assert f'File "{path}", line 1' in err
    assert "console" not in err


def test_a_script_without_a_guard_is_explained(project):
    project.write("script.py", "import sys\nsys.exit(3)\n")
    assert "guard that with 'if __name__ == \"__main__\":'" in project.run("run", "script.py:x", code=3).err


@pytest.mark.parametrize("name", ["my-graph.py", "random.py", "a.b.py"])
def test_a_file_whose_name_is_no_module_of_its_own(project, name):
    project.write(name, "from functionfuse import workflow\n\n@workflow\ndef f():\n    return 3\n\nnode = f()\n")
    assert project.run("run", f"{name}:node").out == "3\n"


def test_the_module_of_a_package(project):
    package = project.folder / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("from functionfuse import task\n\nnode = task(max)(1, 2)\n")
    assert project.run("run", "package.inner:node").out == "2\n"


def test_annotations_that_are_there_for_checkers_only(project):
    project.write(
        "late.py",
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\nfrom functionfuse import task\n"
        "if TYPE_CHECKING:\n    from elsewhere import Thing\n\n"
        "def build(n: int | None = None, thing: Thing = 2, /, flag: bool | None = None):\n"
        "    return task(repr)((n, thing, flag))\n",
    )
    assert project.run("run", "late.py:build", "--n", "1", "--flag").out == "(1, 2, True)\n"
