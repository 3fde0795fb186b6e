"""File names: readable, reversible, safe, and never the same for two names."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functionfuse.errors import TaskNotFound
from functionfuse.storage import FileStore
from functionfuse.storage._record.names import LIMIT, decode, encode, is_shortened, literal_prefix

ANY_NAME = st.text(st.characters(codec=None), min_size=1)
CASED = st.text("aAbBkK\u212aß\u1e9es\u017f\u03c3\u03c2\u03a3éÉ\u0130i\u0131I=-.", min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("linearly_separable_dataset, Nearest Neighbors-model", None),
        ("f(x)_0000", None),
        ("日本語", None),
        ("café", None),
        ("cafe\u0301", "cafe=CC=81"),
        (".", "=2E"),
        ("..", "=2E=2E"),
        (".hidden", "=2Ehidden"),
        ("-rf", "=2Drf"),
        ("+x", "=2Bx"),
        (" x ", "=20x=20"),
        ("dot.", "dot=2E"),
        ("a/b\\c", "a=2Fb=5Cc"),
        ("=41", "=3D41"),
        ("CON", "=43ON"),
        ("nul.txt", "=6Eul.txt"),
        ("com1", "=63om1"),
        ("console", None),
        ("ffstore.json", "=66fstore.json"),
        ("\N{GRINNING FACE}", "=F0=9F=98=80"),
        ("\ud800", "=ED=A0=80"),
        ("[x]*", "=5Bx=5D=2A"),
    ],
)
def test_encoding(name, stem):
    assert encode(name) == (stem or name)
    assert decode(encode(name)) == name


def test_long_names_are_shortened_to_start_and_digest():
    stem = encode("x" * 400)
    assert stem == f"{'x' * 162}=={stem[-16:]}"
    assert len(stem) == LIMIT
    assert decode(stem) is None
    assert is_shortened(stem)
    assert encode("x" * 400) != encode("x" * 401)


def test_a_shortened_name_keeps_no_half_escape():
    stem = encode("x" * 161 + "/" * 100)
    assert stem.partition("==")[0] == "x" * 161


def test_folded_names_with_case_get_a_digest():
    assert encode("model_1", fold=True) == "model_1"
    stem = encode("Model_1", fold=True)
    assert stem == f"Model_1=-{stem[-16:]}"
    assert decode(stem, fold=True) == "Model_1"


@pytest.mark.parametrize("stem", ["=", "=4", "=zz", "=41", "a=-0", "=FF", "..", "-rf", "a b ", "", "=41==", "CON"])
def test_what_no_name_encodes_to_is_no_name(stem):
    assert decode(stem) is None


@given(ANY_NAME)
def check_that_a_name_comes_back(name):
    for fold in (False, True):
        stem = encode(name, fold=fold)
        assert decode(stem, fold=fold) == (None if is_shortened(stem) else name)
        assert len(stem.encode()) <= LIMIT
        assert not set(stem) & set('/\\\0:*?"<>|\n')
        assert not stem.startswith((".", "-", " ", "+"))
        assert not stem.endswith((".", " "))


@given(CASED, CASED)
def check_that_folded_file_names_differ(one, other):
    stems = [encode(name, fold=True) for name in (one, other)]
    for fold_case in (str.lower, str.upper, str.casefold):
        assert (one == other) == (fold_case(stems[0]) == fold_case(stems[1]))


@pytest.mark.chaos
def test_every_name_comes_back(effort):
    effort.fuzz(check_that_a_name_comes_back)


@pytest.mark.chaos
def test_folded_file_names_differ_in_more_than_case(effort):
    effort.fuzz(check_that_folded_file_names_differ)


@pytest.mark.parametrize(("pattern", "prefix"), [("*", ""), ("abc*d", "abc"), ("a[b", "a"), ("a?", "a"), ("ab", "ab")])
def test_literal_prefix(pattern, prefix):
    assert literal_prefix(pattern) == prefix


def test_files_of_others_are_not_listed(store, files):
    store.save("w", "a", 1)
    for name in ("=41.ffr", "-rf.ffr", "note.txt", "x==0123456789abcdef.ffr", ".ffr"):
        (files.root / "w" / name).write_bytes(b"")
    (files.root / "no workflow.txt").write_bytes(b"")
    assert store.list_tasks("w") == ["a"]
    assert store.list_workflows() == ["w"]


def test_an_alias_is_not_found_never_wrong_data(store, files):
    store.save("w", "a", "data of a")
    files.record("w", "b").write_bytes(files.record("w", "a").read_bytes())
    with pytest.raises(TaskNotFound, match="holds 'a' of workflow 'w'"):
        store.read_task("w", "b")
    assert not store.has_task("w", "b")
    with pytest.raises(TaskNotFound):
        store.remove_task("w", "b")


def test_a_record_of_another_workflow_is_not_found(store, files):
    store.save("w", "a", 1)
    (files.root / "w").rename(files.root / "v")
    with pytest.raises(TaskNotFound, match="of workflow 'w'"):
        store.read_task("v", "a")
    store.save("v", "a", 2, create=True)
    assert store.read_task("v", "a") == 2


def test_names_apart_by_case_on_a_folding_file_system(root, files):
    root.mkdir()
    (root / "ffstore.json").write_text(json.dumps({"format": 2, "names": "fold"}))
    store = FileStore(root, durable=False)
    for name in ("model", "Model", "MODEL"):
        store.save("w", name, name)
    stems = [path.name.lower() for path in (files.root / "w").glob("*.ffr")]
    assert len(set(stems)) == 3
    assert store.list_tasks("w", "[mM]odel") == ["Model", "model"]
