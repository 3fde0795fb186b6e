"""Results that the original Function Fuse stored, imported into each store."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import sys
import warnings

import cloudpickle
import pytest

from functionfuse.errors import OptionError, StorageError
from functionfuse.serializers import FILE_PROTOCOL
from functionfuse.storage import FileStore, RayStore, Serializer

NASTY = ["..a", "-rf", "=41", "CON", "a.ffr", "two words, é", "e\u0301", "Model", "model", "*[x]*", " ", "n" * 200]


class Curve:
    def __init__(self, points):
        self.points = points


class CurveSerializer:
    """As the original's are; the file is what it opens in the workflow's ``bigdata``."""

    name = "curves"
    serializer_class = Curve

    @classmethod
    def pickle(cls, obj, protocols):
        with protocols[FILE_PROTOCOL].open("made up", "wb") as file:
            file.write(bytes(obj.points))
        return cls.name, ("0.0.0", "made up")

    @classmethod
    def unpickle(cls, pid, protocols):
        with protocols[FILE_PROTOCOL].open(pid[1], "rb") as file:
            return Curve(list(file.read()))


class Reference:
    """Stands in a pickle for what a serializer of the original kept."""

    def __init__(self, name, state):
        self.pid = name, state


class OriginalPickler(pickle.Pickler):
    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Reference) else None


def original_file(path, value):
    """Write a result as the original did."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    OriginalPickler(stream).dump(value)
    path.write_bytes(stream.getvalue() + hashlib.sha1(stream.getvalue()).digest())
    return path


def unimported(call):
    """What the call returned, and what it said of files that were not imported."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        returned = call()
    return returned, [str(warning.message) for warning in caught if "was not imported" in str(warning.message)]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "original"


@pytest.fixture
def sent_along():
    """The machines of the cluster cannot import this module."""
    import ray

    for pickling in (cloudpickle, ray.cloudpickle):
        pickling.register_pickle_by_value(sys.modules[__name__])
    yield
    for pickling in (cloudpickle, ray.cloudpickle):
        pickling.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture(params=["file", "signed", "S3", "ray"])
def any_store(request, tmp_path, monkeypatch):
    if request.param == "S3":
        return request.getfixturevalue("s3_store")
    if request.param == "ray":
        request.getfixturevalue("ray_cluster")
        request.getfixturevalue("sent_along")
        return RayStore(str(tmp_path / "store"), {"resources": {"_disk": 0.001}}, durable=False)
    monkeypatch.setenv("FF_TEST_KEY", "k" * 32)
    key = "env:FF_TEST_KEY" if request.param == "signed" else None
    return FileStore(tmp_path / "store", durable=False, sign_key=key)


class TestEveryStore:
    def test_results_have_their_names(self, any_store, folder):
        original_file(folder / "w" / "b", {"deep": [1, 2]})
        original_file(folder / "w" / "a", None)
        original_file(folder / "other" / "a", "text")
        assert any_store.import_original(folder) == {"other": ["a"], "w": ["a", "b"]}
        assert any_store.list_workflows() == ["other", "w"]
        assert any_store.list_tasks("w") == ["a", "b"]
        assert any_store.read_task("w", "a") is None
        assert any_store.read_task("w", "b") == {"deep": [1, 2]}
        assert any_store.info("w", "b")["recipe"] is None
        assert any_store.info("w", "b")["meta"] == {"imported_from": str(folder / "w" / "b")}

    def test_nasty_names(self, any_store, folder):
        for name in NASTY:
            original_file(folder / name / name, name)
        assert any_store.import_original(str(folder)) == {name: [name] for name in sorted(NASTY)}
        assert [any_store.read_task(name, name) for name in NASTY] == NASTY

    def test_existing_results_stay_unless_they_are_replaced(self, any_store, folder):
        for name in "ab":
            original_file(folder / "w" / name, f"imported {name}")
        any_store.save("w", "a", "mine", recipe={"digest": "abc"})
        assert any_store.import_original(folder) == {"w": ["b"]}
        assert any_store.import_original(folder) == {}
        assert any_store.read_task("w", "a") == "mine"
        assert any_store.import_original(folder, replace=True) == {"w": ["a", "b"]}
        assert any_store.read_task("w", "a") == "imported a"

    def test_objects_of_serializers(self, any_store, folder):
        original_file(folder / "w" / "a", [Reference("curves", ("0.0.0", "made up")), 1])
        original_file(folder / "w" / "b", [Reference("curves", ("0.0.0", "lost"))])
        (folder / "w" / "bigdata").mkdir()
        (folder / "w" / "bigdata" / "made up").write_bytes(b"\1\2\3")
        imported, problems = unimported(lambda: any_store.import_original(folder))
        assert imported == {}
        assert "pass it to store.register_persistent_serializers(...)" in problems[0]
        any_store.register_persistent_serializers(CurveSerializer)
        imported, problems = unimported(lambda: any_store.import_original(folder))
        assert imported == {"w": ["a"]}
        assert [("/w/b'" in problem, "FileNotFoundError" in problem) for problem in problems] == [(True, True)]
        assert any_store.read_task("w", "a")[0].points == [1, 2, 3]
        assert any_store.info("w", "a")["serializers"] == {"curves": 1}

    def test_damaged_files_are_left_out(self, any_store, folder):
        original_file(folder / "w" / "good", 1)
        content = original_file(folder / "w" / "flipped", "text").read_bytes()
        damaged = {"flipped": bytes([content[0] ^ 1]) + content[1:], "truncated": content[:-1], "empty": b""}
        damaged["longer"], damaged["pickle"] = content + b"x", pickle.dumps(1)
        for name, one in damaged.items():
            (folder / "w" / name).write_bytes(one)
        imported, problems = unimported(lambda: any_store.import_original(folder))
        assert imported == {"w": ["good"]}
        assert any_store.list_tasks("w") == ["good"]
        for name, problem in zip(sorted(damaged), problems, strict=True):
            assert problem.startswith(f"{str(folder / 'w' / name)!r} of the original was not imported: ")
            assert "its SHA-1 is not that of its content" in problem


class TestDaskArrays:
    @pytest.fixture
    def array(self, folder):
        h5py = pytest.importorskip("h5py", reason="h5py is not installed")
        np = pytest.importorskip("numpy", reason="numpy is not installed")
        pytest.importorskip("dask.array", reason="dask.array is not installed")
        array = np.arange(1000.0).reshape(25, 40)
        original_file(folder / "w" / "a", {"array": Reference("HDFSerializer", ("0.0.0", "data"))})
        (folder / "w" / "bigdata").mkdir()
        with h5py.File(folder / "w" / "bigdata" / "data", "w") as file:
            file.create_dataset("dask_arrays", data=array, chunks=(10, 16))
        return array

    @pytest.fixture(params=["file", "S3"])
    def lazy_store(self, request):
        return request.getfixturevalue("s3_store" if request.param == "S3" else "store")

    def test_they_need_no_serializer_of_the_original(self, array, lazy_store, folder):
        assert lazy_store.import_original(folder) == {"w": ["a"]}
        stored = lazy_store.read_task("w", "a")["array"]
        assert type(stored).__module__ == "dask.array.core"
        assert stored.chunksize == (10, 16)
        assert (stored.compute() == array).all()

    def test_the_class_of_the_original_reads_them_too(self, array, store, folder):
        import dask.array as da
        import h5py

        class HDFSerializer:
            name = "HDFSerializer"
            serializer_class = Curve  # any; it saves none of them
            used = 0

            @classmethod
            def pickle(cls, obj, protocols):
                raise AssertionError

            @classmethod
            def unpickle(cls, pid, protocols):
                cls.used += 1
                dataset = h5py.File(protocols[FILE_PROTOCOL].open(pid[1], "rb"), mode="r")["dask_arrays"]
                return da.from_array(dataset, chunks=dataset.chunks)

        store.register_persistent_serializers(HDFSerializer)
        assert store.import_original(folder) == {"w": ["a"]}
        assert (store.read_task("w", "a")["array"].compute() == array).all()
        assert HDFSerializer.used == 1

    @pytest.mark.usefixtures("array", "ray_cluster")
    def test_the_ray_store_does_not_take_them(self, folder, tmp_path):
        store = RayStore(str(tmp_path / "store"), {"resources": {"_disk": 0.001}}, durable=False)
        imported, [problem] = unimported(lambda: store.import_original(folder))
        assert imported == {}
        assert "TypeError" in problem


class TestFolders:
    def test_the_folder_of_the_store_itself(self, store, root):
        for task in ("a", "b"):
            original_file(root / "my workflow!" / task, task)
        store.save("my workflow!", "a", "mine")
        store.save("saved here", "a.ffr", 1)
        original_file(root / "saved here" / "c", 3)
        (root / "saved here" / "bigdata").mkdir()
        before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
        assert store.import_original(root) == {"my workflow!": ["b"], "saved here": ["c"]}
        assert store.import_original(root) == {}
        assert {path: path.read_bytes() for path in before} == before

    def test_workflows_in_workflows(self, store, folder):
        original_file(folder / "a" / "b", 1)
        original_file(folder / "a" / "c" / "d", 2)
        original_file(folder / "bigdata" / "e", 3)
        original_file(folder / "a" / "bigdata" / "f", 4)
        assert store.import_original(folder) == {"a": ["b"], "a/c": ["d"], "bigdata": ["e"]}
        assert store.read_task("a/c", "d") == 2

    @pytest.mark.skipif(sys.platform != "linux", reason="names of files are text elsewhere")
    def test_a_name_that_is_no_text(self, store, folder):
        name = os.fsdecode(b"\xff")
        original_file(folder / name / name, 1)
        assert store.import_original(folder) == {name: [name]}
        assert store.read_task(name, name) == 1

    def test_links_and_what_is_no_file(self, store, folder):
        original_file(folder / "w" / "a", 1)
        (folder / "w" / "link").symlink_to("a")
        (folder / "w" / "dangling").symlink_to("nowhere")
        (folder / "w" / "around").symlink_to("..")
        os.mkfifo(folder / "w" / "pipe")
        assert store.import_original(folder) == {"w": ["a", "link"]}

    @pytest.mark.parametrize("content", [None, b"", ()])
    def test_what_is_no_folder_of_the_original(self, store, folder, content):
        if content == ():
            (folder / "w").mkdir(parents=True)
            original_file(folder / "a", 1)
        elif content is not None:
            folder.write_bytes(content)
        with pytest.raises(StorageError, match=rf"{str(folder)!r}.*<folder>/<workflow>/<task>"):
            store.import_original(folder)

    @pytest.mark.parametrize("path", [None, 7, b"original"])
    def test_what_is_no_path(self, store, path):
        with pytest.raises(OptionError, match="path must be that of a folder of the original"):
            store.import_original(path)

    def test_replace_is_a_flag(self, store, folder):
        with pytest.raises(OptionError, match="replace must be True or False, got 'a'"):
            store.import_original(folder, replace="a")


class TestValues:
    def test_a_class_that_is_gone(self, store, folder):
        original_file(folder / "w" / "a", 1)
        gone = b"cno_such_module\nGone\n."
        (folder / "w" / "b").write_bytes(gone + hashlib.sha1(gone).digest())
        imported, [problem] = unimported(lambda: store.import_original(folder))
        assert imported == {"w": ["a"]}
        assert "ModuleNotFoundError" in problem
        assert "no_such_module" in problem

    def test_a_value_that_cannot_be_stored(self, store, folder, files):
        original_file(folder / "w" / "a", 1)
        call = b"cthreading\nLock\n)R."
        (folder / "w" / "b").write_bytes(call + hashlib.sha1(call).digest())
        imported, [problem] = unimported(lambda: store.import_original(folder))
        assert imported == {"w": ["a"]}
        assert "TypeError" in problem
        assert files.drafts("w") == []

    def test_serializers_of_today_do_not_read_it(self, store, folder):
        class Today(Serializer):
            name = "curves"
            types = (Curve,)

            def save(self, obj, out):
                return obj.points

            def load(self, state, inp, version):
                return Curve(state)

        store.register_persistent_serializers(Today)
        original_file(folder / "w" / "a", Reference("curves", ("0.0.0", "made up")))
        imported, [problem] = unimported(lambda: store.import_original(folder))
        assert imported == {}
        assert "has not its methods 'pickle' and 'unpickle'" in problem

    def test_serializers_write_nothing_into_the_folder(self, store, folder):
        class Writing(CurveSerializer):
            @classmethod
            def unpickle(cls, pid, protocols):
                protocols[FILE_PROTOCOL].open(pid[1], "wb")

        store.register_persistent_serializers(Writing)
        original_file(folder / "w" / "a", Reference("curves", ("0.0.0", "made up")))
        imported, [problem] = unimported(lambda: store.import_original(folder))
        assert imported == {}
        assert "opened with mode 'r' or 'rb', not 'wb'" in problem
