"""Fixtures for the tests of the console."""

from __future__ import annotations

import pytest
from command_project import Project
from page_project import run_program, served


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "100")
    return Project(folder)


@pytest.fixture
def stored(project):
    """The project after a run that finished and one that failed, with a store."""
    project.run("run", "graphs.py:build", "--n", "4", "--storage", "results", "--label", "kind=first")
    project.run("run", "graphs.py:failing", "--storage", "results", code=1)
    return project


@pytest.fixture(scope="session")
def page_folder(tmp_path_factory):
    """A folder with the store of some runs that have ended."""
    folder = tmp_path_factory.mktemp("page")
    with run_program(folder) as program:
        assert program.wait(120) == 0, program.stderr.read()
    return folder


@pytest.fixture(scope="session")
def page_server(page_folder):
    with served(page_folder) as server:
        yield server
