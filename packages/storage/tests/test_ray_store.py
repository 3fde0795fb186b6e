"""The Ray store: where bytes land, references, machines that are not there, options, and what can be shown."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import cloudpickle
import pytest
from ray_machines import ADDRESS, ray_cluster_of

from functionfuse.errors import CorruptRecord, LostRace, OptionError, StorageError, TaskNotFound
from functionfuse.serializers.daskarray import DaskArraySerializer
from functionfuse.storage import FileStore, RayStore, Serializer, storage_factory
from functionfuse.testing import wait_until

ON_DISK = {"resources": {"_disk": 0.001}}


class Place:
    """Tells on which machine its file was written, and read."""


class PlaceSerializer(Serializer):
    name = "place"
    types = (Place,)

    def save(self, obj, out):
        blob, path = out.new(".txt")
        Path(path).write_text(this_machine())
        return blob

    def load(self, state, inp, version):
        place = Place()
        place.written, place.read = Path(inp.path(state)).read_text(), this_machine()
        return place


class Deadly:
    """Its file is there, and kills the process that writes it, the first time."""

    def __init__(self, marker):
        self.marker = marker


class DeadlySerializer(Serializer):
    name = "deadly"
    types = (Deadly,)

    def save(self, obj, out):
        _, path = out.new(".txt")
        Path(path).write_text("content")
        if not Path(obj.marker).exists():
            Path(obj.marker).write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
        return "saved"

    def load(self, state, inp, version):
        return state


def this_machine():
    import ray

    return ray.get_runtime_context().get_node_id()


@pytest.fixture(autouse=True)
def send_this_module_along():
    """The machines of the cluster cannot import it."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray = pytest.importorskip("ray", reason="ray is not installed")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(ray_cluster, path):
    return RayStore(str(path), ON_DISK)


@pytest.fixture
def disk(ray_cluster):
    """The id of the machine with the disk."""
    import ray

    [disk] = [node["NodeID"] for node in ray.nodes() if "_disk" in node["Resources"] and node["Alive"]]
    return disk


@pytest.fixture
def elsewhere(ray_cluster):
    """Run a function on the machine without the disk, and return the reference of its result."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(this_machine(), soft=False)

    def run(function, *args):
        return ray.remote(function).options(scheduling_strategy=here, num_cpus=0).remote(*args)

    return run


class TestWhere:
    def test_files_are_written_by_the_machine_with_the_disk(self, store, disk):
        store.register_persistent_serializers(PlaceSerializer)
        store.save("w", "a", Place())
        place = store.read_task("w", "a")
        assert place.written == disk != this_machine()
        assert place.read == this_machine()

    def test_the_files_are_those_of_a_file_store(self, store, path):
        store.save("w", "a", [1], recipe={"code": "1"}, meta={"seconds": 2.0})
        there = FileStore(path)
        assert there.read_task("w", "a") == [1]
        assert there.info("w", "a") == store.info("w", "a")
        there.save("w", "b", [2])
        assert store.read_task("w", "b") == [2]
        assert there.list_workflows() == store.list_workflows() == ["w"]

    def test_a_relative_path_is_taken_from_here(self, ray_cluster, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        RayStore("storage", ON_DISK).save("w", "a", 1)
        assert (tmp_path / "storage" / "w" / "a.ffr").exists()

    def test_any_task_of_the_cluster_uses_it(self, store, elsewhere):
        import ray

        def save_and_read(store):
            store.save("w", "a", [1])
            return store.read_task("w", "a")

        assert ray.get(elsewhere(save_and_read, store)) == [1]
        assert store.list_tasks("w") == ["a"]

    def test_bound_to_a_workflow(self, store):
        start, reader, save = pickle.loads(pickle.dumps(store.get_writer_funcs("w")))
        start()
        save("a", 1)
        assert (reader.read_task("a"), reader.file_exists("b"), reader.list_tasks("*")) == (1, False, ["a"])


class TestReferences:
    def test_a_result_is_saved_by_reference(self, store, elsewhere):
        result = elsewhere(lambda: list(range(5)))
        footer = store.save("w", "a", result, recipe={"code": "1"})
        assert store.read_task("w", "a") == [0, 1, 2, 3, 4]
        assert (footer["type"], footer["recipe"]) == ("builtins.list", {"code": "1"})

    def test_saves_need_not_be_waited_for_one_by_one(self, store, elsewhere):
        import ray

        saves = [store.submit("save", "w", f"n{n}", elsewhere(lambda n: n * n, n)) for n in range(10)]
        assert [footer["name"] for footer in ray.get(saves)] == [f"n{n}" for n in range(10)]
        reads = [store.submit("read_task", "w", f"n{n}") for n in range(10)]
        assert ray.get(elsewhere(lambda *values: sum(values), *reads)) == sum(n * n for n in range(10))

    @pytest.mark.parametrize("order", ["C", "F"])
    @pytest.mark.parametrize("rows", [0, 3, 5000])
    def test_arrays_saved_by_reference_can_be_written_to(self, store, elsewhere, rows, order):
        np = pytest.importorskip("numpy")

        def make():
            array = np.asarray(np.arange(rows * 7.0).reshape(rows, 7), order=order)
            named = np.zeros(rows, [("a", "i1"), ("when", "M8[s]")])
            return {"array": array, "again": array, "strided": array[::2, ::3], "named": named, "text": np.array("ab")}

        store.save("w", "a", elsewhere(make))
        loaded = store.read_task("w", "a")
        for name, value in make().items():
            assert (loaded[name].dtype, loaded[name].shape) == (value.dtype, value.shape)
            assert np.array_equal(loaded[name], value)
            assert loaded[name].flags.writeable
        assert loaded["again"] is loaded["array"]
        assert loaded["array"].flags[f"{order}_CONTIGUOUS"]

    def test_frames_saved_by_reference_can_be_written_to(self, store, elsewhere):
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame({"x": [float(n) for n in range(20_000)], "text": [f"name {n}" for n in range(20_000)]})
        store.save("w", "a", elsewhere(lambda: frame))
        loaded = store.read_task("w", "a")
        pd.testing.assert_frame_equal(loaded, frame)
        loaded.loc[0, "x"] = 7.0
        assert store.read_task("w", "a").loc[0, "x"] == 0.0

    def test_a_task_that_failed_stores_nothing(self, store, elsewhere):
        store.save("w", "a", "old")
        with pytest.raises(ZeroDivisionError):
            store.save("w", "a", elsewhere(lambda: 1 / 0))
        assert store.read_task("w", "a") == "old"

    def test_create_by_reference_has_one_winner(self, store, elsewhere):
        store.save("w", "a", elsewhere(lambda: 1), create=True)
        with pytest.raises(LostRace):
            store.save("w", "a", elsewhere(lambda: 2), create=True)
        assert store.read_task("w", "a") == 1

    @pytest.mark.parametrize("how", ["value", "reference"])
    def test_a_repeated_create_knows_its_own_record(self, store, elsewhere, how):
        """As when the task of a save is tried again after its process died."""
        result = 1 if how == "value" else elsewhere(lambda: 1)
        first = store.save("w", "a", result, create=True, uid="one")
        assert store.save("w", "a", result, create=True, uid="one") == first


class TestLargeAndLazy:
    def test_a_large_array(self, store):
        np = pytest.importorskip("numpy")
        array = np.arange(4_000_000.0)
        store.save("w", "a", {"array": array, "bytes": b"x" * 3_000_000})
        loaded = store.read_task("w", "a")
        assert np.array_equal(loaded["array"], array)
        assert loaded["bytes"] == b"x" * 3_000_000

    def test_a_dask_array_is_read_by_chunks_from_anywhere(self, store, path, elsewhere):
        import ray

        da = pytest.importorskip("dask.array")
        np = pytest.importorskip("numpy")
        pytest.importorskip("h5py")
        array = np.arange(400_000.0).reshape(400, 1000)
        store.register_persistent_serializers(DaskArraySerializer)
        store.save("w", "a", {"lazy": da.from_array(array, chunks=(50, 1000), name="test")})
        assert len(list(path.glob("w/.big/*.h5"))) == 1
        loaded = store.read_task("w", "a")["lazy"]
        assert loaded.chunks == ((50,) * 8, (1000,))

        def total(value):
            return value["lazy"].sum().compute(scheduler="sync")

        assert ray.get(elsewhere(total, {"lazy": loaded})) == array.sum()
        assert ray.get(elsewhere(total, store.submit("read_task", "w", "a"))) == array.sum()

    def test_only_the_chunks_that_are_needed_travel(self, store, monkeypatch):
        da = pytest.importorskip("dask.array")
        np = pytest.importorskip("numpy")
        pytest.importorskip("h5py")
        array = np.arange(400_000.0).reshape(400, 1000)
        store.register_persistent_serializers(DaskArraySerializer)
        store.save("w", "a", da.from_array(array, chunks=(50, 1000), name="test"))
        verbs = []
        submit = RayStore.submit
        monkeypatch.setattr(
            RayStore, "submit", lambda self, verb, *a, **k: verbs.append(verb) or submit(self, verb, *a, **k)
        )
        monkeypatch.setattr("functionfuse.storage._ray.transfer.BlobFile", None)  # the file is not seen from here
        loaded = store.read_task("w", "a")
        assert "read_blob" not in verbs
        assert np.array_equal(loaded[60:70].compute(scheduler="sync"), array[60:70])
        assert verbs.count("read_blob") == 1

    def test_a_damaged_chunk_of_a_dask_array(self, store, path):
        da = pytest.importorskip("dask.array")
        pytest.importorskip("h5py")
        store.register_persistent_serializers(DaskArraySerializer)
        store.save("w", "a", da.ones((40, 1000), chunks=(10, 1000)))
        [file] = path.glob("w/.big/*.h5")
        content = bytearray(file.read_bytes())
        content[-100] ^= 1
        file.write_bytes(content)
        loaded = store.read_task("w", "a")
        assert loaded[:10].sum().compute(scheduler="sync") == 10_000
        with pytest.raises(CorruptRecord, match="checksum"):
            loaded[30:].sum().compute(scheduler="sync")

    def test_blobs_go_with_their_result(self, store, path):
        store.register_persistent_serializers(PlaceSerializer)
        for _ in range(2):
            store.save("w", "a", Place())
            assert len(list(path.glob("w/.big/*"))) == 1
        store.remove_task("w", "a")
        assert list(path.glob("w/.big/*")) == []


class TestErrors:
    def test_they_are_those_of_the_file_store(self, store):
        store.save("w", "model", 1)
        with pytest.raises(TaskNotFound, match=r"'modle'.*did you mean 'model'") as caught:
            store.read_task("w", "modle")
        assert type(caught.value) is TaskNotFound

    def test_a_process_that_dies_while_saving_is_replaced(self, store, path, tmp_path):
        store.register_persistent_serializers(DeadlySerializer)
        store.save("w", "a", Deadly(str(tmp_path / "marker")), create=True)
        assert store.read_task("w", "a") == "saved"
        assert len(list(path.glob("w/.big/*"))) == 2
        assert len(store.gc("w", grace=0)) == 2  # the dead one's draft and blob
        assert len(list(path.glob("w/.big/*"))) == 1

    def test_a_folder_that_cannot_be_made(self, ray_cluster, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(StorageError, match=r"file"):
            RayStore(str(tmp_path / "file" / "store"), ON_DISK)

    def test_a_resource_that_no_machine_has(self, ray_cluster, path):
        with pytest.raises(StorageError, match=r"no machine of the Ray cluster offers \{'_tape': 1\}.*offer.*_disk"):
            RayStore(str(path), {"resources": {"_tape": 1}})
        with pytest.raises(StorageError, match=r"no machine.*'CPU': 100"):
            RayStore(str(path), {**ON_DISK, "num_cpus": 100})

    def test_machines_that_would_keep_results_apart(self, ray_cluster, path):
        with pytest.warns(UserWarning, match="2 machines fit RayStore.*other results"):
            RayStore(str(path), {})

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"remoteArgs": ON_DISK}, "needs option 'path'"),
            ({"path": "/x"}, "needs option 'remoteArgs'"),
            ({"path": "", "remoteArgs": ON_DISK}, "'path' must be the path of a folder, got ''"),
            ({"path": "/x", "remoteArgs": ["_disk"]}, "'remoteArgs' must be a mapping"),
            ({"path": "/x", "remoteArgs": {"resource": {}}}, "'remoteArgs'.*resource"),
            ({"path": "/x", "remoteArgs": {"num_cpus": -1}}, "'remoteArgs'.*num_cpus"),
            ({"path": "/x", "remoteArgs": ON_DISK, "rayInitArgs": "auto"}, "'rayInitArgs' must be a mapping"),
            ({"path": "/x", "remoteArgs": ON_DISK, "timeout": "1"}, "'timeout' must be a number"),
            ({"path": "/x", "remoteArgs": ON_DISK, "timeout": 0}, "'timeout' must be a number"),
            ({"path": "/x", "remoteArgs": ON_DISK, "durable": 1}, "'durable' must be True or False"),
            ({"path": "/x", "remote_args": ON_DISK}, "no option 'remote_args'.*did you mean 'remoteArgs'"),
        ],
    )
    def test_options_that_cannot_be_used(self, options, message):
        pytest.importorskip("ray", reason="ray is not installed")
        with pytest.raises(OptionError, match=message):
            storage_factory({"kind": "ray", "options": options})

    def test_no_response_in_time(self, ray_cluster, path):
        store = RayStore(str(path), {"resources": {"_disk": 1}}, timeout=30)
        store._timeout = 0.5
        import ray

        @ray.remote(resources={"_disk": 1}, num_cpus=0)
        def occupy(started):
            Path(started).touch()
            time.sleep(60)

        started = path.parent / "started"
        occupied = occupy.remote(str(started))
        wait_until(started.exists)
        try:
            with pytest.raises(StorageError, match=r"no response from the machine of RayStore.* within 0.5 s to 'save"):
                store.save("w", "a", 1)
        finally:
            ray.cancel(occupied, force=True)


@pytest.mark.slow(reason="clusters of its own")
class TestAnotherCluster:
    """Clusters of their own, for machines that go away; each in a process of its own, as Ray connects once."""

    @staticmethod
    def run(tmp_path, function):
        code = f"import sys; sys.path[:0] = sys.argv[2:]; import test_ray_store; test_ray_store.{function}(sys.argv[1])"
        command = [sys.executable, "-c", code, str(tmp_path / "store"), str(Path(__file__).parent)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert ended.returncode == 0, ended.stderr[-3000:]
        return ended.stdout

    def test_the_machine_dies_in_the_middle_of_a_save(self, ray_cluster, tmp_path):
        self.run(tmp_path, "lose_the_machine")

    def test_a_notebook_without_a_workflow(self, ray_cluster, store, path, tmp_path):
        store.save("w", "a", [1, 2])
        config = store.config()
        config["options"]["rayInitArgs"] = {"address": ray_cluster.address, "_node_ip_address": ADDRESS}
        code = (
            "import json, sys\nfrom functionfuse.storage import storage_factory\n"
            "storage = storage_factory(json.loads(sys.argv[1]))\nprint(storage.read_task('w', 'a'))"
        )
        ended = subprocess.run(
            [sys.executable, "-c", code, json.dumps(config)], capture_output=True, text=True, timeout=100, check=True
        )
        assert ended.stdout == "[1, 2]\n"

    def test_ray_was_not_initialised(self, tmp_path):
        pytest.importorskip("ray", reason="ray is not installed")
        self.run(tmp_path, "do_not_initialise")


def lose_the_machine(path):
    warnings.simplefilter("error")
    with ray_cluster_of({"num_cpus": 1}, {"num_cpus": 1, "resources": {"_disk": 1}}) as cluster:
        import ray

        store = RayStore(path, ON_DISK)
        store.save("w", "a", "old")
        [machine] = [node for node in cluster.list_all_nodes() if node is not cluster.head_node]

        @ray.remote
        def slowly():
            time.sleep(3)
            return "new"

        threading.Timer(1, cluster.remove_node, [machine], {"allow_graceful": False}).start()
        with pytest.raises(StorageError, match=r"no machine of the Ray cluster offers \{'_disk': 0.001\}"):
            store.save("w", "a", slowly.remote())
        with pytest.raises(StorageError, match="no machine of the Ray cluster offers"):
            store.list_tasks("w")
        cluster.add_node(num_cpus=1, resources={"_disk": 1}, node_ip_address=ADDRESS)
        assert store.read_task("w", "a") == "old"
        store.save("w", "a", "newer")
        assert store.read_task("w", "a") == "newer"


def do_not_initialise(path):
    import ray

    store = RayStore(path, ON_DISK)
    with pytest.raises(StorageError, match="not initialised; pass 'rayInitArgs'"):
        store.list_workflows()
    assert not ray.is_initialized()


def test_no_secret_is_shown_or_sent(ray_cluster, path, monkeypatch):
    sent = []

    class Task:
        def __init__(self, function):
            self.options = lambda **options: self

        def remote(self, *args):
            sent.append(args)

    monkeypatch.setattr("ray.remote", Task)
    init = {"address": "auto", "_redis_password": "hidden-1", "runtime_env": {"env_vars": {"KEY": "hidden-2"}}}
    store = RayStore.__new__(RayStore)
    monkeypatch.setattr(RayStore, "check_cluster", lambda self: None)
    monkeypatch.setattr(RayStore, "list_workflows", lambda self: [])
    store.__init__(str(path), ON_DISK, init)
    store.submit("info", "w", "a")
    assert sent
    shown = cloudpickle.dumps([store, sent, store.get_writer_funcs("w")]) + json.dumps(store.config()).encode()
    assert b"hidden-" not in shown + repr(store).encode()
    assert pickle.loads(pickle.dumps(store)).config() == store.config()


def test_config_makes_the_same_store(store, path):
    config = store.config()
    given = {"path": str(path), "remoteArgs": ON_DISK}
    defaults = {"rayInitArgs": None, "timeout": None, "durable": True, "keep_runs": 10, "max_size": None}
    assert config == {"kind": "ray", "options": {**given, **defaults}}
    assert storage_factory(json.loads(json.dumps(config))).config() == config
    assert repr(store) == f"RayStore({str(path)!r}, remoteArgs={ON_DISK!r})"
