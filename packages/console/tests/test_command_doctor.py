"""What `functionfuse doctor` says of what is installed, a profile and a store."""

from __future__ import annotations

import os

import pytest
from command_project import environment

BROKEN = """
import time


class Raising:
    def __init__(self, *nodes, workflow_name):
        raise RuntimeError("the engine does not start")


class Waiting:
    def __init__(self, *nodes, workflow_name):
        time.sleep(600)
"""


def checks(document):
    return {(row["kind"], row["name"]): row for row in document["checks"]}


def test_what_works(project):
    project.write("profile.toml", "[nodes.one]\ncpus = 1\n")
    arguments = ("--storage", "results", "--profile", "profile.toml", "--json")
    document = project.run("doctor", "local", "file", *arguments).document
    found = checks(document)
    assert {key: row["state"] for key, row in found.items()} == {
        ("backend", "local"): "ok",
        ("store", "file"): "ok",
        ("profile", "profile.toml"): "ok",
        ("location", "results"): "ok",
    }
    assert document["ok"] is True
    assert document["distributions"].keys() >= {"functionfuse", "functionfuse-console"}
    assert project.run("results", "list", "--storage", "results").out == ""


@pytest.mark.slow(reason="waits for a time limit, and starts processes")
def test_what_does_not(project):
    project.write("broken_engines.py", BROKEN)
    metadata = project.folder / "broken_engines-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-engines\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[functionfuse.backends]\nraising = broken_engines:Raising\nwaiting = broken_engines:Waiting\n"
        "absent = no_such_engine:Engine\n"
    )
    project.write("profile.toml", "[nodes.one]\ncpu = 1\n")
    project.write("file", "")
    path = os.pathsep.join([str(project.folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    arguments = ("--storage", "file/results", "--profile", "profile.toml", "--timeout", "20", "--json")
    ended = project.spawn(
        "doctor", "raising", "waiting", "absent", *arguments, code=1, env=environment(PYTHONPATH=path)
    )
    found = checks(ended.document)
    assert found["backend", "raising"]["problem"] == "RuntimeError: the engine does not start"
    assert found["backend", "waiting"]["problem"] == "it did not end within 20 seconds"
    assert (found["backend", "absent"]["state"], found["backend", "absent"]["version"]) == ("absent", "1.0")
    assert "cpu" in found["profile", "profile.toml"]["problem"]
    assert found["location", "file/results"]["state"] == "wrong"


def test_an_unknown_name(project):
    assert "nothing is called 'locla'; installed: " in project.run("doctor", "locla", code=2).err
