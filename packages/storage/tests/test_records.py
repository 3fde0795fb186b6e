"""What is in a record, and what becomes of records that were damaged."""

from __future__ import annotations

import json
import platform
import random
import struct
import subprocess
import sys
import zlib
from multiprocessing.managers import SharedMemoryManager

import pytest

from functionfuse.errors import (
    BadSignature,
    CorruptRecord,
    OptionError,
    StorageError,
    TaskNotFound,
    UnsupportedRecord,
)
from functionfuse.storage import FileStore
from functionfuse.storage._record import format as record_format

VALUE = {"text": "hello" * 200, "buffer": bytearray(range(256)) * 300}


def rewrite(path, data):
    path.write_bytes(data)


@pytest.fixture
def record(store, files):
    store.save("w", "a", VALUE, recipe={"code": "1"})
    return files.record("w", "a")


def test_the_parts_of_a_record(record, store):
    data = record.read_bytes()
    assert data[:16] == b"\x89FFR\r\n\x1a\n" + struct.pack("<HHI", 1, 1, 0)
    offset, length, size, *_, end = struct.unpack("<QQQII32s8s", data[-72:])
    assert (size, end) == (len(data), b"FFRend\r\n")
    assert offset + length + 72 == size
    assert json.loads(data[offset : offset + length]) == store.info("w", "a")


def test_the_footer(record, store):
    info = store.info("w", "a")
    assert {key: info[key] for key in ("name", "workflow", "recipe", "meta", "blobs", "serializers")} == {
        "name": "a",
        "workflow": "w",
        "recipe": {"code": "1"},
        "meta": {},
        "blobs": [],
        "serializers": {},
    }
    assert (info["python"], info["byteorder"]) == (platform.python_version(), sys.byteorder)
    assert info["packages"]["cloudpickle"]
    assert (info["block"], info["by_value"]) == (8388608, [])
    assert "sha256" not in info


def test_large_buffers_are_aligned_segments_with_checksums(store, files):
    value = [bytearray(b"a" * 65536), bytearray(b"b" * 65535), bytearray(8388608 + 5)]
    store.save("w", "a", value)
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    arrays = [np.full(8192 * 8, 7, "u1"), np.zeros(8388608 + 5, "u1"), np.zeros(10)]
    store.save("w", "b", arrays)
    data = files.record("w", "b").read_bytes()
    pickled, first, second = store.info("w", "b")["segs"]
    assert pickled[0] == 16
    assert [first[0] % 64, second[0] % 64] == [0, 0]
    assert first[1:] == [65536, [zlib.crc32(b"\7" * 65536)]]
    assert second[1:] == [8388613, [zlib.crc32(bytes(8388608)), zlib.crc32(bytes(5))]]
    assert data[first[0] : first[0] + first[1]] == b"\7" * 65536


def test_a_long_pickle_has_a_checksum_for_each_block(store, files):
    store.save("w", "a", [b"x" * 5_000_000] + [b"y" * 5_000_000] * 2 + [b"z" * 9_000_000])
    ((start, length, crcs),) = store.info("w", "a")["segs"]
    data = files.record("w", "a").read_bytes()[start : start + length]
    assert crcs == [zlib.crc32(data[at : at + 8388608]) for at in range(0, length, 8388608)]
    assert len(store.read_task("w", "a")[3]) == 9_000_000


def test_a_footer_longer_than_what_is_read_first(store):
    meta = {"notes": ["x" * 1000] * 50}
    store.save("w", "a", 1, meta=meta)
    assert store.info("w", "a")["meta"] == meta
    assert store.read_task("w", "a") == 1


def test_code_of_main_is_kept_by_value(root, store):
    script = (
        "import sys; from functionfuse.storage import FileStore\n"
        "class Model:\n"
        "    def predict(self, x): return 3 * x\n"
        "FileStore(sys.argv[1], durable=False).save('w', 'model', Model())"
    )
    subprocess.run([sys.executable, "-c", script, str(root)], check=True)
    assert store.read_task("w", "model").predict(4) == 12
    assert "__main__.Model" in store.info("w", "model")["by_value"]
    assert store.info("w", "model")["type"] == "__main__.Model"


SCRIPT = """
import abc, dataclasses, enum, sys
from functionfuse import workflow
from functionfuse.storage import FileStore

store = FileStore(sys.argv[1], durable=False)

class Mode(enum.Flag):
    FAST = 1
    EXACT = 2

class Base(abc.ABC):
    __slots__ = ("x",)
    factor = int(sys.argv[2])

    def __init__(self, x):
        self.x = x

    def scaled(self):
        return type(self), Base, self.x * self.factor

class Derived(Base):
    @dataclasses.dataclass(frozen=True)
    class Part:
        y: int = 1

@workflow
class Counter:
    def __init__(self):
        self.n = 1

values = [Mode.EXACT, Derived(3), Derived.Part(), Derived, Counter]
if sys.argv[2] == "2":
    store.save("w", "values", values)
else:
    mode, derived, part, cls, decorated = store.read_task("w", "values")
    print(mode is Mode.EXACT, isinstance(derived, Base), derived.scaled() == (Derived, Base, 30), part == values[2])
    print(cls is Derived, decorated is Counter, Base.factor)
"""


def test_a_script_reads_objects_of_its_own_classes(root):
    for factor in ("2", "10"):
        command = [sys.executable, "-c", SCRIPT, str(root), factor]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True"] * 6 + ["10"]


def test_a_missing_class_is_explained(store, monkeypatch):
    module = type(sys)("ff_test_gone")
    module.Model = type("Model", (), {"__module__": "ff_test_gone"})
    monkeypatch.setitem(sys.modules, "ff_test_gone", module)
    store.save("w", "a", module.Model())
    monkeypatch.delitem(sys.modules, "ff_test_gone")
    with pytest.raises(ModuleNotFoundError, match="ff_test_gone") as caught:
        store.read_task("w", "a")
    assert any("'a' of workflow 'w'" in note and "Python 3" in note for note in caught.value.__notes__)


def test_what_cannot_be_pickled_says_which_result(store):
    with pytest.raises(TypeError, match="pickle") as caught:
        store.save("w", "a", (n for n in ()))
    assert caught.value.__notes__ == ["while pickling result 'a' of workflow 'w'"]


def test_a_handle_to_what_a_process_has_is_refused(store):
    with SharedMemoryManager() as manager:
        memory = manager.SharedMemory(8)
        with pytest.raises(TypeError, match=r"SharedMemory is a handle to what a running process has") as caught:
            store.save("w", "a", {"data": memory})
        memory.close()
    assert caught.value.__notes__ == ["while pickling result 'a' of workflow 'w'"]
    assert not store.has_task("w", "a")


@pytest.mark.parametrize(
    "options",
    [{"recipe": {"a": 1}}, {"recipe": {1: "a"}}, {"meta": {"a": object()}}, {"meta": {"a": {1, 2}}}],
)
def test_what_the_footer_cannot_hold(store, files, options):
    store.save("w", "a", "old")
    with pytest.raises(OptionError, match=r"recipe|meta"):
        store.save("w", "a", "new", **options)
    assert store.read_task("w", "a") == "old"
    assert files.drafts("w") == []


def test_every_truncation_is_noticed(record, store):
    data = record.read_bytes()
    pick = random.Random(4)
    lengths = [
        *range(400),
        *(pick.randrange(len(data)) for _ in range(150)),
        *range(len(data) - 200, len(data)),
    ]
    for length in lengths:
        rewrite(record, data[:length])
        with pytest.raises(CorruptRecord, match=r"a\.ffr"):
            store.read_task("w", "a")
        with pytest.raises(CorruptRecord):
            store.info("w", "a")
        assert not store.has_task("w", "a")


def test_bytes_that_were_added_are_noticed(record, store):
    data = record.read_bytes()
    for more in (b"\0", b"x" * 100, data, data[-72:]):
        rewrite(record, data + more)
        with pytest.raises(CorruptRecord):
            store.read_task("w", "a")


def test_every_damaged_byte_of_footer_and_ends_is_noticed(record, store):
    data = record.read_bytes()
    footer = struct.unpack("<Q", data[-72:-64])[0]
    for at in [*range(16), *range(footer, len(data))]:
        for mask in (0x01, 0x80, 0xFF):
            rewrite(record, data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :])
            with pytest.raises((CorruptRecord, UnsupportedRecord)):
                store.read_task("w", "a")


def test_every_damaged_byte_of_the_content_is_noticed(record, store):
    data = record.read_bytes()
    segments = store.info("w", "a")["segs"]
    inside = {at for start, length, _ in segments for at in range(start, start + length)}
    pick = random.Random(5)
    for at in pick.sample(sorted(inside), 400):
        rewrite(record, data[:at] + bytes([data[at] ^ 1 << pick.randrange(8)]) + data[at + 1 :])
        with pytest.raises(CorruptRecord, match="checksum mismatch in segment"):
            store.read_task("w", "a")


def test_a_damaged_block_in_the_middle_is_named(store, files):
    store.save("w", "a", bytes(60_000_000))
    record = files.record("w", "a")
    with record.open("r+b") as file:
        file.seek(41_000_000)
        file.write(b"\1")
    with pytest.raises(CorruptRecord, match=r"segment 0 at byte 33554448"):
        store.read_task("w", "a")
    assert store.read_task("w", "a", check=False)[41_000_000 - 40 : 41_000_000].count(0) >= 39


@pytest.mark.parametrize("content", [b"", b"\0" * 5000, b"x" * 100, b'{"json": 1}'])
def test_files_that_are_no_records(store, files, content):
    store.new_workflow("w")
    rewrite(files.record("w", "a"), content)
    with pytest.raises(CorruptRecord):
        store.read_task("w", "a")
    assert not store.has_task("w", "a")
    assert store.list_tasks("w") == ["a"]
    assert store.remove_task("w", "a") == ["a"]
    with pytest.raises(TaskNotFound):
        store.read_task("w", "a")


def test_a_sound_footer_with_strange_content(record, store):
    data = record.read_bytes()
    for body in (b"[]", b"{}", b"not json", b"\xff\xfe", b'{"name":"a"}', b"[" * 20_000):
        blank = struct.pack("<QQQII32s8s", 16, len(body), 16 + len(body) + 72, 0, 0x10100, bytes(32), b"FFRend\r\n")
        crc = zlib.crc32(blank, zlib.crc32(body, zlib.crc32(data[:16])))
        rewrite(record, data[:16] + body + blank[:24] + struct.pack("<I", crc) + blank[28:])
        with pytest.raises(CorruptRecord, match="footer"):
            store.read_task("w", "a")


def test_a_record_of_a_newer_release(store, files, monkeypatch):
    monkeypatch.setattr(record_format, "VERSION", 3)
    monkeypatch.setattr(record_format, "OLDEST", 2)
    monkeypatch.setattr(record_format.pack_prefix, "__defaults__", (3, 2))
    store.save("w", "a", "from the future")
    monkeypatch.undo()
    for ask in (store.read_task, store.info, store.has_task):
        with pytest.raises(UnsupportedRecord, match="format 3 is newer"):
            ask("w", "a")
    with pytest.raises(UnsupportedRecord):
        store.save("w", "a", "from the past")
    assert [name for name, _ in store.check_workflow("w")] == ["a"]
    assert store.remove_task("w", "a") == ["a"]


class TestSigned:
    """Test 25 of the design: swapped, downgraded, tampered."""

    @pytest.fixture
    def signed(self, root, monkeypatch):
        monkeypatch.setenv("FF_TEST_KEY", "k" * 32)
        store = FileStore(root, durable=False, sign_key="env:FF_TEST_KEY")
        store.save("w", "a", VALUE)
        return store

    def test_it_is_read_with_and_without_the_key(self, signed, store):
        assert signed.read_task("w", "a") == store.read_task("w", "a") == VALUE
        assert len(signed.info("w", "a")["sha256"]) == 64

    def test_unsigned_results_are_refused(self, signed, store):
        store.save("w", "b", 1)
        for ask in (signed.read_task, signed.info):
            with pytest.raises(BadSignature, match="not signed"):
                ask("w", "b")
        assert not signed.has_task("w", "b")

    def test_another_key_is_refused(self, signed, monkeypatch):
        monkeypatch.setenv("FF_TEST_KEY", "j" * 32)
        with pytest.raises(BadSignature, match="not signed with this store's key"):
            signed.read_task("w", "a")

    def test_a_swapped_record_is_refused(self, signed, files):
        signed.new_workflow("v")
        for workflow, name in (("w", "b"), ("v", "a")):
            rewrite(files.record(workflow, name), files.record("w", "a").read_bytes())
            with pytest.raises(TaskNotFound, match="holds 'a' of workflow 'w'"):
                signed.read_task(workflow, name)

    def test_a_downgraded_record_is_refused(self, signed, files):
        record = files.record("w", "a")
        data = record.read_bytes()
        offset, length, size, *_ = struct.unpack("<QQQII32s8s", data[-72:])
        blank = struct.pack("<QQQII32s8s", offset, length, size, 0, 0x10100, bytes(32), b"FFRend\r\n")
        crc = zlib.crc32(blank, zlib.crc32(data[offset : offset + length], zlib.crc32(data[:16])))
        rewrite(record, data[:-72] + blank[:24] + struct.pack("<I", crc) + blank[28:])
        assert FileStore(files.root).read_task("w", "a") == VALUE
        with pytest.raises(BadSignature):
            signed.read_task("w", "a")

    @pytest.mark.parametrize("check", [True, False])
    def test_tampered_content_is_refused(self, signed, files, check):
        record = files.record("w", "a")
        data = record.read_bytes()
        rewrite(record, data[:500] + bytes([data[500] ^ 1]) + data[501:])
        with pytest.raises(BadSignature, match="content is not what was signed"):
            signed.read_task("w", "a", check=check)

    def test_create_replaces_what_is_not_signed(self, signed, store):
        store.save("w", "b", "forged")
        signed.save("w", "b", "own", create=True)
        assert signed.read_task("w", "b") == "own"

    def test_large_signed_results_are_not_mapped(self, signed):
        np = pytest.importorskip("numpy", reason="numpy is not installed")
        signed.save("w", "b", np.ones(1_000_000))
        loaded = signed.read_task("w", "b")
        loaded[:] = 2.0
        assert signed.read_task("w", "b").sum() == 1_000_000

    def test_a_key_in_a_file(self, root, tmp_path):
        key = tmp_path / "key"
        key.write_bytes(b"f" * 32 + b"\n")
        store = FileStore(root, sign_key=f"file:{key}")
        store.save("w", "a", 1)
        assert FileStore(root, sign_key=f"file:{key}").read_task("w", "a") == 1

    def test_keys_that_are_missing_or_short(self, root, tmp_path, monkeypatch):
        monkeypatch.setenv("FF_TEST_SHORT", "k" * 31)
        for reference, message in (
            ("env:FF_TEST_NONE", "'FF_TEST_NONE' is not set"),
            ("env:FF_TEST_SHORT", "has 31 bytes, 32 are needed"),
            (f"file:{tmp_path / 'none'}", "cannot read"),
        ):
            with pytest.raises(StorageError, match=message):
                FileStore(root, sign_key=reference)
