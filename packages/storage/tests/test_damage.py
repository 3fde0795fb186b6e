"""Records whose bytes were changed, moved, lost or added, in any way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functionfuse.errors import StorageError
from functionfuse.storage import FileStore

np = pytest.importorskip("numpy", reason="numpy is not installed")

VALUE = {"text": "hello" * 200, "arrays": [np.arange(10_000), np.full(9000, 1.5)], "name": "Ä\ud800"}

PLACES = st.one_of(st.integers(0, 200), st.integers(-2000, -1), st.integers(0, 200_000))
CHUNKS = st.one_of(st.binary(max_size=20), st.integers(1, 9000).map(bytes))
EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), PLACES, CHUNKS),
        st.tuples(st.just("insert"), PLACES, CHUNKS),
        st.tuples(st.just("flip"), PLACES, st.integers(0, 7)),
        st.tuples(st.just("cut"), PLACES, st.integers(1, 3000)),
        st.tuples(st.just("copy"), PLACES, PLACES),
    ),
    min_size=1,
    max_size=4,
)


def edited(data, edits):
    for verb, place, what in edits:
        at = place % (len(data) + 1)
        if verb == "put":
            data = data[:at] + what + data[at + len(what) :]
        elif verb == "insert":
            data = data[:at] + what + data[at:]
        elif verb == "flip":
            data = data[:at] + bytes(byte ^ 1 << what for byte in data[at : at + 1]) + data[at + 1 :]
        elif verb == "cut":
            data = data[:at] + data[at + what :]
        else:
            data = data[:at] + data[what:][: len(data) - at]
    return data


def is_equal(loaded):
    arrays = zip(loaded["arrays"], VALUE["arrays"], strict=True)
    return all(np.array_equal(*pair) for pair in arrays) and {**loaded, "arrays": 0} == {**VALUE, "arrays": 0}


@pytest.mark.chaos
@pytest.mark.parametrize("signed", [False, True])
def test_damaged_bytes_are_an_error_or_do_not_matter(root, files, monkeypatch, effort, signed):
    monkeypatch.setenv("FF_TEST_KEY", "k" * 32)
    store = FileStore(root, durable=False, sign_key="env:FF_TEST_KEY" if signed else None)
    store.save("w", "b", "sound")
    store.save("w", "a", VALUE)
    sound = files.record("w", "a").read_bytes()

    @given(EDITS)
    def check(edits):
        files.record("w", "a").write_bytes(edited(sound, edits))
        problems = store.check_workflow("w")
        assert store.results("w")[1].problem == ""
        try:
            assert is_equal(store.read_task("w", "a"))  # the bytes between segments mean nothing
        except StorageError:
            assert [name for name, _ in problems] == ["a"]
        else:
            assert problems == []
            assert store.results("w")[0].problem == ""

    effort.fuzz(check)


@pytest.mark.chaos
def test_a_marker_with_damaged_bytes_is_an_error_or_does_not_matter(store, files, effort):
    marker = files.root / "ffstore.json"
    sound = marker.read_bytes()

    @given(EDITS)
    def check(edits):
        marker.write_bytes(edited(sound, edits))
        problem = ""
        try:
            assert FileStore(files.root).list_workflows() == []
        except StorageError as error:
            problem = str(error)
        assert problem == "" or str(files.root) in problem

    effort.fuzz(check)
