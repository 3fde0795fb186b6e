"""Files of the repository that nothing else reads: they parse, and agree with the packages."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECTS = {path.parent.name: tomllib.loads(path.read_text()) for path in ROOT.glob("packages/*/pyproject.toml")}


def read(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("package", PROJECTS)
def test_metadata_of_packages(package):
    project = PROJECTS[package]["project"]
    oldest = project["requires-python"].removeprefix(">=")
    assert f"Programming Language :: Python :: {oldest}" in project["classifiers"]
    assert "Operating System :: POSIX :: Linux" in project["classifiers"]
    assert project["authors"] == [{"name": "The Function Fuse authors"}]
    assert "urls" not in project


def test_the_citation_agrees_with_the_packages():
    citation = read("CITATION.cff")
    projects = [project["project"] for project in PROJECTS.values()]
    assert {citation["version"]} == {project["version"] for project in projects}
    assert {citation["license"]} == {project["license"] for project in projects}
    assert citation["authors"] == projects[0]["authors"]


def test_the_workflow_covers_packages_and_versions():
    jobs = read(".github/workflows/ci.yml")["jobs"]
    assert sorted(jobs["wheels"]["strategy"]["matrix"]["package"]) == sorted(PROJECTS)
    versions = jobs["test"]["strategy"]["matrix"]["python"]
    assert all(project["project"]["requires-python"] == f">={versions[0]}" for project in PROJECTS.values())


def test_scripts_that_files_name_are_there():
    scripts = tomllib.loads((ROOT / "hatch.toml").read_text())["envs"]["default"]["scripts"]
    steps = [step.get("run", "") for job in read(".github/workflows/ci.yml")["jobs"].values() for step in job["steps"]]
    named = {step.split()[2] for step in steps if step.startswith("hatch run ")}
    named |= {line.split()[2] for line in (ROOT / ".ci/run").read_text().splitlines() if line.startswith("hatch run ")}
    assert named <= set(scripts)
    hooks = read(".pre-commit-config.yaml")["repos"][0]["hooks"]
    assert all(hook["entry"].startswith("hatch run dev:") for hook in hooks)


@pytest.mark.parametrize("form", ["bug", "wish"])
def test_forms_of_issues(form):
    body = read(f".github/ISSUE_TEMPLATE/{form}.yml")["body"]
    assert len({field["id"] for field in body}) == len(body)
