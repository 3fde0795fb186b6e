"""The conformance suite of backends: files and environment variables as arguments and results."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from functionfuse import Env, File
from functionfuse.errors import NodeError, PlanError
from functionfuse.stores import RecipeStore
from functionfuse.testing.backend_suite import BackendSuite, StepLog, requires
from functionfuse.testing.functions import (
    appends,
    reads,
    reads_all,
    received,
    returns_file,
    returns_file_later,
    returns_reader,
    returns_shipped,
)
from functionfuse.testing.standard_tests import core, thorough

VARIABLE = "FUNCTIONFUSE_TEST_VALUE"


@dataclass(frozen=True)
class Configuration:
    """Holds a file in a field, where arguments are not searched."""

    data: File
    folds: int = 3


@requires("store")
class FileTests(BackendSuite, suite=True):
    """Content counts, wherever it is."""

    @pytest.fixture
    def data(self, tmp_path: Path) -> Path:
        """A file."""
        path = tmp_path / "data.txt"
        path.write_text("one")
        return path

    # Arguments

    @core
    def test_a_file(self, stored: Any, data: Path, log: StepLog) -> None:
        """It runs again when the content changed, and only then."""
        results = []
        for content in ("one", "one", "two", "two"):
            data.write_text(content)
            results.append(stored(reads(log.path, File(data)).set_name("n")).run())
        assert results == ["one", "one", "two", "two"]
        assert log.words() == ["read", "read"]

    @thorough
    def test_a_moved_file(self, stored: Any, data: Path, log: StepLog, tmp_path: Path) -> None:
        """Is the same, in another folder; under another name it is another one."""
        stored(reads(log.path, File(data)).set_name("n")).run()
        (tmp_path / "other").mkdir()
        moved = data.rename(tmp_path / "other" / data.name)
        assert stored(reads(log.path, File(moved)).set_name("n")).plan()["n"].action == "reuse"
        renamed = moved.rename(tmp_path / "renamed.txt")
        assert stored(reads(log.path, File(renamed)).set_name("n")).plan()["n"].action == "run"

    @thorough
    @pytest.mark.parametrize(
        "nest",
        [lambda file: [file], lambda file: {"a": (1, {"b": file})}, Configuration],
        ids=["list", "dict", "data class"],
    )
    def test_a_nested_file(self, stored: Any, data: Path, log: StepLog, nest: Any) -> None:
        """It counts at any depth, and in a data class."""
        results = []
        for content in ("one", "one", "two"):
            data.write_text(content)
            results.append(stored(reads_all(log.path, nest(File(data))).set_name("n")).run())
        assert results == [["one"], ["one"], ["two"]]
        assert log.words() == ["read", "read"]

    @thorough
    def test_a_file_beside_a_node(self, stored: Any, data: Path, log: StepLog) -> None:
        """In one container."""
        results = []
        for content in ("one", "two"):
            data.write_text(content)
            first = reads(log.path, File(data)).set_name("first")
            results.append(stored(received([first, File(data)]).set_name("n")).run()[0][0][0])
        assert results == ["one", "two"]

    @thorough
    def test_a_folder(self, stored: Any, log: StepLog, tmp_path: Path) -> None:
        """Counts by the names and contents of all that is in it."""
        folder = tmp_path / "folder"
        (folder / "deep").mkdir(parents=True)
        part = folder / "deep" / "part.txt"

        def run() -> Any:
            return stored(reads(log.path, File(folder)).set_name("n")).run()

        part.write_text("one")
        assert [run(), run()] == ["deep/part.txt=one"] * 2
        part.write_text("two")
        assert run() == "deep/part.txt=two"
        part.rename(folder / "other.txt")
        assert run() == "other.txt=two"
        assert log.words() == ["read"] * 3

    @core
    def test_a_missing_file(self, make_workflow: Any, log: StepLog, tmp_path: Path) -> None:
        """Is named with the node and the parameter, and nothing starts."""
        missing = File(tmp_path / "missing.csv")
        made = make_workflow(reads(log.path, missing).set_name("n"), workflow_name="conformance")
        with pytest.raises(PlanError, match=r"(?s)'n': argument 'file': File\('.*missing\.csv'\) does not exist"):
            made.run()
        assert log.words() == []

    @thorough
    def test_the_reason(self, stored: Any, data: Path, log: StepLog) -> None:
        """Has the path."""
        stored(reads(log.path, File(data)).set_name("n")).run()
        data.write_text("two")
        assert str(data) in stored(reads(log.path, File(data)).set_name("n")).plan()["n"].reason

    @thorough
    def test_a_file_that_a_node_changes(self, stored: Any, data: Path) -> None:
        """The recipe does not tell what the result is made from, so it is not reused."""
        made = stored(appends(File(data)).set_name("n"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about that, where the driver sees it
            assert made.run() == "one+"
        data.write_text("one")
        assert made.plan()["n"].action == "run"

    @requires("dynamic")
    @thorough
    def test_a_file_in_a_dynamic_graph(self, stored: Any, data: Path, log: StepLog) -> None:
        """Counts there too."""
        made = stored(returns_reader(log.path, File(data)).set_name("n"))
        assert made.run() == "one"
        data.write_text("two")
        assert made.run() == "two"

    # Results

    @core
    def test_a_returned_file(self, stored: Any, log: StepLog, tmp_path: Path) -> None:
        """Is checked when it is reused: its node runs again when it changed, or is missing."""
        path = tmp_path / "made.txt"

        def made() -> Any:
            file = returns_file(log.path, str(path), "made").set_name("file")
            return stored(reads(log.path, file["deep"][0]).set_name("read"))

        assert [made().run(), made().run()] == ["made", "made"]
        assert log.words() == ["write", "read"]
        path.write_text("changed")
        plan = made().plan()
        assert plan["file"].reason == f"the file that it returned has changed: {path}"
        made().run()
        assert path.read_text() == "made"
        path.unlink()
        assert made().plan()["file"].reason == f"the file that it returned is missing: {path}"
        made().run()
        assert path.read_text() == "made"
        assert {step.action for step in made().plan()} == {"reuse"}

    @thorough
    def test_a_returned_file_of_an_earlier_run(self, stored: Any, store: Any, log: StepLog, tmp_path: Path) -> None:
        """Is found by its recipe, and checked."""
        if not isinstance(store, RecipeStore):
            pytest.skip("the store finds results by their names only")
        paths = [tmp_path / "first.txt", tmp_path / "second.txt"]

        def run(path: Path, name: str = "file") -> Any:
            file = returns_file(log.path, str(path), "made").set_name(name)
            return stored(file).run()["deep"][0]

        assert [str(run(path)) for path in (*paths, *paths)] == [str(path) for path in (*paths, *paths)]
        assert str(run(paths[0], "renamed")) == str(paths[0])
        assert log.words() == ["write", "write"]
        paths[0].unlink()
        assert str(run(paths[0], "renamed")) == str(run(paths[0])) == str(paths[0])
        assert log.words() == ["write", "write", "write"]

    @thorough
    def test_a_driver_that_knows_of_no_files(
        self, stored: Any, log: StepLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Finds the result by its name, and checks the file."""
        path = tmp_path / "made.txt"
        made = stored(returns_file(log.path, str(path), "made").set_name("file"))
        made.run()
        monkeypatch.delitem(sys.modules, "functionfuse.files")
        assert made.plan()["file"].action == "reuse"
        path.unlink()
        assert made.plan()["file"].reason == f"the file that it returned is missing: {path}"

    @requires("dynamic")
    @thorough
    def test_a_file_that_a_dynamic_graph_returns(self, stored: Any, log: StepLog, tmp_path: Path) -> None:
        """Is checked, too."""
        path = tmp_path / "made.txt"
        made = stored(returns_file_later(log.path, str(path), "made").set_name("n"))
        made.run()
        assert made.plan()["n"].action == "reuse"
        path.unlink()
        made.run()
        assert path.read_text() == "made"
        assert log.words() == ["write", "write"]

    @thorough
    def test_a_returned_file_that_is_not_there(self, stored: Any, log: StepLog, tmp_path: Path) -> None:
        """The node fails, with the path."""
        made = stored(returns_file(log.path, str(tmp_path / "made.txt"), "").set_name("n"))
        with pytest.raises(NodeError, match=r"(?s)node 'n' .*made\.txt.*which it returned, cannot be read"):
            made.run()

    # Content that travels along

    @thorough
    def test_a_shipped_file(self, stored: Any, data: Path, log: StepLog) -> None:
        """Its content counts, and arrives."""
        results = []
        for content in ("one", "one", "two"):
            data.write_text(content)
            results.append(stored(reads(log.path, File(data, ship=True)).set_name("n")).run())
        assert results == ["one", "one", "two"]
        assert log.words() == ["read", "read"]

    @thorough
    def test_a_returned_shipped_file(self, stored: Any, store: Any, log: StepLog, tmp_path: Path) -> None:
        """Is in the store: it is read there when the file is gone."""
        folder = tmp_path / "worker"
        folder.mkdir()

        def made(times: int) -> Any:
            file = returns_shipped(str(folder / "made")).set_name("file")
            return stored(received(reads(log.path, file), times).set_name("n"))

        expected = "part.txt=shipped"
        assert made(1).run()[0][0] == expected
        shutil.rmtree(folder)
        plan = made(2).plan()
        assert [plan["file"].action, plan["n"].action] == ["reuse", "run"]
        assert (Path(store.read_task("conformance", "file")) / "part.txt").read_text() == "shipped"

    # Environment variables

    @core
    def test_an_environment_variable(self, stored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """The function gets its value, of the driver, at the time of the run."""
        made = stored(received(Env(VARIABLE), [{"a": Env(VARIABLE, "5")}]).set_name("n"))
        results = []
        for value in ("1", "1", "2"):
            monkeypatch.setenv(VARIABLE, value)
            results.append((made.plan()["n"].action, made.run()[0]))
        assert results == [
            ("run", ("1", [{"a": "1"}])),
            ("reuse", ("1", [{"a": "1"}])),
            ("run", ("2", [{"a": "2"}])),
        ]
        monkeypatch.setenv(VARIABLE, "3")
        reason = f"argument 0 or 1 changed (Env({VARIABLE!r})) (Env({VARIABLE!r}, '5'))"
        assert made.plan()["n"].reason == reason

    def test_a_variable_that_is_not_set(self, run: Any) -> None:
        """Has its default, or is named with the node and the parameter."""
        assert VARIABLE not in os.environ
        assert run(received(Env(VARIABLE, "7")))[0] == ("7",)
        with pytest.raises(PlanError, match=rf"'n': argument 'args': the environment variable {VARIABLE} is not set"):
            run(received(Env(VARIABLE)).set_name("n"))

    @thorough
    def test_a_secret_variable(self, run: Any, monkeypatch: pytest.MonkeyPatch, log: StepLog) -> None:
        """Its value is in no message."""
        monkeypatch.setenv("FUNCTIONFUSE_TEST_TOKEN", "a-hidden-value")
        with pytest.raises(NodeError, match="its name looks secret") as error:
            run(reads(log.path, Env("FUNCTIONFUSE_TEST_TOKEN")).set_name("n"))
        assert "a-hidden-value" not in str(error.value)
