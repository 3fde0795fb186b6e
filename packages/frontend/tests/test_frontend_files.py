"""Files and environment variables: what counts of them, how they travel, and what is noted of them."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from functionfuse import Env, File, _content, workflow
from functionfuse.backends.base import BaseWorkflow
from functionfuse.backends.external_inputs import changed_file
from functionfuse.backends.session import Session
from functionfuse.errors import PlanError, StorageError, UsageError
from functionfuse.file_check import digest_in, files_of, found_in, marked, stale_files, with_files
from functionfuse.fingerprint import Fingerprinter, Unfingerprintable
from functionfuse.stores import runs_of
from functionfuse.testing import MemoryStore, RefusingWorkflow
from functionfuse.testing.functions import same


def digest(value):
    return Fingerprinter().digest(value)


@pytest.fixture
def path(tmp_path):
    made = tmp_path / "data.txt"
    made.write_text("one")
    return made


def make_old(path):
    """Let the times of a file lie so far back that they tell whether it changed."""
    os.utime(path, (1_000_000_000, 1_000_000_000))


class TestContent:
    def test_of_a_file(self, path):
        first = _content.content_of(str(path))
        path.write_text("two")
        second = _content.content_of(str(path))
        path.write_text("one")
        assert first == _content.content_of(str(path)) != second

    def test_written_again_within_the_granularity_of_times(self, path):
        """A digest is not kept while a further write could leave size and times as they are."""
        first = _content.content_of(str(path))
        status = path.stat()
        path.write_text("two")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert _content.content_of(str(path)) != first
        assert _content.stamp_of(str(path)) is None

    def test_what_is_settled(self):
        stamp = _content.Stamp(1, 5_000_000_000, 4_000_000_000, 1, 1)
        assert [stamp.is_settled(now) for now in (7_000_000_000, 7_000_000_001)] == [False, True]

    def test_a_file_is_read_once(self):
        """A file of Python is old enough; its digest is in the cache then."""
        path = os.__file__
        found = _content.content_of(path)
        stamp, known = _content._known[path]
        assert (known, stamp) == (found, _content.stamp_of(path))
        _content._known[path] = stamp, "from the cache"
        assert _content.content_of(path) == "from the cache"
        _content._known[path] = stamp._replace(inode=stamp.inode + 1), "of another file"
        assert _content.content_of(path) == found

    def test_of_a_folder(self, tmp_path):
        def content():
            return _content.content_of(str(tmp_path))

        seen = [content()]
        for change in (
            (tmp_path / "a").mkdir,
            lambda: (tmp_path / "a" / "b").write_text("1"),
            lambda: (tmp_path / "a" / "b").write_text("2"),
            lambda: (tmp_path / "a" / "b").rename(tmp_path / "a" / "c"),
            lambda: (tmp_path / "a" / "c").rename(tmp_path / "c"),
        ):
            change()
            seen.append(content())
        assert len(set(seen)) == len(seen)

    def test_a_folder_is_no_file(self, tmp_path):
        (tmp_path / "folder").mkdir()
        (tmp_path / "file").write_bytes(b"")
        assert _content.content_of(str(tmp_path / "folder")) != _content.content_of(str(tmp_path / "file"))

    @pytest.mark.skipif(os.name == "nt", reason="links take a privilege")
    def test_links_are_followed(self, tmp_path, path):
        folder, plain = tmp_path / "linked", tmp_path / "plain"
        folder.mkdir()
        plain.mkdir()
        (folder / "data.txt").symlink_to(path)
        (plain / "data.txt").write_text("one")
        assert _content.content_of(str(folder)) == _content.content_of(str(plain))
        path.unlink()
        nowhere = _content.content_of(str(folder))
        (folder / "data.txt").unlink()
        (folder / "data.txt").symlink_to(tmp_path / "elsewhere")
        assert _content.content_of(str(folder)) != nowhere

    @pytest.mark.skipif(os.name == "nt", reason="links take a privilege")
    def test_a_link_that_leads_back(self, tmp_path):
        (tmp_path / "again").symlink_to(tmp_path)
        with pytest.raises(OSError, match="leads back"):
            _content.content_of(str(tmp_path))

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
    def test_a_pipe_is_refused(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match="neither a file nor a folder"):
            _content.content_of(str(tmp_path / "pipe"))

    def test_a_copy_that_was_changed_is_written_again(self, path):
        payload, found = _content.payload_of(str(path))
        copied = _content.copy_of(payload, "data.txt", found)
        Path(copied).write_text("changed")
        assert _content.copy_of(payload, "data.txt", found) == copied
        assert Path(copied).read_text() == "one"

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot fork")
    def test_copies_are_removed_at_the_end(self):
        code = (
            "from functionfuse import _content\n"
            "from multiprocessing import get_context\n"
            "def copied():\n"
            "    print(_content.copy_of({'': b'one'}, 'name', 'digest'), flush=True)\n"
            "copied()\n"
            "child = get_context('fork').Process(target=copied)\n"
            "child.start()\n"
            "child.join()\n"
            "assert _content.os.path.exists(_content.copy_of({'': b'one'}, 'name', 'digest'))"
        )
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        first, second = map(Path, ended.stdout.split())
        assert first.name == second.name == "name"
        assert first.parent != second.parent
        assert not first.parent.parent.exists()
        assert not second.parent.parent.exists()


class TestFile:
    def test_it_is_a_path(self, path):
        file = File(path)
        assert isinstance(file, os.PathLike)
        assert [Path(file), os.fspath(file), str(file), file.path] == [path, str(path), str(path), str(path)]
        assert repr(file) == f"File({str(path)!r})"
        with open(file) as opened:  # noqa: PTH123  as users do
            assert opened.read() == "one"

    def test_a_relative_path(self, path, monkeypatch, tmp_path):
        monkeypatch.chdir(path.parent)
        file = File("data.txt")
        monkeypatch.chdir("/")
        assert Path(file).read_text() == "one"

    def test_it_is_a_constant(self, path):
        file = File(path)
        with pytest.raises(AttributeError, match="cannot be changed"):
            file.ship = True
        assert {file, File(str(path))} == {file}
        assert file != File(path, ship=True)
        assert copy.deepcopy(file) is copy.copy(file) is file

    @pytest.mark.parametrize("wrong", [None, 3, b"bytes", ""])
    def test_what_is_no_path(self, wrong):
        with pytest.raises(UsageError, match="a File is made from the path"):
            File(wrong)

    def test_it_can_be_written_to(self, tmp_path):
        file = File(tmp_path / "new.txt")
        Path(file).write_text("new")
        assert Path(file).read_text() == "new"

    def test_elsewhere(self, path):
        """Where the file is not, the error says what to do."""
        file = pickle.loads(pickle.dumps(File(path)))
        assert Path(file).read_text() == "one"
        path.unlink()
        with pytest.raises(FileNotFoundError, match=r"ship=True"):
            open(file)  # noqa: PTH123, SIM115
        assert not os.path.exists(file)  # noqa: PTH110

    def test_its_pickle_has_the_content(self, path):
        """So that a result with a changed file in it is another result."""
        first = pickle.dumps(File(path))
        path.write_text("two")
        assert pickle.dumps(File(path)) != first


class TestShipping:
    def test_where_the_file_is(self, path):
        assert os.fspath(pickle.loads(pickle.dumps(File(path, ship=True)))) == str(path)

    def test_where_it_is_not(self, path):
        data = pickle.dumps(File(path, ship=True))
        path.write_text("another one")
        arrived = pickle.loads(pickle.loads(pickle.dumps(data)))
        assert os.fspath(arrived) != str(path)
        assert [Path(arrived).name, Path(arrived).read_text()] == ["data.txt", "one"]
        assert os.fspath(pickle.loads(data)) == os.fspath(arrived)
        assert Path(pickle.loads(pickle.dumps(arrived))).read_text() == "one"

    def test_a_folder(self, tmp_path):
        folder = tmp_path / "folder"
        (folder / "deep" / "empty").mkdir(parents=True)
        (folder / "deep" / "part").write_bytes(b"\0\1")
        file = File(folder, ship=True)
        data, content = pickle.dumps(file), file.content()
        folder.rename(tmp_path / "moved")
        arrived = pickle.loads(data)
        assert (Path(arrived) / "deep" / "part").read_bytes() == b"\0\1"
        assert (Path(arrived) / "deep" / "empty").is_dir()
        assert File(arrived).content() == arrived.content() == content

    def test_what_is_missing(self, tmp_path):
        with pytest.raises(UsageError, match=r"File\('.*nowhere', ship=True\) cannot be shipped"):
            pickle.dumps(File(tmp_path / "nowhere", ship=True))

    def test_a_large_one_warns(self, tmp_path, monkeypatch, path):
        monkeypatch.setattr("functionfuse.files._LARGE", 2)
        with pytest.warns(UserWarning, match="held in memory"):
            pickle.dumps(File(path, ship=True))


class TestFingerprint:
    def test_the_content_and_the_name_count(self, path, tmp_path):
        first = digest([File(path)])
        make_old(path)
        assert digest([File(path)]) == first
        assert digest([File(path, ship=True)]) == first
        assert digest([File(path.rename(tmp_path / "other.txt"))]) != first

    def test_a_default_and_a_global(self, path):
        default = File(path)

        def function(file=default):
            return file

        @workflow
        def takes():
            return function()

        first = digest(takes)
        path.write_text("two")
        assert digest(takes) != first

    def test_a_missing_one(self, tmp_path):
        with pytest.raises(Unfingerprintable, match=r"File\('.*missing'\) cannot be read: No such file"):
            digest([File(tmp_path / "missing")])

    def test_one_that_travelled(self, path):
        arrived = pickle.loads(pickle.dumps(File(path, ship=True)))
        first = digest(arrived)
        path.unlink()
        assert digest(arrived) == first

    def test_a_variable(self, monkeypatch):
        monkeypatch.setenv("A_VARIABLE", "1")
        first = digest(Env("A_VARIABLE"))
        assert digest(Env("ANOTHER_VARIABLE", "1")) == first
        monkeypatch.setenv("A_VARIABLE", "2")
        assert digest(Env("A_VARIABLE")) != first
        monkeypatch.delenv("A_VARIABLE")
        with pytest.raises(Unfingerprintable, match=r"A_VARIABLE is not set, and Env\('A_VARIABLE'\) has no default"):
            digest(Env("A_VARIABLE"))


class TestEnv:
    def test_its_value(self, monkeypatch):
        monkeypatch.setenv("A_VARIABLE", "1")
        variable = Env("A_VARIABLE")
        assert [variable.value, variable.name, repr(variable)] == ["1", "A_VARIABLE", "Env('A_VARIABLE')"]
        assert {variable, Env("A_VARIABLE")} == {variable}
        assert variable != Env("A_VARIABLE", "2")

    def test_it_takes_its_value_along(self, monkeypatch):
        monkeypatch.setenv("A_VARIABLE", "1")
        data = pickle.dumps(Env("A_VARIABLE"))
        monkeypatch.setenv("A_VARIABLE", "2")
        assert [pickle.loads(data).value, pickle.loads(pickle.dumps(pickle.loads(data))).value] == ["1", "1"]

    def test_a_secret_default_is_not_shown(self):
        assert "hidden-text" not in repr(Env("A_TOKEN", "hidden-text"))

    @pytest.mark.parametrize("wrong", [("",), (None,), ("A=B",), ("A", 3)])
    def test_what_is_none(self, wrong):
        with pytest.raises(UsageError):
            Env(*wrong)


@dataclass
class Holder:
    file: object


class TestStoredFiles:
    def test_what_is_noted(self, path):
        file = File(path)
        assert files_of({"a": [(file,)], "b": Holder(file)}) == [[str(path), file.content(), None]] * 2
        assert files_of([1, "text", [2]]) == files_of(File(path, ship=True)) == []
        assert with_files({"digest": "d"}, {"seconds": 1}, 3) == ({"digest": "d"}, {"seconds": 1})
        recipe, meta = with_files({"digest": "d", "function": "f"}, {"seconds": 1}, file)
        assert recipe == {"digest": marked("d"), "function": "f"}
        assert digest_in(recipe) == "d"
        assert meta == {"seconds": 1, "files": files_of(file)}

    def test_one_that_contains_itself(self, path):
        value: list[object] = [File(path)]
        value.append(value)
        assert found_in((value,), (File,)) == [File(path)]

    def test_a_missing_one(self, tmp_path):
        with pytest.raises(StorageError, match=r"File\('.*missing'\), which it returned, cannot be read"):
            files_of([File(tmp_path / "missing")])

    def test_what_is_stale(self, path):
        meta = {"files": files_of([File(path)])}
        assert stale_files(meta) == stale_files({}) == stale_files(None) == ""
        path.write_text("two")
        assert stale_files(meta) == f"the file that it returned has changed: {path}"
        path.unlink()
        assert stale_files(meta) == f"the file that it returned is missing: {path}"

    def test_a_lasting_stamp_spares_reading(self):
        path = os.__file__
        ((_, found, stamp),) = files_of(File(path))
        assert _content.Stamp(*stamp) == _content.stamp_of(path)
        _content._known.pop(path)
        assert stale_files({"files": [[path, "not what reading gives", stamp]]}) == ""
        _content._known.pop(path)
        assert stale_files({"files": [[path, found, None]]}) == ""

    def test_what_changed_since_the_plan(self, path):
        counted = File(path)._counted(File(path).content())
        assert changed_file([[counted], File(path)]) == ""
        path.write_text("two")
        assert changed_file([[counted]]) == repr(counted)


class OtherDisks(RefusingWorkflow):
    shares_files = False


@workflow
def first(*values):
    return values[0]


class TestWorkersWithOtherDisks:
    def test_a_file_is_blocked(self, path):
        made = OtherDisks(first(first([File(path)]).set_name("a")).set_name("b"), workflow_name="w")
        plan = made.plan()
        assert [plan["a"].action, plan["b"].reason] == ["blocked", "needs 'a', which is blocked"]
        with pytest.raises(PlanError, match=r"OtherDisks runs nodes on machines that do not have .*ship=True"):
            made.run()

    def test_one_that_is_shipped_is_not(self, path):
        plan = OtherDisks(first([File(path, ship=True)]).set_name("a"), workflow_name="w").plan()
        assert plan["a"].action == "run"


def test_a_plan_has_the_values_of_variables(monkeypatch):
    monkeypatch.setenv("A_VARIABLE", "1")
    made = RefusingWorkflow(first(Env("A_VARIABLE"), [Env("A_VARIABLE"), first(1)]).set_name("n"), workflow_name="w")
    made.set_storage(MemoryStore())
    assert made.plan()["n"].args[0] == "1"
    assert made.plan()["n"].args[1].value[0] == "1"


def test_a_plan_of_another_process(path):
    """A file that changed since the recipe was made there is found."""
    made = RefusingWorkflow(first(File(path)).set_name("n"), workflow_name="w")
    made.set_storage(MemoryStore())
    spec = made.spec()
    steps = pickle.loads(pickle.dumps(list(Session(spec).plan())))
    path.write_text("two")
    (step,) = Session(spec._replace(steps=steps, has_recipes=True)).plan()
    assert step.recipe == steps[0].recipe
    assert changed_file(step.args) == repr(File(path))
    (step,) = Session(spec._replace(steps=steps)).plan()
    assert step.recipe != steps[0].recipe
    assert changed_file(step.args) == ""


def test_they_are_imported_when_they_are_used():
    code = (
        "import sys, functionfuse as ff; "
        "print('functionfuse.files' in sys.modules, ff.File('a').name, ff.Env('B').name)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "a", "B"]


class InOrder(BaseWorkflow):
    def execute(self, run):
        for task in run.in_order():
            run.perform_here(task)


def test_a_record_of_a_run_has_no_secret_of_the_environment(monkeypatch):
    """Whatever the name of the parameter that takes it."""
    monkeypatch.setenv("DB_PASSWORD", "correct horse battery")
    flow = InOrder(same(["user", Env("DB_PASSWORD")]).set_name("n"), workflow_name="w")
    store = MemoryStore()
    flow.set_storage(store)
    flow.run()
    for run in store.runs():
        content = store.read_task(runs_of("w"), run.id)
        assert b"correct horse" not in zlib.decompressobj().decompress(content)
