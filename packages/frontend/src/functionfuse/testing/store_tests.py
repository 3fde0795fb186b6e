"""The conformance suite of stores: behaviour that every store shares, wherever it keeps its bytes.

::

    class TestMyStore(StoreTests):
        @pytest.fixture
        def store(self, tmp_path):
            return MyStore(tmp_path)

The suite asks for the verbs of `functionfuse.stores.Store` and for ``has_task``, ``file_exists``,
``list_workflows`` and ``remove_workflow``. A standard test cannot be deleted or overridden: a store that
fails one marks it ``xfail`` with a reason.
"""

from __future__ import annotations

import dataclasses
import enum
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from functionfuse.errors import CorruptRecord, InvalidNameError, LostRace, OptionError, TaskNotFound
from functionfuse.stores import Store
from functionfuse.testing.standard_tests import StandardTests

if TYPE_CHECKING:
    from collections.abc import Callable

WORKFLOW = "conformance"

PLAIN_VALUES: dict[str, Any] = {
    "none": None,
    "numbers": [0, -1, 2**80, 1.5, float("inf"), 1j, True],
    "text": "zażółć \N{GRINNING FACE} \ud800 \0",
    "empty": [(), [], {}, set(), b"", ""],
    "nested": {"a": [{"b": (1, {2, 3}, frozenset({4}))}], 5: {None: ...}},
    "bytes_below_64_KiB": b"x" * (65536 - 1),
    "bytes_of_64_KiB": b"x" * 65536,
    "bytearray_above_64_KiB": bytearray(b"y" * (65536 + 1)),
    "exception": (OSError, "a class and a string"),
    "3_MB": [b"z" * 3_000_000, "end"],
}

ARRAYS: dict[str, Callable[[Any], Any]] = {
    "empty": lambda np: np.empty((0, 5)),
    "0-d": lambda np: np.array(3.5),
    "scalar": lambda np: np.float32(1.5),
    "fortran": lambda np: np.asfortranarray(np.arange(20_000.0).reshape(100, 200)),
    "strided": lambda np: np.arange(60_000.0).reshape(200, 300)[::2, ::3],
    "reversed": lambda np: np.arange(20_000)[::-1],
    "big_endian": lambda np: np.arange(20_000, dtype=">f8"),
    "structured": lambda np: np.zeros(10_000, dtype=[("a", "i4"), ("b", "f8"), ("c", "U3")]),
    "object": lambda np: np.array([1, "a", None, (2,)] * 100, dtype=object),
    "times": lambda np: np.arange("2000", "2020", dtype="M8[D]"),
    "text": lambda np: np.array(["a", "ą", "\N{GRINNING FACE}"]),
    "below_64_KiB": lambda np: np.arange(65536 - 1, dtype="u1"),
    "of_64_KiB": lambda np: np.arange(65536, dtype="u1"),
    "above_64_KiB": lambda np: np.arange(65536 + 1, dtype="u1"),
    "above_1_MiB": lambda np: np.arange(300_000.0),
    "several_blocks": lambda np: np.arange(3_000_000.0),
}

NASTY_NAMES = [
    ".", "..", "a/b", "/etc/passwd", "a\\b", "C:", "CON", "con.txt", "COM1", "-rf", "--", "~", "$HOME",
    "%41", "=41", "A", "=", "==", "=-0123456789abcdef", "Model", "model", "MODEL", " in front", "at the end ",
    "dot.", "new\nline", "null\0byte", "tab\t", "'\"", "caf\u00e9", "cafe\u0301", "ss",
    "\N{GREEK SMALL LETTER FINAL SIGMA}", "\N{GREEK SMALL LETTER SIGMA}", "\N{LATIN SMALL LETTER SHARP S}",
    "\N{GRINNING FACE}", "\ud83d\ude00", "\ud800", "\N{RIGHT-TO-LEFT OVERRIDE}x", "日本語", "x" * 400,
    "x" * 401, "\N{GRINNING FACE}" * 250, ".tmp", ".big", ".trash", "ffstore.json", "a.ffr", "a", "f(x)[0]",
    "linearly_separable_dataset, Nearest Neighbors-model", "a*b", "a?b",
]  # fmt: skip


class StoreTests(StandardTests, suite=True):
    """Subclass it as ``Test...`` with a fixture ``store`` that gives an empty store."""

    def damage(self, store: Any, workflow: str, task: str, mutate: Callable[[bytes], bytes]) -> None:
        """Replace the stored bytes of a result by other bytes, without the store's knowledge.

        Override it for the tests of damaged results to run; they are skipped otherwise.

        Args:
            store: the store under test.
            workflow: the workflow that the result belongs to.
            task: the name of the result.
            mutate: returns the damaged bytes.
        """
        pytest.skip(f"no way is given to damage {workflow}/{task} in {store!r} by {mutate.__name__}")

    def test_it_is_a_store(self, store: Any) -> None:
        """It has the verbs that backends use."""
        assert isinstance(store, Store)

    # Values

    @pytest.mark.parametrize("kind", PLAIN_VALUES)
    def test_plain_values_come_back(self, store: Any, kind: str) -> None:
        """What was saved is read, of the same type."""
        value = PLAIN_VALUES[kind]
        store.save(WORKFLOW, "value", value)
        loaded = store.read_task(WORKFLOW, "value")
        assert (type(loaded), loaded) == (type(value), value)

    @pytest.mark.parametrize("kind", ARRAYS)
    def test_arrays_come_back(self, store: Any, kind: str) -> None:
        """Arrays keep shape, type, byte order and content, and can be written to."""
        np = pytest.importorskip("numpy", reason="numpy is not installed")
        value = ARRAYS[kind](np)
        store.save(WORKFLOW, "array", value)
        loaded = store.read_task(WORKFLOW, "array")
        assert (type(loaded), loaded.dtype, loaded.shape) == (type(value), value.dtype, value.shape)
        assert np.array_equal(loaded, value)
        assert isinstance(loaded, np.generic) or loaded.flags.writeable

    def test_a_read_only_array_stays_read_only(self, store: Any) -> None:
        """Flags of large buffers are kept."""
        np = pytest.importorskip("numpy", reason="numpy is not installed")
        value = np.zeros(100_000)
        value.flags.writeable = False
        store.save(WORKFLOW, "array", value)
        assert not store.read_task(WORKFLOW, "array").flags.writeable

    def test_one_object_used_twice_stays_one(self, store: Any) -> None:
        """Identity inside a result is kept, and a result that holds itself too."""
        shared: list[Any] = [1]
        shared.append(shared)
        store.save(WORKFLOW, "value", {"a": shared, "b": [shared]})
        loaded = store.read_task(WORKFLOW, "value")
        assert loaded["a"] is loaded["b"][0] is loaded["a"][1]

    def test_one_array_used_twice_stays_one(self, store: Any) -> None:
        """Identity of large buffers is kept."""
        np = pytest.importorskip("numpy", reason="numpy is not installed")
        array = np.zeros(50_000)
        store.save(WORKFLOW, "value", [array, {"again": array}])
        first, second = store.read_task(WORKFLOW, "value")
        first[0] = 7.0
        assert second["again"][0] == 7.0

    def test_objects_are_of_the_classes_that_the_process_has(self, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Objects of a script's own classes are what `is` and `isinstance` take them for, in its next run too."""
        main: Any = sys.modules["__main__"]
        for name, cls in script_classes().items():
            monkeypatch.setattr(main, name, cls, raising=False)
        store.save(WORKFLOW, "values", [main.Point(3), main.Mode.EXACT, main.Point.Inner])
        for name, cls in script_classes().items():  # as another run of the script defines them
            monkeypatch.setattr(main, name, cls)
        point, mode, inner = store.read_task(WORKFLOW, "values")
        assert mode is main.Mode.EXACT
        assert inner is main.Point.Inner
        assert isinstance(point, main.Point)
        assert point == main.Point(3)

    def test_changing_what_was_read_changes_nothing_stored(self, store: Any) -> None:
        """The next reader sees what was saved."""
        value = {"list": [1, 2], "buffer": bytearray(2_000_000)}
        store.save(WORKFLOW, "value", value)
        loaded = store.read_task(WORKFLOW, "value")
        loaded["list"].append(3)
        loaded["buffer"][0] = 1
        assert store.read_task(WORKFLOW, "value") == value

    def test_changing_a_loaded_array_changes_nothing_stored(self, store: Any) -> None:
        """Whether the array was read or mapped."""
        np = pytest.importorskip("numpy", reason="numpy is not installed")
        store.save(WORKFLOW, "array", np.ones(1_000_000))
        store.read_task(WORKFLOW, "array")[:] = 7.0
        assert store.read_task(WORKFLOW, "array").sum() == 1_000_000

    def test_changing_what_was_saved_changes_nothing_stored(self, store: Any) -> None:
        """A store keeps a copy."""
        value = [1]
        store.save(WORKFLOW, "value", value)
        value.append(2)
        assert store.read_task(WORKFLOW, "value") == [1]

    def test_what_was_read_survives_removal(self, store: Any) -> None:
        """A held result does not need the store any more."""
        value = bytearray(b"v" * 3_000_000)
        store.save(WORKFLOW, "value", value)
        loaded = store.read_task(WORKFLOW, "value")
        store.remove_task(WORKFLOW, "value")
        store.remove_workflow(WORKFLOW)
        assert loaded == value

    # Saving

    def test_the_last_save_wins(self, store: Any) -> None:
        """Saving again replaces the result and its footer."""
        store.save(WORKFLOW, "value", "old" * 100_000, meta={"n": 1})
        store.save(WORKFLOW, "value", "new", meta={"n": 2})
        assert store.read_task(WORKFLOW, "value") == "new"
        assert store.info(WORKFLOW, "value")["meta"] == {"n": 2}

    def test_saving_returns_what_info_says(self, store: Any) -> None:
        """Backends need not read the footer again."""
        returned = store.save(WORKFLOW, "value", [1], recipe={"code": "1"}, meta={"seconds": 0.5})
        assert dict(store.info(WORKFLOW, "value")) == dict(returned)

    def test_the_footer_tells_what_was_saved(self, store: Any) -> None:
        """Name, workflow, recipe, meta, type and uid."""
        store.save(WORKFLOW, "value", [1], recipe={"code": "1", "b": ""}, meta={"seconds": 0.5, "tags": ["x"]})
        info = store.info(WORKFLOW, "value")
        assert (info["name"], info["workflow"], info["type"]) == ("value", WORKFLOW, "builtins.list")
        assert info["recipe"] == {"code": "1", "b": ""}
        assert info["meta"] == {"seconds": 0.5, "tags": ["x"]}
        assert info["uid"] != store.save(WORKFLOW, "value", [1])["uid"]

    def test_without_a_recipe_none_is_kept(self, store: Any) -> None:
        """A result without a recipe matches no recipe, not even an empty one."""
        store.save(WORKFLOW, "value", 1)
        assert store.info(WORKFLOW, "value")["recipe"] is None
        assert not store.has_task(WORKFLOW, "value", recipe={})

    def test_what_cannot_be_pickled_leaves_the_old_result(self, store: Any) -> None:
        """A failing save changes nothing that can be read."""
        store.save(WORKFLOW, "value", "old")
        with pytest.raises((TypeError, pickle.PicklingError)):
            store.save(WORKFLOW, "value", {"data": b"x" * 200_000, "lock": threading.Lock()})
        with pytest.raises((TypeError, pickle.PicklingError)):
            store.save(WORKFLOW, "other", threading.Lock())
        assert store.read_task(WORKFLOW, "value") == "old"
        assert store.list_tasks(WORKFLOW) == ["value"]

    def test_what_is_too_deep_leaves_the_old_result(self, store: Any) -> None:
        """Neither a crash nor half a result."""
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        store.save(WORKFLOW, "value", "old")
        with pytest.raises((RecursionError, pickle.PicklingError)):
            store.save(WORKFLOW, "value", deep)
        assert store.read_task(WORKFLOW, "value") == "old"

    def test_saving_needs_no_new_workflow(self, store: Any) -> None:
        """A first save makes its workflow."""
        store.save("never announced", "value", 1)
        assert store.list_workflows() == ["never announced"]

    # Creating

    def test_create_stores_where_there_is_nothing(self, store: Any) -> None:
        """The usual case."""
        store.save(WORKFLOW, "value", 1, create=True)
        assert store.read_task(WORKFLOW, "value") == 1

    def test_create_never_replaces(self, store: Any) -> None:
        """The loser gets LostRace, and can read the winner's result."""
        store.save(WORKFLOW, "value", "first")
        with pytest.raises(LostRace, match="value"):
            store.save(WORKFLOW, "value", "second", create=True)
        assert store.read_task(WORKFLOW, "value") == "first"

    def test_create_after_removal(self, store: Any) -> None:
        """A removed result does not count as an existing one."""
        store.save(WORKFLOW, "value", 1, create=True)
        store.remove_task(WORKFLOW, "value")
        store.save(WORKFLOW, "value", 2, create=True)
        assert store.read_task(WORKFLOW, "value") == 2

    def test_a_create_race_has_one_winner(self, store: Any) -> None:
        """All others get LostRace, and everybody reads the same result."""
        start = threading.Barrier(6)

        def create(number: int) -> tuple[bool, Any]:
            start.wait(30)
            try:
                store.save(WORKFLOW, "value", number, create=True)
            except LostRace:
                return False, store.read_task(WORKFLOW, "value")
            return True, number

        with ThreadPoolExecutor(6) as pool:
            outcomes = list(pool.map(create, range(6)))
        winners = [value for won, value in outcomes if won]
        assert len(winners) == 1
        assert {value for _, value in outcomes} == set(winners)

    # Reading

    def test_reading_nothing_suggests_close_names(self, store: Any) -> None:
        """A typing mistake is easy to see."""
        store.save(WORKFLOW, "model_forest", 1)
        for ask in (store.read_task, store.info, store.remove_task):
            with pytest.raises(TaskNotFound, match=r"'model_forrest'.*'model_forest'"):
                ask(WORKFLOW, "model_forrest")

    def test_nothing_found_is_a_file_not_found(self, store: Any) -> None:
        """Also in a workflow that was never there; asking does not make it."""
        for ask in (store.read_task, store.info, store.remove_task):
            with pytest.raises(FileNotFoundError, match="value"):
                ask("nowhere", "value")
        assert store.list_workflows() == []

    def test_damage_is_never_returned_as_data(self, store: Any) -> None:
        """Truncated, emptied or overwritten bytes are CorruptRecord, and a save repairs them."""
        for mutate in (_cut_in_half, _emptied, _flipped):
            store.save(WORKFLOW, "value", b"v" * 100_000)
            self.damage(store, WORKFLOW, "value", mutate)
            with pytest.raises(CorruptRecord):
                store.read_task(WORKFLOW, "value")
        store.save(WORKFLOW, "value", "new")
        assert store.read_task(WORKFLOW, "value") == "new"

    def test_create_replaces_damage(self, store: Any) -> None:
        """Only a valid result wins a race."""
        store.save(WORKFLOW, "value", "old")
        self.damage(store, WORKFLOW, "value", _emptied)
        store.save(WORKFLOW, "value", "new", create=True)
        assert store.read_task(WORKFLOW, "value") == "new"

    def test_damaged_results_can_be_removed(self, store: Any) -> None:
        """And are not counted as results before."""
        store.save(WORKFLOW, "value", "old")
        self.damage(store, WORKFLOW, "value", _cut_in_half)
        assert not store.has_task(WORKFLOW, "value")
        assert store.remove_task(WORKFLOW, "value") == ["value"]
        assert store.list_tasks(WORKFLOW) == []

    # Asking

    def test_has_task(self, store: Any) -> None:
        """By name, and by recipe; ``file_exists`` is the specification's name for it."""
        store.save(WORKFLOW, "value", 1, recipe={"code": "1"})
        for ask in (store.has_task, store.file_exists):
            assert ask(WORKFLOW, "value")
            assert ask(WORKFLOW, "value", recipe={"code": "1"})
            assert not ask(WORKFLOW, "value", recipe={"code": "2"})
            assert not ask(WORKFLOW, "value", recipe={})
            assert not ask(WORKFLOW, "other")
            assert not ask("nowhere", "value")

    @pytest.mark.parametrize("absent", [1, 500])
    def test_has_tasks(self, store: Any, absent: int) -> None:
        """One query for many names, few or many of which exist."""
        for name in ("a", "b/c", "x" * 300):
            store.save(WORKFLOW, name, 1)
        asked = ["a", "x" * 300, "x" * 301, *(f"absent {n}" for n in range(absent))]
        assert store.has_tasks(WORKFLOW, iter(asked)) == {"a", "x" * 300}
        assert store.has_tasks(WORKFLOW, []) == set()
        assert store.has_tasks("nowhere", asked) == set()

    def test_listing(self, store: Any) -> None:
        """Sorted, filtered by a glob that respects case, empty where there is nothing."""
        for name in ("b", "a2", "A3", "a1"):
            store.save(WORKFLOW, name, 1)
        assert store.list_tasks(WORKFLOW) == ["A3", "a1", "a2", "b"]
        assert store.list_tasks(workflow_name=WORKFLOW, pattern="a*") == ["a1", "a2"]
        assert store.list_tasks(WORKFLOW, "?[12]") == ["a1", "a2"]
        assert store.list_tasks(WORKFLOW, "a1") == ["a1"]
        assert store.list_tasks(WORKFLOW, "") == []
        assert store.list_tasks("nowhere") == []

    def test_globs_match_names_not_their_encoding(self, store: Any) -> None:
        """Names may hold characters of globs and of regular expressions."""
        for name in ("f[0]", "f*", "f?", "f.", "f/x", "f=2Fx", "fx", "with_prefix/x", "with_prefix x"):
            store.save(WORKFLOW, name, name)
        assert store.list_tasks(WORKFLOW, "f[[]0]") == ["f[0]"]
        assert store.list_tasks(WORKFLOW, "f[*]") == ["f*"]
        assert store.list_tasks(WORKFLOW, "f[?]") == ["f?"]
        assert store.list_tasks(WORKFLOW, "f.") == ["f."]
        assert store.list_tasks(WORKFLOW, "f?x") == ["f/x"]
        assert store.list_tasks(WORKFLOW, "f=*") == ["f=2Fx"]
        assert store.list_tasks(WORKFLOW, "with_prefix?x") == ["with_prefix x", "with_prefix/x"]
        assert store.list_tasks(WORKFLOW, "with_prefix/*") == ["with_prefix/x"]

    # Removing

    def test_removing_one(self, store: Any) -> None:
        """Its name is returned, the others stay."""
        for name in ("a", "b"):
            store.save(WORKFLOW, name, name)
        assert store.remove_task(WORKFLOW, "a") == ["a"]
        assert store.list_tasks(WORKFLOW) == ["b"]
        assert not store.has_task(WORKFLOW, "a")

    def test_removing_by_pattern(self, store: Any) -> None:
        """No match is no error."""
        for name in ("a1", "a2", "b", "a[1]"):
            store.save(WORKFLOW, name, name)
        assert store.remove_task(WORKFLOW, pattern="a?") == ["a1", "a2"]
        assert store.remove_task(WORKFLOW, pattern="a?") == []
        assert store.list_tasks(WORKFLOW) == ["a[1]", "b"]

    def test_removing_needs_to_know_what(self, store: Any) -> None:
        """Nothing is removed by a call that names nothing."""
        store.save(WORKFLOW, "a", 1)
        with pytest.raises(OptionError, match="pattern"):
            store.remove_task(WORKFLOW)
        assert store.list_tasks(WORKFLOW) == ["a"]

    def test_removing_by_a_name_and_a_pattern(self, store: Any) -> None:
        """The pattern counts."""
        for name in ("a", "b1", "b2"):
            store.save(WORKFLOW, name, name)
        assert store.remove_task(WORKFLOW, "a", pattern="b?") == ["b1", "b2"]
        assert store.remove_task(WORKFLOW, "absent", "b?") == []
        assert store.list_tasks(WORKFLOW) == ["a"]

    def test_removing_a_workflow(self, store: Any) -> None:
        """All its results are removed; the others stay; once more is no error; it can start again."""
        store.save("one", "a", 1)
        store.save("two", "a", 2)
        store.remove_workflow("one")
        store.remove_workflow("one")
        assert store.list_workflows() == ["two"]
        assert not store.has_task("one", "a")
        store.save("one", "a", 3)
        assert [store.read_task(name, "a") for name in ("one", "two")] == [3, 2]

    # Names and workflows

    def test_workflows_are_apart(self, store: Any) -> None:
        """The same name in two workflows means two results."""
        store.save("one", "a", 1)
        store.save("two", "a", 2)
        store.save("two", "b", 2)
        store.remove_task("two", "b")
        assert store.read_task("one", "a") == 1
        assert store.list_tasks("one") == store.list_tasks("two") == ["a"]

    def test_a_new_workflow_is_empty_and_listed(self, store: Any) -> None:
        """And making it again loses nothing."""
        store.new_workflow(WORKFLOW)
        assert store.list_workflows() == [WORKFLOW]
        assert store.list_tasks(WORKFLOW) == []
        store.save(WORKFLOW, "a", 1)
        store.new_workflow(WORKFLOW)
        assert store.list_tasks(WORKFLOW) == ["a"]

    def test_any_string_names_a_task(self, store: Any) -> None:
        """Saved, listed, read and removed under this very name."""
        for number, name in enumerate(NASTY_NAMES):
            store.save(WORKFLOW, name, number)
        assert store.list_tasks(WORKFLOW) == sorted(NASTY_NAMES)
        assert store.has_tasks(WORKFLOW, NASTY_NAMES) == set(NASTY_NAMES)
        assert [store.read_task(WORKFLOW, name) for name in NASTY_NAMES] == list(range(len(NASTY_NAMES)))
        assert [store.info(WORKFLOW, name)["name"] for name in NASTY_NAMES] == NASTY_NAMES
        for name in NASTY_NAMES:
            assert store.remove_task(WORKFLOW, name) == [name]
        assert store.list_tasks(WORKFLOW) == []

    def test_any_string_names_a_workflow(self, store: Any) -> None:
        """And none reaches into another one, or out of the store."""
        for number, name in enumerate(NASTY_NAMES):
            store.save(name, "a", number)
        assert store.list_workflows() == sorted(NASTY_NAMES)
        assert [store.read_task(name, "a") for name in NASTY_NAMES] == list(range(len(NASTY_NAMES)))
        for name in NASTY_NAMES:
            store.remove_workflow(name)
        assert store.list_workflows() == []

    @pytest.mark.parametrize("name", ["", None, 5, b"bytes"])
    def test_what_is_no_name_is_refused(self, store: Any, name: Any) -> None:
        """Before anything is stored."""
        with pytest.raises(InvalidNameError):
            store.save(WORKFLOW, name, 1)
        with pytest.raises(InvalidNameError):
            store.save(name, "a", 1)
        assert store.list_workflows() in ([], [WORKFLOW])

    # Copies

    def test_a_pickled_store_is_the_same_store(self, store: Any) -> None:
        """Workers get pickled copies."""
        store.always_read = True
        store.save(WORKFLOW, "a", [1, 2])
        copy = pickle.loads(pickle.dumps(store))
        assert copy.read_task(WORKFLOW, "a") == [1, 2]
        assert copy.always_read is True
        copy.save(WORKFLOW, "b", 3)
        assert copy.list_tasks(WORKFLOW) == ["a", "b"]


def script_classes() -> dict[str, type]:
    """Return new classes of a script, by their names in `__main__`."""

    class Mode(enum.Enum):
        FAST = 1
        EXACT = 2

    @dataclasses.dataclass
    class Point:
        x: int

        class Inner:
            pass

    classes: dict[str, type] = {"Mode": Mode, "Point": Point}
    for cls in (Mode, Point, Point.Inner):
        cls.__module__, cls.__qualname__ = "__main__", cls.__qualname__.rpartition("<locals>.")[2]
    return classes


def _cut_in_half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _emptied(data: bytes) -> bytes:  # noqa: ARG001
    return b""


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
