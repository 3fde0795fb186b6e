"""Large results are mapped: nothing leaks, nothing is written back."""

from __future__ import annotations

import gc
import os
import pickle
import sys
from pathlib import Path

import pytest

from functionfuse.storage import FileStore
from functionfuse.storage._file import transport
from functionfuse.storage._file.root import is_on_network

np = pytest.importorskip("numpy", reason="numpy is not installed")
LINUX = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts the descriptors in /proc")


def descriptors(store):
    """How many this process has of files of a store."""
    opened = [os.path.realpath(descriptor) for descriptor in Path("/proc/self/fd").iterdir()]
    return len([path for path in opened if path.startswith(os.path.realpath(store.path))])


def test_writing_to_a_loaded_array_leaves_the_file(store, files):
    store.save("w", "a", np.ones(1_000_000))
    before = files.record("w", "a").read_bytes()
    loaded = store.read_task("w", "a")
    loaded[:] = 7.0
    assert files.record("w", "a").read_bytes() == before
    assert store.read_task("w", "a")[0] == 1.0


def test_a_mapped_array_survives_removal_and_overwriting(store):
    store.save("w", "a", np.ones(1_000_000))
    loaded = store.read_task("w", "a")
    store.save("w", "a", np.zeros(1_000_000))
    store.remove_workflow("w")
    assert loaded.sum() == 1_000_000


def test_a_mapped_array_can_be_saved_again(store):
    store.save("w", "a", np.arange(1_000_000))
    loaded = store.read_task("w", "a")
    store.save("w", "a", loaded)
    assert np.array_equal(store.read_task("w", "a"), loaded)
    assert np.array_equal(pickle.loads(pickle.dumps(loaded)), loaded)


@LINUX
def test_no_descriptor_is_left_open(store):
    store.save("w", "a", np.ones(200_000))
    store.read_task("w", "a")
    gc.collect()
    before = descriptors(store)
    for _ in range(50):
        store.save("w", "a", np.ones(200_000))
        store.read_task("w", "a")
        store.has_task("w", "b")
        store.remove_task("w", "a")
    gc.collect()
    assert descriptors(store) == before


@LINUX
def test_held_results_do_not_use_up_the_descriptors(store, monkeypatch):
    monkeypatch.setattr(transport, "MOST_MAPS", 5)
    gc.collect()
    store.save("w", "a", np.ones(200_000))
    before = descriptors(store)
    held = [store.read_task("w", "a") for _ in range(20)]
    assert descriptors(store) - before <= 5
    held[-1][:] = 2.0
    assert sum(array.sum() for array in held[:-1]) == 19 * 200_000


def test_what_is_mapped(root, monkeypatch):
    mapped = []

    def watch(descriptor, size):
        mapped.append(size)
        return real(descriptor, size)

    real = transport.map_file
    monkeypatch.setattr(transport, "map_file", watch)
    monkeypatch.setenv("FF_TEST_KEY", "k" * 32)
    value = np.ones(200_000)
    for options in ({"mmap": False}, {"sign_key": "env:FF_TEST_KEY"}, {}):
        store = FileStore(root, durable=False, **options)
        store.save("w", "small", value[:1000])
        store.save("w", "large", value)
        for name in ("small", "large"):
            store.read_task("w", name)[0] = 5.0
    assert len(mapped) == (0 if sys.platform == "win32" else 1)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("ext4", False), ("nfs4", True), ("cifs", True), ("fuse.sshfs", True), ("tmpfs", False)],
)
def test_network_file_systems_are_known_by_their_mounts(tmp_path, kind, expected):
    mounts = tmp_path / "mounts"
    store = tmp_path / "with space" / "store"
    escaped = str(tmp_path.resolve() / "with space").replace(" ", "\\040")
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver {escaped} {kind} rw 0 0\nother {escaped}2 nfs rw 0 0\n")
    assert is_on_network(str(store), mounts) == expected


def test_without_a_list_of_mounts_files_are_taken_as_local(tmp_path):
    assert not is_on_network(str(tmp_path), tmp_path / "none")
