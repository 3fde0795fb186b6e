"""Results that recipes find, on a disk that somebody else changes."""

from __future__ import annotations

import os

import actors
import numpy as np
import pytest
from actors import Blobby

from functionfuse.errors import BadSignature, CorruptRecord, TaskNotFound
from functionfuse.storage import FileStore
from functionfuse.stores import objects_of


def save(store, name, value, digest, workflow="w"):
    store.save(workflow, name, value, recipe={"digest": digest})


def results(root):
    return sorted(path.name for path in (root / ".results").glob("*.ffr"))


def swap(one, other):
    content = one.read_bytes(), other.read_bytes()
    other.unlink(), one.unlink()
    one.write_bytes(content[1])
    other.write_bytes(content[0])


def test_a_result_and_its_name_are_one_file(store, root):
    save(store, "a", b"v" * 1_000_000, "d1")
    assert (root / "w" / "a.ffr").samefile(root / ".results" / "d1.ffr")
    store.link_results("other", {"b": "d1"})
    assert (root / "other" / "b.ffr").stat().st_size < 2000
    assert results(root)[0] == "d1.ffr"
    assert len(results(root)) == 2


def test_what_serializers_keep_beside_stays_with_the_last_name(store, root):
    dask = pytest.importorskip("dask.array", reason="dask is not installed")
    save(store, "a", dask.from_array(np.arange(1000), chunks=100), "d1")
    store.link_results("other", {"b": "d1"})
    save(store, "a", 2, "d2")
    store.gc("w", grace=0)
    store.remove_workflow("w")
    assert int(store.read_task("other", "b").sum().compute()) == 499500
    store.remove_workflow("other")
    assert results(root) == []
    assert list((root / ".results" / ".big").iterdir()) == []


def test_an_index_entry_that_is_missing_is_a_miss_and_saving_makes_it(store, root):
    save(store, "a", 1, "d1")
    (root / ".results" / "d1.ffr").unlink()
    assert store.find_results("w", {"a": "d1"}) == set()
    assert store.read_task("w", "a") == 1
    save(store, "a", 1, "d1")
    assert store.find_results("w", {"a": "d1"}) == {"a"}


def test_a_reference_to_a_result_that_is_gone_is_not_found(store, root):
    save(store, "a", 1, "d1")
    store.link_results("other", {"b": "d1"})
    (root / ".results" / "d1.ffr").unlink()
    with pytest.raises(TaskNotFound, match="result 'b' of workflow 'other' was removed under its other names"):
        store.read_task("other", "b")


@pytest.mark.parametrize("key", [None, "env:SIGNING_KEY"])
def test_results_that_were_swapped_are_noticed(root, monkeypatch, key):
    monkeypatch.setenv("SIGNING_KEY", "k" * 32)
    store = FileStore(root, durable=False, sign_key=key)
    save(store, "a", 1, "d1")
    save(store, "b", 2, "d2")
    store.link_results("other", {"c": "d1"})
    store.link_results("other", {"d": "d2"})
    swap(root / ".results" / "d1.ffr", root / ".results" / "d2.ffr")
    with pytest.raises(CorruptRecord, match="another recipe"):
        store.read_task("other", "c")
    with pytest.raises(CorruptRecord, match="another recipe"):
        store.result_info("w", "d1")
    assert "another recipe" in str(store.link_results("w", {"new": "d1"})["new"])
    swap(root / "other" / "c.ffr", root / "other" / "d.ffr")
    with pytest.raises(TaskNotFound, match="holds 'd'"):
        store.read_task("other", "c")


class Plain:
    pass


@pytest.mark.parametrize("value", [Plain(), Blobby, [results], {"module": actors}, lambda: 1])
def test_results_with_code_of_the_project_say_so(store, value):
    assert store.save("w", "a", value)["has_code"]


def test_results_without_code_of_the_project(store):
    for value in (1, np.ones(3), {"a": [np.float64, len]}, ValueError("x")):
        assert "has_code" not in store.save("w", "a", value)


def test_forged_equal_results_are_left_out(root, monkeypatch):
    monkeypatch.setenv("SIGNING_KEY", "k" * 32)
    store = FileStore(root, durable=False, sign_key="env:SIGNING_KEY")
    save(store, "a", 1, "d1")
    store.equate_results("w", "d1", "d0")
    (root / ".same" / "d1@d0.ffr").rename(root / ".same" / "d1@d7.ffr")
    (root / ".same" / "d2@d3.ffr").write_bytes(b"garbage")
    assert store.equal_results() == {}
    assert FileStore(root, durable=False).equal_results() == {"d1": "d7", "d2": "d3"}  # nothing is signed there


def test_a_result_without_a_signature_is_refused(root, monkeypatch):
    monkeypatch.setenv("SIGNING_KEY", "k" * 32)
    signed = FileStore(root, durable=False, sign_key="env:SIGNING_KEY")
    save(FileStore(root, durable=False), "a", 1, "d1")
    with pytest.raises(BadSignature):
        signed.result_info("w", "d1")
    assert isinstance(signed.link_results("w", {"b": "d1"})["b"], BadSignature)
    assert not signed.has_task("w", "b")


@pytest.mark.parametrize("damage", [b"", b"garbage" * 100])
def test_a_damaged_result_is_told(store, root, damage):
    save(store, "a", 1, "d1")
    store.link_results("other", {"b": "d1"})
    path = root / ".results" / "d1.ffr"
    path.unlink()
    path.write_bytes(damage)
    with pytest.raises(CorruptRecord, match=r"d1\.ffr"):
        store.read_task("other", "b")
    problems = store.link_results("w", {"c": "d1"})
    assert isinstance(problems["c"], CorruptRecord)
    assert "d1.ffr" in str(problems["c"])
    assert [name for name, _ in store.check_workflow("other")] == ["b"]


def test_a_name_that_was_given_to_another_result_holds_none(store, root):
    save(store, "a", 1, "d1")
    store.link_results("other", {"b": "d1"})
    save(store, "b", 2, "d2", workflow="other")
    store.remove_task("w", "a")
    assert results(root) == ["d2.ffr"]


def test_a_name_that_was_given_to_a_value_without_a_recipe_holds_none(store, root):
    save(store, "a", 1, "d1")
    store.link_results("other", {"b": "d1"})
    store.save("other", "b", 2)
    store.remove_task("w", "a")
    assert results(root) == []


def test_results_of_one_recipe_that_differ(store):
    """A function that is not deterministic: each name keeps what was stored under it, and the last one is found."""
    save(store, "a", 1, "d1")
    save(store, "b", 2, "d1", workflow="other")
    assert [store.read_task("w", "a"), store.read_task("other", "b")] == [1, 2]
    assert store.find_results("w", {"a": "d1"}) == {"a"}
    store.remove_workflow("other")
    assert store.find_results("w", {"a": "d1"}) == set()
    assert store.read_task("w", "a") == 1


def test_without_hard_links_names_refer_to_results(store, root, monkeypatch):
    def refuse(*arguments):
        raise OSError(1, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    save(store, "a", b"v" * 1_000_000, "d1")
    assert (root / "w" / "a.ffr").stat().st_size < 2000
    assert store.read_task("w", "a") == b"v" * 1_000_000
    assert store.link_results("w", {"a": "d1"}) == {}
    assert store.remove_task("w", "a") == ["a"]
    assert results(root) == []


def test_names_that_differ_in_case_and_digests_of_any_text(store):
    for number, digest in enumerate(["d", "D", "../d", "d@x", "x" * 400]):
        save(store, f"n{number}", number, digest)
        store.save(objects_of("w"), f"n{number}", -number, recipe={"digest": digest})
        store.link_results("other", {f"N{number}": digest})
    assert [store.read_task("other", f"N{number}") for number in range(5)] == list(range(5))
