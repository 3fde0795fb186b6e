"""Fixtures for the tests of the console."""

from __future__ import annotations

import pytest
from command_project import Project


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
