"""Stores from configurations, and what happens with configurations and paths that cannot be used."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from functionfuse.errors import CorruptRecord, OptionError, StorageError, UnsupportedRecord
from functionfuse.storage import FileStore, storage_factory
from functionfuse.stores import Catalogue, open_store


def file_config(path, **options):
    return {"kind": "file", "options": {"path": path, **options}}


def test_a_file_store(root):
    store = storage_factory(file_config(str(root)))
    assert isinstance(store, FileStore)
    assert store.path == str(root)
    assert repr(store) == f"FileStore({str(root)!r})"


def test_config_is_json_and_makes_the_same_store(root, monkeypatch):
    monkeypatch.setenv("FF_TEST_KEY", "secret-" * 8)
    options = {"durable": False, "mmap": False, "sign_key": "env:FF_TEST_KEY", "keep_runs": 3, "max_size": "10 GiB"}
    store = storage_factory(file_config(root, **options))
    text = json.dumps(store.config())
    assert storage_factory(json.loads(text)).config() == store.config()
    assert store.config() == file_config(str(root), **options)


def test_no_secret_in_config_pickle_or_repr(root, monkeypatch):
    monkeypatch.setenv("FF_TEST_KEY", "secret-" * 8)
    store = FileStore(root, sign_key="env:FF_TEST_KEY")
    store.save("w", "a", 1)
    assert b"secret-" not in pickle.dumps(store) + json.dumps(store.config()).encode() + repr(store).encode()


def test_a_relative_path_stays_where_it_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = FileStore("storage")
    store.save("w", "a", 1)
    monkeypatch.chdir("/")
    assert store.read_task("w", "a") == 1


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert FileStore("~/results").path == str(tmp_path / "results")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("file", "needs {'kind'"),
        ({}, "needs a 'kind'; available: 'file'"),
        ({"kind": "fil", "options": {}}, "no store of kind 'fil'.*did you mean 'file'"),
        ({"kind": "s3"}, "no store of kind 's3'.*did you mean 'S3'"),
        ({"kind": ["file"]}, "no store of kind"),
        (
            {"kind": "S3", "options": {"bucket": "b"}},
            "kind 'S3' has no option 'bucket'; options: 'path', 'endpoint_url'",
        ),
        ({"kind": "S3", "options": {}}, "kind 'S3' needs option 'path'"),
        ({"kind": "Ray"}, "no store of kind 'Ray'.*did you mean 'ray'"),
        ({"kind": "file", "option": {"path": "x"}}, "not 'option'; did you mean 'options'"),
        ({"kind": "file", "options": "storage"}, "'options' must be a mapping"),
        ({"kind": "file", "options": {}}, "needs option 'path'"),
        ({"kind": "file"}, "needs option 'path'"),
        (
            {"kind": "file", "options": {"path": "x", "durabel": 1}},
            "no option 'durabel'.*did you mean 'durable'",
        ),
        ({"kind": "file", "options": {"path": ""}}, "'path' must be.*''"),
        ({"kind": "file", "options": {"path": 5}}, "'path' must be.*5"),
        ({"kind": "file", "options": {"path": b"x"}}, "'path' must be.*b'x'"),
        (
            {"kind": "file", "options": {"path": "x", "keep_runs": 0}},
            "keep_runs must be a number of runs above 0, or None for all, got 0",
        ),
        (
            {"kind": "file", "options": {"path": "x", "max_size": "big"}},
            "max_size must be a number of bytes, or text like '10 GiB', got 'big'",
        ),
        (
            {"kind": "file", "options": {"path": "x", "durable": "no"}},
            "'durable' must be True or False, got 'no'",
        ),
        ({"kind": "file", "options": {"path": "x", "mmap": 1}}, "'mmap' must be True or False, got 1"),
        (
            {"kind": "file", "options": {"path": "x", "sign_key": "s3cr3t"}},
            "'sign_key' must be 'env:VARIABLE'",
        ),
        ({"kind": "file", "options": {"path": "x", "sign_key": 7}}, "'sign_key' must be"),
        ({"kind": "file", "options": {"path": "x", "sign_key": "env:"}}, "'sign_key' must be"),
    ],
)
def test_configurations_that_cannot_be_used(config, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match=message) as caught:
        storage_factory(config)
    assert "s3cr3t" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_is_a_file(tmp_path):
    path = tmp_path / "results"
    path.write_text("precious")
    for place in (path, path / "below"):
        with pytest.raises(StorageError, match=r"results.*(is a file|[Nn]ot a directory)"):
            FileStore(place)
    assert path.read_text() == "precious"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that nobody can write")
def test_a_path_that_cannot_be_written():
    with pytest.raises(StorageError, match="'/proc/self/results'"):
        FileStore("/proc/self/results")


def test_a_store_that_cannot_be_written_can_be_read(root, store, monkeypatch):
    store.save("w", "a", 1)
    refuse = os.strerror(30)

    def read_only(path, flags, *more, **options):
        if flags & os.O_CREAT:
            raise OSError(30, refuse, path)
        return real_open(path, flags, *more, **options)

    real_open = os.open
    monkeypatch.setattr(os, "open", read_only)
    reopened = FileStore(root)
    assert reopened.read_task("w", "a") == 1
    with pytest.raises(StorageError, match=rf"{root}.*{refuse}"):
        reopened.save("w", "b", 2)
    assert reopened.list_tasks("w") == ["a"]


def test_reading_makes_no_folders(store, files):
    for ask in (store.list_tasks, store.check_workflow, store.gc):
        assert ask("w") == []
    assert not store.has_task("w", "a")
    assert store.has_tasks("w", ["a"]) == set()
    assert store.remove_task("w", pattern="*") == []
    assert not store.remove_workflow("w")
    assert files.all() == ["ffstore.json"]
    assert [path.name for path in files.root.iterdir()] == ["ffstore.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", "\0", '{"format": 1}'])
def test_a_damaged_marker(root, text):
    root.mkdir()
    (root / "ffstore.json").write_text(text)
    with pytest.raises(CorruptRecord, match=r"ffstore\.json"):
        FileStore(root)


def test_a_store_of_a_newer_release(root):
    root.mkdir()
    (root / "ffstore.json").write_text('{"format": 3, "names": "exact"}')
    with pytest.raises(UnsupportedRecord, match="format 3"):
        FileStore(root)


def test_the_marker_says_how_names_are_kept(store, files):
    assert json.loads((files.root / "ffstore.json").read_text()) == {"format": 2, "names": "exact"}


def test_functions_for_backends(store, root):
    new_workflow, read_object, save_func = pickle.loads(pickle.dumps(store.get_writer_funcs("w")))
    new_workflow()
    assert store.list_workflows() == ["w"]
    save_func("a", [1])
    save_func("b", 2, create=True)
    assert store.read_task("w", "a") == read_object.read_task("a") == [1]
    assert read_object.file_exists("a")
    assert not read_object.file_exists("c")
    assert read_object.list_tasks("*") == read_object.list_tasks() == ["a", "b"]


@pytest.mark.parametrize("form", ["{}", "file:{}", "FILE:{}", "file://{}", "file://localhost{}"])
def test_a_folder_is_a_location(root, form):
    store = open_store(form.format(root), durable=False)
    assert isinstance(store, Catalogue)
    assert (store.path, store.config()["options"]["durable"]) == (str(root), False)


def test_a_path_with_a_drive_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_store("C:results").path.endswith("results")


def test_a_bucket_is_a_location(s3_options):
    path = s3_options.pop("path")
    store = open_store(f"s3:/{path}", **s3_options)
    assert store.path == path


def test_a_folder_of_a_ray_cluster_is_a_location(tmp_path):
    pytest.importorskip("ray", reason="ray is not installed")
    store = open_store(f"ray:{tmp_path}", remoteArgs={"resources": {"_disk": 0.001}})
    assert store.config()["options"]["path"] == str(tmp_path)


@pytest.mark.parametrize(
    ("location", "options", "message"),
    [
        ("gs://x", {}, r"cannot open 'gs://x': no store of kind 'gs'; available: 'file', 'ray', 'S3'"),
        ("fil:x", {}, "no store of kind 'fil'.*did you mean 'file'"),
        ("file://far/folder", {}, "names the host 'far'"),
        ("ray:x", {}, "a store of kind 'ray' needs option 'remoteArgs'"),
        ("file:x", {"durabel": 1}, "a store of kind 'file' has no option 'durabel'; options: .*did you mean 'durable'"),
    ],
)
def test_locations_that_cannot_be_used(location, options, message):
    with pytest.raises(OptionError, match=message):
        open_store(location, **options)


MODULE = """
from functionfuse.storage import FileStore

class Vault(FileStore):
    def __init__(self, path, *, level=0):
        super().__init__(path)
        self.level = level

def open_shelf(path, **options):
    return Vault(path, **options)
"""

PROGRAM = """
import sys
from functionfuse.errors import OptionError
from functionfuse.storage import storage_factory
from functionfuse.stores import open_store, store_kinds

path = sys.argv[1]
print(store_kinds())
for kind in ("vault", "shelf"):
    made = storage_factory({"kind": kind, "options": {"path": path, "level": 1}})
    opened = open_store(f"{kind}:{path}", level=2)
    print([(type(store).__name__, store.path == path, store.level) for store in (made, opened)])
for make in (lambda: storage_factory({"kind": "vaul"}), lambda: open_store("vaul:x"), lambda: open_store("broken:x")):
    try:
        make()
    except OptionError as error:
        print(error)
"""


def test_a_kind_of_another_package_is_made_and_opened(tmp_path):
    (tmp_path / "vaults.py").write_text(MODULE)
    folder = tmp_path / "vaults-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: vaults\nVersion: 1\n")
    declared = "[functionfuse.stores]\nvault = vaults:Vault\nshelf = vaults:open_shelf\nbroken = vaults:absent\n"
    (folder / "entry_points.txt").write_text(declared)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "store")],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kinds, vault, shelf, *errors = done.stdout.splitlines()
    assert kinds == "['broken', 'file', 'ray', 'S3', 'shelf', 'vault']"
    assert vault == shelf == "[('Vault', True, 1), ('Vault', True, 2)]"
    available = "available: 'broken', 'file', 'ray', 'S3', 'shelf', 'vault'; did you mean 'vault'?"
    assert errors[0] == f"no store of kind 'vaul'; {available}"
    assert errors[1] == f"cannot open 'vaul:x': no store of kind 'vaul'; {available}"
    assert errors[2].startswith("stores of kind 'broken' cannot be used: 'vaults:absent' failed to load: ")
