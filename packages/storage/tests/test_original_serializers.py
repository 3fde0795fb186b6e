"""Serializers in the form of the original Function Fuse."""

from __future__ import annotations

import pickle
import posixpath

import pytest

from functionfuse.errors import MissingSerializer, OptionError, StorageError
from functionfuse.serializers import FILE_PROTOCOL, S3_PROTOCOL
from functionfuse.serializers.base import generate_name
from functionfuse.storage import FileStore


class Curve:
    def __init__(self, points):
        self.points = points


class CurveSerializer:
    """As the original's are: a class of class methods, that writes a file under a name it makes up."""

    name = "curves"
    serializer_class = Curve

    @classmethod
    def pickle(cls, obj, protocols):
        filename = generate_name()
        with protocols[FILE_PROTOCOL].open(filename, "wb") as file:
            file.write(bytes(obj.points))
        return cls.name, ("0.0.0", filename)

    @classmethod
    def unpickle(cls, pid, protocols):
        version, filename = pid
        assert version == "0.0.0"
        with protocols[FILE_PROTOCOL].open(filename, "rb") as file:
            return Curve(list(file.read()))

    @classmethod
    def remove(cls, pid, protocols):
        raise AssertionError("the store removes blobs itself")


@pytest.fixture
def store(store):
    store.register_persistent_serializers(CurveSerializer)
    return store


def test_an_object_comes_back(store, files):
    info = store.save("w", "a", {"deep": [Curve([1, 2, 3])]})
    assert store.read_task("w", "a")["deep"][0].points == [1, 2, 3]
    assert info["serializers"] == {"curves": 1}
    assert [blob["size"] for blob in info["blobs"]] == [3]
    assert store.check_workflow("w") == []


def test_an_object_used_twice_is_one_file(store, files):
    curve = Curve([1])
    store.save("w", "a", [curve, curve])
    first, second = store.read_task("w", "a")
    assert first is second
    assert len(files.blobs("w")) == 1


def test_its_files_go_with_the_result(store, files):
    store.save("w", "a", Curve([1]))
    store.save("w", "a", Curve([2]))
    assert len(files.blobs("w")) == 1
    assert store.gc("w", grace=0) == []
    store.remove_task("w", "a")
    assert files.blobs("w") == []


def test_a_failing_pickle_leaves_nothing(store, files):
    class Failing(CurveSerializer):
        @classmethod
        def pickle(cls, obj, protocols):
            super().pickle(obj, protocols)
            raise ZeroDivisionError

    store.save("w", "a", Curve([1]))
    before = files.all()
    store.register_persistent_serializers(Failing)
    with pytest.raises(ZeroDivisionError):
        store.save("w", "a", Curve([2]))
    assert files.all() == before


def test_a_serializer_may_take_a_file_back(store, files):
    class Hesitant(CurveSerializer):
        @classmethod
        def pickle(cls, obj, protocols):
            _, pid = super().pickle(obj, protocols)
            protocols[FILE_PROTOCOL].remove(pid[1])
            return cls.name, pid

    store.register_persistent_serializers(Hesitant)
    assert store.save("w", "a", Curve([1]))["blobs"][0]["size"] == 0


def test_a_pickled_store_keeps_it(store):
    store.save("w", "a", Curve([1]))
    assert pickle.loads(pickle.dumps(store)).read_task("w", "a").points == [1]


def test_it_must_be_registered_to_load(store, root):
    store.save("w", "a", Curve([1]))
    with pytest.raises(MissingSerializer, match="'curves'"):
        FileStore(root).read_task("w", "a")


@pytest.mark.parametrize(("name", "mode", "message"), [("other", "rb", "no file 'other'"), (None, "wb", "not 'wb'")])
def test_a_file_that_was_not_saved(store, name, mode, message):
    class Confused(CurveSerializer):
        @classmethod
        def unpickle(cls, pid, protocols):
            protocols[FILE_PROTOCOL].open(name or pid[1], mode)

    store.save("w", "a", Curve([1]))
    store.register_persistent_serializers(Confused)
    with pytest.raises(StorageError, match=message):
        store.read_task("w", "a")


def test_without_methods_it_is_none(store):
    with pytest.raises(OptionError, match="needs 'name'"):
        store.register_persistent_serializers(type("Half", (), {"serializer_class": Curve}))


def test_other_stores_have_no_files_for_it():
    from functionfuse.storage._serialize.original import OriginalSerializer

    class Elsewhere:
        kind = "S3"

    with pytest.raises(StorageError, match="'file', not 'S3'"):
        OriginalSerializer(CurveSerializer).save(Curve([1]), Elsewhere())


class S3CurveSerializer:
    """As the original's for S3: the methods of s3fs, on paths in the folder of the protocol."""

    name = "curves"
    serializer_class = Curve
    whole = False

    @classmethod
    def pickle(cls, obj, protocols):
        s3 = protocols[S3_PROTOCOL]
        path = posixpath.join(s3["folder"], "curves", generate_name())
        if cls.whole:
            s3["client"].pipe(path, bytes(obj.points))
        else:
            with s3["client"].open(path, "wb") as file:
                file.write(bytes(obj.points))
        assert s3["client"].exists(path)
        return cls.name, ("0.0.0", path)

    @classmethod
    def unpickle(cls, pid, protocols):
        s3 = protocols[S3_PROTOCOL]
        assert not s3["client"].exists("other")
        if cls.whole:
            return Curve(list(s3["client"].cat(pid[1])))
        with s3["client"].open(pid[1], "rb") as file:
            return Curve(list(file.read()))


class WholeCurveSerializer(S3CurveSerializer):
    whole = True


@pytest.mark.parametrize("serializer", [CurveSerializer, S3CurveSerializer, WholeCurveSerializer])
def test_in_a_bucket(s3_store, objects, serializer):
    s3_store.register_persistent_serializers(serializer)
    s3_store.save("w", "a", {"deep": [Curve([1, 2, 3])]})
    assert s3_store.read_task("w", "a")["deep"][0].points == [1, 2, 3]
    assert len(objects.blobs("w")) == 1
    s3_store.remove_task("w", "a")
    assert objects.blobs("w") == []


def test_files_are_no_bucket(store):
    store.register_persistent_serializers(S3CurveSerializer)
    with pytest.raises(KeyError, match=S3_PROTOCOL):
        store.save("w", "a", Curve([1]))


def test_what_s3fs_has_and_files_of_a_record_do_not(s3_store):
    class Listing(S3CurveSerializer):
        @classmethod
        def pickle(cls, obj, protocols):
            protocols[S3_PROTOCOL]["client"].ls("")

    s3_store.register_persistent_serializers(Listing)
    with pytest.raises(StorageError, match="'ls' is not what serializers may do with files; they have cat, cat_file"):
        s3_store.save("w", "a", Curve([1]))
