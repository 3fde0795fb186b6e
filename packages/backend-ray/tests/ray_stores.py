"""A store whose ``get_writer_funcs`` returns remote functions of Ray, and what runs with it, on each kind of run."""

from __future__ import annotations

import pickle
from collections import namedtuple
from pathlib import Path

import pytest

from functionfuse import workflow
from functionfuse.errors import NodeError


class RemoteWriterFuncs:
    """As a store of the original: saves are tasks, and so is what reads, with options of its own."""

    reads_by_remote_functions = False

    def __init__(self, folder):
        self.folder = folder
        self.remote_args = {"num_cpus": 0, "max_retries": 0}

    def get_writer_funcs(self, workflow_name):
        import ray

        folder = Path(self.folder, workflow_name)

        @ray.remote(**self.remote_args)
        def new_workflow():
            folder.mkdir(parents=True, exist_ok=True)

        @ray.remote(**self.remote_args)
        def save(task_name, obj):
            (folder / task_name).write_bytes(pickle.dumps(ray.get(obj[0])))

        def read_task(task_name):
            return pickle.loads((folder / task_name).read_bytes())

        def file_exists(task_name):
            return (folder / task_name).is_file()

        ReadObject = namedtuple("ReadObject", ["remote_args", "file_exists", "read_task"])
        reads = file_exists, read_task
        if self.reads_by_remote_functions:
            reads = map(ray.remote, reads)
        return new_workflow, ReadObject(self.remote_args, *reads), save


class AllRemoteFuncs(RemoteWriterFuncs):
    reads_by_remote_functions = True


@workflow
def add(a, b):
    return a + b


@workflow
class Book:
    def __init__(self):
        self.entries = []

    def write(self, entry):
        self.entries.append(entry)
        return list(self.entries)


class RemoteFuncsTests:
    """A module gives ``make_workflow``, for workflows of the name "remote"."""

    @pytest.fixture
    def make_stored(self, make_workflow, tmp_path):
        def make(*nodes):
            made = make_workflow(*nodes)
            made.set_storage(RemoteWriterFuncs(str(tmp_path)))
            return made

        return make

    def test_results_are_stored_and_reused_by_name(self, make_stored, tmp_path):
        def make(first):
            return make_stored(add(add(first, 1).set_name("two"), 1).set_name("three"))

        assert make(1).run() == 3
        assert sorted(path.name for path in (tmp_path / "remote").iterdir()) == ["three", "two"]
        (tmp_path / "remote" / "three").unlink()
        again = make(5)
        assert again.plan(reuse="name").having("reuse") == ["two"]
        assert again.run(reuse="name") == 3
        assert again.plan(reuse="name").having("run") == []
        with pytest.warns(UserWarning, match="stores no recipes"):
            assert make(5).run() == 7

    def test_all_functions_may_be_remote(self, make_workflow, tmp_path):
        made = make_workflow(add(1, 1).set_name("two"))
        made.set_storage(AllRemoteFuncs(str(tmp_path)))
        assert made.plan(reuse="name").having("run") == ["two"]
        assert [made.run(), made.run(reuse="name")] == [2, 2]
        assert made.plan(reuse="name").having("run") == []

    def test_a_stateful_object_and_items(self, make_stored, tmp_path):
        book = Book()
        book.write(add(1, 1))
        entries = book.write(3).set_name("entries")
        assert make_stored(add(entries[0], entries[1]).set_name("sum"), entries[-1]).run() == [5, 3]
        assert pickle.loads((tmp_path / "remote" / "entries").read_bytes()) == [2, 3]

    def test_what_cannot_be_saved(self, make_stored, tmp_path):
        (tmp_path / "remote" / "two").mkdir(parents=True)
        with pytest.raises(NodeError, match="'two' ran, but its result cannot be stored: IsADirectoryError"):
            make_stored(add(1, 1).set_name("two")).run()
