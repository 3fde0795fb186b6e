"""The arguments of a call as they were given, for a further attempt."""

from __future__ import annotations

import pickle
import threading

import pytest

from functionfuse import workflow
from functionfuse.backends import attempts
from functionfuse.backends.attempts import NotAsGiven, Snapshot
from functionfuse.backends.calls import Call
from functionfuse.backends.options import Retry
from functionfuse.backends.performing import perform


class Array:
    """Gives its buffer to the pickler, as arrays do."""

    def __init__(self, buffer):
        self.buffer = buffer

    def __reduce_ex__(self, protocol):
        return Array, (pickle.PickleBuffer(self.buffer),)


def snapshot_of(*args, instance=None, **kwargs):
    return Snapshot(instance, args, kwargs)


def test_constants_stay_as_they_are():
    assert snapshot_of(1, "text", key=None).restored() == (None, (1, "text"), {"key": None})


def test_what_arguments_share_stays_shared():
    shared = [1]
    snapshot = snapshot_of(shared, {"k": shared}, instance={"own": shared}, key=(shared,))
    shared.append(2)
    for _ in range(2):
        instance, (given, nested), kwargs = snapshot.restored()
        assert given == [1]
        assert nested["k"] is given
        assert kwargs["key"][0] is given
        assert instance["own"] is given
        given.append(3)


def test_functions_and_classes_are_not_copied():
    class Local:
        pass

    def local():
        return Local

    args = snapshot_of([local, Local, print, threading], Local()).restored()[1]
    assert args[0] == [local, Local, print, threading]
    assert type(args[1]) is Local


def test_a_small_buffer_is_copied():
    array = Array(bytearray(b"given"))
    snapshot = snapshot_of(array)
    array.buffer[:] = b"wrong"
    for _ in range(2):
        _, (restored,), _ = snapshot.restored()
        assert restored.buffer == b"given"
        restored.buffer[:1] = b"x"


def test_a_large_buffer_is_neither_copied_nor_changed_unnoticed(monkeypatch):
    monkeypatch.setattr(attempts, "_COPIED", 4)
    array = Array(bytearray(b"given"))
    snapshot = snapshot_of(1, key=array)
    assert snapshot.restored()[2]["key"].buffer.obj is array.buffer
    array.buffer[:1] = b"x"
    with pytest.raises(NotAsGiven, match="argument 'key', a large array, was changed by the attempt that failed"):
        snapshot.restored()


def test_a_buffer_that_cannot_be_changed_is_not_copied():
    array = Array(b"given")
    assert snapshot_of(array).restored()[1][0].buffer.obj is array.buffer


def test_what_cannot_be_copied_is_not_tried_again():
    tries = []

    @workflow
    def takes(lock):
        tries.append(lock)
        raise ConnectionError("lost")

    outcome = perform(Call(takes, (threading.Lock(),), {}, retry=Retry(3)))
    assert len(tries) == outcome.attempts == 1
    (note,) = outcome.error.__notes__
    assert note.startswith("not tried again: argument 0 (lock) may be changed by the attempt that failed")
    assert perform(Call(takes, (threading.Lock(),), {}, retry=Retry(3, exceptions=(KeyError,)))).attempts == 1
