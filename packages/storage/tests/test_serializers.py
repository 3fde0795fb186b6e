"""Serializers, and the blobs that they keep beside the records."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from functionfuse.errors import CorruptRecord, MissingSerializer, OptionError, StorageError
from functionfuse.storage import FileStore, Serializer
from functionfuse.storage._store.lookup import Records


class Text:
    def __init__(self, text):
        self.text = text


class LongText(Text):
    pass


class TextSerializer(Serializer):
    name = "text"
    version = 1
    types = (Text,)

    def save(self, obj, out):
        return obj.text.upper()

    def load(self, state, inp, version):
        return Text(f"{state} v{version}")


def test_an_object_comes_back_through_its_serializer(store):
    store.register_persistent_serializers(TextSerializer())
    store.save("w", "a", {"deep": [Text("x")]})
    assert store.read_task("w", "a")["deep"][0].text == "X v1"
    assert store.info("w", "a")["serializers"] == {"text": 1}


def test_an_object_used_twice_is_saved_once(blob_store, blobby, files):
    shared = blobby(b"data")
    blob_store.save("w", "a", [shared, {"again": shared}])
    first, second = blob_store.read_task("w", "a")
    assert first is second["again"]
    assert len(files.blobs("w")) == 1


def test_a_newer_serializer_learns_the_version_that_saved(store):
    class Newer(TextSerializer):
        version = 2

    store.register_persistent_serializers(TextSerializer())
    store.save("w", "old", Text("x"))
    store.register_persistent_serializers(Newer())
    store.save("w", "new", Text("x"))
    assert [store.read_task("w", name).text for name in ("old", "new")] == ["X v1", "X v2"]


def test_subclasses_are_left_alone_unless_asked_for(store):
    store.register_persistent_serializers(TextSerializer())
    store.save("w", "a", LongText("x"))
    assert store.read_task("w", "a").text == "x"

    class WithSubclasses(TextSerializer):
        subclasses = True

    store.register_persistent_serializers(WithSubclasses())
    store.save("w", "a", LongText("x"))
    assert store.read_task("w", "a").text == "X v1"


def test_types_may_be_given_by_name(store):
    class ByName(TextSerializer):
        types = (f"{Text.__module__}.{Text.__qualname__}",)

    store.register_persistent_serializers(ByName())
    store.save("w", "a", Text("x"))
    assert store.read_task("w", "a").text == "X v1"


def test_a_class_with_static_methods_is_a_serializer(store):
    class Static:
        name, version, types = "static", 1, (Text,)

        @staticmethod
        def save(obj, out):
            return obj.text

        @staticmethod
        def load(state, inp, version):
            return Text(state)

    store.register_persistent_serializers(Static)
    store.save("w", "a", Text("x"))
    assert store.read_task("w", "a").text == "x"


def test_buffers_in_a_state_become_segments(store):
    class Buffers(TextSerializer):
        def save(self, obj, out):
            return pickle.PickleBuffer(obj.text)

        def load(self, state, inp, version):
            return Text(bytes(state))

    store.register_persistent_serializers(Buffers())
    store.save("w", "a", Text(b"b" * 100_000))
    assert store.read_task("w", "a").text == b"b" * 100_000
    assert len(store.info("w", "a")["segs"]) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "'name'"),
        ({"version": 0}, "'version'"),
        ({"types": ()}, "'types'"),
        ({"load": None}, "'load'"),
    ],
)
def test_what_is_no_serializer(store, change, message):
    with pytest.raises(OptionError, match=message):
        store.register_persistent_serializers(type("Broken", (TextSerializer,), change)())


def test_a_missing_serializer_is_named_before_anything_is_loaded(store, root):
    store.register_persistent_serializers(TextSerializer())
    store.save("w", "a", Text("x"))
    with pytest.raises(MissingSerializer, match=r"'text', registered are: none; pass it to store\.register"):
        FileStore(root).read_task("w", "a")


def test_no_serializer_is_needed_to_list_and_remove(blob_store, blobby, root, files):
    blob_store.save("w", "a", blobby(b"data"))
    other = FileStore(root)
    assert other.list_tasks("w") == ["a"]
    assert other.has_task("w", "a")
    assert other.info("w", "a")["serializers"] == {"blobby": 2}
    assert other.check_workflow("w") == []
    assert other.remove_task("w", "a") == ["a"]
    assert files.blobs("w") == []


def test_a_pickled_store_keeps_its_serializers(store):
    store.register_persistent_serializers(TextSerializer())
    store.save("w", "a", Text("x"))
    assert pickle.loads(pickle.dumps(store)).read_task("w", "a").text == "X v1"


def test_a_serialized_pickle_outside_of_a_store_is_explained(store, files):
    store.register_persistent_serializers(TextSerializer())
    store.save("w", "a", Text("x"))
    start, length, _ = store.info("w", "a")["segs"][0]
    data = files.record("w", "a").read_bytes()[start : start + length]
    with pytest.raises(StorageError, match=r"read it with store\.read_task"):
        pickle.loads(data)


def test_blobs_are_listed_with_their_sizes(blob_store, blobby, files):
    info = blob_store.save("w", "a", [blobby(b"12345"), blobby(b"")])
    assert sorted(blob["id"] for blob in info["blobs"]) == files.blobs("w")
    assert [blob["size"] for blob in info["blobs"]] == [5, 0]
    assert all(blob["id"].endswith(".bin") for blob in info["blobs"])


def test_a_blob_may_be_a_folder(store, files):
    class Folder(TextSerializer):
        def save(self, obj, out):
            blob, path = out.new(".zarr")
            Path(path, "deep").mkdir(parents=True)
            Path(path, "deep", "data").write_text(obj.text)
            return blob

        def load(self, state, inp, version):
            return Text(Path(inp.path(state), "deep", "data").read_text())

    durable = FileStore(store.path)
    durable.register_persistent_serializers(Folder())
    info = durable.save("w", "a", Text("12345"))
    assert info["blobs"][0]["size"] == 5
    assert durable.read_task("w", "a").text == "12345"
    durable.remove_task("w", "a")
    assert files.blobs("w") == []


def test_an_overwrite_removes_the_old_blobs(blob_store, blobby, files):
    blob_store.save("w", "a", blobby(b"old"))
    blob_store.save("w", "a", blobby(b"new"))
    assert blob_store.read_task("w", "a").content == b"new"
    assert len(files.blobs("w")) == 1
    blob_store.save("w", "a", "no blob at all")
    assert files.blobs("w") == []


def test_a_failed_save_leaves_no_blobs(blob_store, blobby, files):
    blob_store.save("w", "a", blobby(b"old"))
    before = files.all()
    with pytest.raises(TypeError):
        blob_store.save("w", "a", [blobby(b"new"), (n for n in ())])
    assert files.all() == before
    assert blob_store.read_task("w", "a").content == b"old"


def test_a_lost_race_leaves_no_blobs(blob_store, blobby, files, monkeypatch):
    uid = blob_store.save("w", "a", blobby(b"first"))["uid"]
    before = files.all()
    look, found = Records.replaced_by, iter([None])
    monkeypatch.setattr(Records, "replaced_by", lambda *names: next(found, look(*names)))
    # The first look comes too early.
    with pytest.raises(FileExistsError):
        blob_store.save("w", "a", blobby(b"second"), create=True)
    assert files.all() == before
    assert blob_store.info("w", "a")["uid"] == uid


def test_a_blob_that_was_never_written(store):
    class Forgetful(TextSerializer):
        def save(self, obj, out):
            return out.new(".bin")[0]

    store.register_persistent_serializers(Forgetful())
    with pytest.raises(StorageError, match="did not write it"):
        store.save("w", "a", Text("x"))
    assert store.list_tasks("w") == []


@pytest.mark.parametrize("suffix", ["/../x", "bin", "..", ". "])
def test_a_suffix_that_could_lead_elsewhere(store, suffix):
    class Nasty(TextSerializer):
        def save(self, obj, out):
            return out.new(suffix)[0]

    store.register_persistent_serializers(Nasty())
    with pytest.raises(OptionError, match="suffix"):
        store.save("w", "a", Text("x"))


@pytest.mark.parametrize("blob", ["../../x", "/etc/passwd", "", "0" * 32 + "/x"])
def test_an_id_that_leads_elsewhere(store, blob):
    class Nasty(TextSerializer):
        def load(self, state, inp, version):
            return inp.path(blob)

    store.register_persistent_serializers(Nasty())
    store.save("w", "a", Text("x"))
    with pytest.raises(CorruptRecord, match="not the id of a blob"):
        store.read_task("w", "a")


def test_a_missing_blob(blob_store, blobby, files):
    blob = blob_store.save("w", "a", blobby(b"data"))["blobs"][0]["id"]
    (files.root / "w" / ".big" / blob).unlink()
    with pytest.raises(CorruptRecord, match=f"{blob}' is missing"):
        blob_store.read_task("w", "a")


def test_a_record_replaced_while_it_is_read_is_read_again(blob_store, blobby, blobby_serializer):
    class Overtaken(type(blobby_serializer)):
        loads = 0

        def load(self, state, inp, version):
            self.loads += 1
            if self.loads == 1:
                blob_store.save("w", "a", blobby(b"new"))
            return super().load(state, inp, version)

    overtaken = Overtaken()
    blob_store.save("w", "a", blobby(b"old"))
    blob_store.register_persistent_serializers(overtaken)
    assert blob_store.read_task("w", "a").content == b"new"
    assert overtaken.loads == 2


def test_a_record_replaced_by_a_repeated_save_is_read_again(blob_store, blobby, blobby_serializer):
    class Overtaken(type(blobby_serializer)):
        loads = 0

        def load(self, state, inp, version):
            self.loads += 1
            if self.loads < 3:
                blob_store.save("w", "a", blobby(b"again"), uid="same")
            return super().load(state, inp, version)

    blob_store.save("w", "a", blobby(b"first"), uid="same")
    blob_store.register_persistent_serializers(Overtaken())
    assert blob_store.read_task("w", "a").content == b"again"


def test_a_record_that_is_replaced_again_and_again(blob_store, blobby, blobby_serializer):
    class Restless(type(blobby_serializer)):
        def load(self, state, inp, version):
            blob_store.save("w", "a", blobby(b"newer"))
            return super().load(state, inp, version)

    blob_store.save("w", "a", blobby(b"old"))
    blob_store.register_persistent_serializers(Restless())
    with pytest.raises(StorageError, match="replaced faster than read"):
        blob_store.read_task("w", "a")


def test_other_errors_of_a_serializer_pass_through(blob_store, blobby, blobby_serializer):
    class Broken(type(blobby_serializer)):
        def load(self, state, inp, version):
            raise FileNotFoundError("a file of its own")

    blob_store.save("w", "a", blobby(b"data"))
    blob_store.register_persistent_serializers(Broken())
    with pytest.raises(FileNotFoundError, match="a file of its own"):
        blob_store.read_task("w", "a")
