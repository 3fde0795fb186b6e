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

from functionfuse.backends.base import BaseWorkflow
from functionfuse.errors import CorruptRecord, InvalidNameError, LostRace, OptionError, TaskNotFound
from functionfuse.run_reader import RunReader
from functionfuse.runs import list_runs, read_run
from functionfuse.stores import RecipeStore, Store, objects_of, runs_of
from functionfuse.testing.functions import same
from functionfuse.testing.standard_tests import StandardTests

if TYPE_CHECKING:
    from collections.abc import Callable

    from functionfuse.backends.execution import Run

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

    # Results by recipe, of stores that find them

    @pytest.mark.parametrize("size", [10, 20_000_000])
    def test_a_recipe_finds_a_result_under_any_name(self, store: Any, size: int) -> None:
        """A name gets the result without another copy; the names know it from then on."""
        _finds_results(store)
        value = b"v" * size
        store.save("one", "a", value, recipe={"digest": "d1", "code": "1"}, meta={"seconds": 0.5})
        asked = {"a": "d1", "b": "d1", "c": "d2"}
        assert set(store.find_results("one", asked)) == set(store.find_results("two", asked)) == {"a", "b"}
        assert not store.has_task("two", "b")
        assert store.link_results("two", {"b": "d1"}) == {}
        assert store.read_task("two", "b") == value
        info = store.info("two", "b")
        assert (info["name"], info["workflow"], info["recipe"]) == ("b", "two", {"digest": "d1", "code": "1"})
        assert info["meta"] == store.result_info("two", "d1")["meta"] == {"seconds": 0.5}
        assert store.list_tasks("two") == ["b"]
        assert store.list_workflows() == ["one", "two"]

    def test_a_result_stays_when_its_name_gets_another(self, store: Any) -> None:
        """A parameter that is set back finds what was made with it."""
        _finds_results(store)
        for digest in ("d1", "d2"):
            store.save(WORKFLOW, "a", digest, recipe={"digest": digest})
        for digest in ("d1", "d1", "d2", "d1"):
            assert set(store.find_results(WORKFLOW, {"a": digest})) == {"a"}
            store.link_results(WORKFLOW, {"a": digest})
            assert store.read_task(WORKFLOW, "a") == digest

    def test_many_recipes_are_one_question(self, store: Any) -> None:
        """As few are."""
        _finds_results(store)
        for number in range(3):
            store.save(WORKFLOW, f"n{number}", number, recipe={"digest": f"d{number}"})
        store.link_results(WORKFLOW, {"other": "d1"})
        asked = {"n0": "d0", "n1": "d0", "other": "d1", **{f"absent {n}": f"absent {n}" for n in range(500)}}
        assert set(store.find_results(WORKFLOW, asked)) == {"n0", "n1", "other"}
        assert set(store.find_results(WORKFLOW, {})) == set()

    @pytest.mark.parametrize("number", [3, 150])
    def test_many_names_get_their_results_at_once(self, store: Any, number: int) -> None:
        """Those that have theirs keep them; which could not get one is told."""
        _finds_results(store)
        for n in range(number):
            store.save("one", f"n{n}", n, recipe={"digest": f"d{n}"})
        store.link_results("two", {"n1": "d0"})
        wanted = {f"n{n}": f"d{n}" for n in range(number)}
        for _ in range(2):
            problems = store.link_results("two", {**wanted, "m": "absent"})
            assert list(problems) == ["m"]
            assert isinstance(problems["m"], TaskNotFound)
            assert [store.read_task("two", f"n{n}") for n in range(number)] == list(range(number))
        assert not store.has_task("two", "m")

    @pytest.mark.parametrize("number", [3, 150])
    def test_many_footers_at_once(self, store: Any, number: int) -> None:
        """Of the names that have a result."""
        _finds_results(store)
        for n in range(number):
            store.save(WORKFLOW, f"n{n}", n, recipe={"digest": f"d{n}"})
        infos = store.infos(WORKFLOW, [*(f"n{n}" for n in range(number)), "absent"])
        assert {name: info["recipe"]["digest"] for name, info in infos.items()} == {
            f"n{n}": f"d{n}" for n in range(number)
        }
        assert store.infos("nowhere", ["a"]) == store.infos(WORKFLOW, []) == {}

    def test_the_last_name_takes_the_result_with_it(self, store: Any) -> None:
        """What another name has, too, stays; what no name has is found no more."""
        _finds_results(store)
        store.save("one", "a", [1], recipe={"digest": "d1"})
        store.link_results("two", {"b": "d1"})
        store.remove_workflow("one")
        assert store.read_task("two", "b") == [1]
        assert set(store.find_results("one", {"a": "d1"})) == {"a"}
        store.remove_task("two", "b")
        assert set(store.find_results("one", {"a": "d1"})) == set()
        assert "d1" in str(store.link_results("one", {"a": "d1"})["a"])
        with pytest.raises(TaskNotFound, match="d1"):
            store.result_info("one", "d1")

    def test_states_of_objects_are_found_among_states(self, store: Any) -> None:
        """A call has one recipe, which finds its result and the state after it."""
        _finds_results(store)
        store.save(WORKFLOW, "a", "result", recipe={"digest": "d1"})
        assert set(store.find_results(objects_of(WORKFLOW), {"a": "d1"})) == set()
        store.save(objects_of(WORKFLOW), "a", "state", recipe={"digest": "d1"})
        store.link_results(objects_of("other"), {"b": "d1"})
        store.link_results("other", {"b": "d1"})
        assert [store.read_task(name, "b") for name in (objects_of("other"), "other")] == ["state", "result"]

    def test_footers_tell_equal_content(self, store: Any) -> None:
        """Of what was saved by any save; another value has another digest."""
        _finds_results(store)
        np = pytest.importorskip("numpy", reason="numpy is not installed")
        values = [1, 2, "1", [1], np.zeros(50_000), np.zeros(50_001), np.zeros((5, 10_000)), b"x" * 70_000]
        digests = [store.save(WORKFLOW, "a", value)["content_digest"] for value in values]
        assert len(set(digests)) == len(values)
        assert [store.save("other", "b", value)["content_digest"] for value in values] == digests
        assert store.info("other", "b")["content_digest"] == digests[-1]

    def test_equal_results_are_remembered(self, store: Any) -> None:
        """Nothing at first; of a result that is there."""
        _finds_results(store)
        assert store.equal_results() == {}
        store.save(WORKFLOW, "a", 1, recipe={"digest": "d1"})
        store.equate_results(WORKFLOW, "d1", "d2")
        assert store.equal_results() == {"d1": "d2"}
        with pytest.raises(TaskNotFound, match="d3"):
            store.equate_results(WORKFLOW, "d3", "d1")

    def test_only_a_recipe_with_a_digest_finds(self, store: Any) -> None:
        """Neither other recipes, nor what was created once and for all."""
        _finds_results(store)
        store.save(WORKFLOW, "a", 1, recipe={"code": "d1"})
        store.save(WORKFLOW, "b", 1, recipe={"digest": "d1"}, create=True)
        assert set(store.find_results(WORKFLOW, {"a": "d1", "b": "d1"})) == set()

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

    # Runs

    def test_runs_are_listed(self, store: Any) -> None:
        """Newest first, of all workflows, or of one, or with labels; a store that has the verbs says the same."""
        made = [_run(store, WORKFLOW, {"n": "1"}), _run(store, "other", {}), _run(store, WORKFLOW, {"n": "2"})]
        assert [run.id for run in list_runs(store)] == made[::-1]
        assert [run.id for run in list_runs(store, WORKFLOW)] == [made[2], made[0]]
        assert [run.id for run in list_runs(store, labels={"n": "1"})] == [made[0]]
        assert read_run(store).id == made[2]
        assert read_run(store, "latest", "other").id == made[1]
        first = read_run(store, made[0])
        assert (first.workflow, first.state, first.labels) == (WORKFLOW, "finished", {"n": "1"})
        assert {name: step.state for name, step in first.steps.items()} == {"a": "finished", "b": "finished"}
        if isinstance(store, RunReader) or hasattr(store, "diff"):
            assert store.runs() == list_runs(store)
            assert store.run(made[0]) == first
            assert not store.diff(made[0], made[2])

    def test_an_unknown_run(self, store: Any) -> None:
        """Is not found, with close ids and where to look."""
        with pytest.raises(TaskNotFound, match="there are no runs in this store"):
            read_run(store)
        made = _run(store, WORKFLOW, {})
        with pytest.raises(TaskNotFound, match=rf"runs\(\) lists.*did you mean '{made}'"):
            read_run(store, made[:-1])
        with pytest.raises(TaskNotFound, match="there are no runs of workflow 'other'"):
            read_run(store, made, "other")

    def test_runs_belong_to_their_workflow(self, store: Any) -> None:
        """They are no workflow and no results, and go with it."""
        _run(store, WORKFLOW, {})
        assert store.list_workflows() == [WORKFLOW]
        assert store.list_tasks(WORKFLOW) == ["a", "b"]
        store.remove_workflow(WORKFLOW)
        assert store.list_workflows() == []
        assert list(list_runs(store, WORKFLOW)) == []

    @pytest.mark.parametrize("mutate", ["cut", "empty"])
    def test_a_damaged_run(self, store: Any, mutate: str) -> None:
        """Is listed with the problem, beside the others."""
        damaged, sound = _run(store, WORKFLOW, {}), _run(store, WORKFLOW, {})
        self.damage(store, runs_of(WORKFLOW), damaged, {"cut": _cut_in_half, "empty": _emptied}[mutate])
        newer, older = list_runs(store)
        assert (newer.id, newer.state, newer.problem) == (sound, "finished", "")
        assert (older.id, older.state) == (damaged, "damaged")
        assert older.problem
        assert "damaged: " in str(list_runs(store))
        with pytest.raises(CorruptRecord):
            read_run(store, damaged)

    # Collecting results, of stores that do

    def test_results_of_the_last_runs_are_kept(self, store: Any) -> None:
        """One that no name has any more goes when no kept run had it, and names stay; a dry run says so before."""
        _collects(store)
        digests = [_run_with(store, number) for number in (1, 2, 3)]
        for keep_runs in (None, 3):
            assert store.gc(keep_runs=keep_runs, older_than=0) == []
        assert store.gc(keep_runs=1) == []  # nothing is a day old
        expected = store.gc(keep_runs=2, older_than=0, dry_run=True)
        assert _found(store, digests) == digests
        removed = store.gc(keep_runs=2, older_than=0)
        assert removed == expected == [digests[0]]
        assert removed.freed == expected.freed > 0
        assert digests[0] in str(removed)
        assert _found(store, digests) == digests[1:]
        assert store.gc(keep_runs=1, older_than=0) == [digests[1]]
        assert store.read_task(WORKFLOW, "a") == 3
        _run_with(store, 3)
        assert store.gc(keep_runs=1, older_than=0) == []

    def test_a_result_with_a_name_anywhere_is_kept(self, store: Any) -> None:
        """Whoever made it, and under which name."""
        _collects(store)
        for size, digest in ((10, "d1"), (2_000_000, "d2")):
            store.save(WORKFLOW, "a", b"v" * size, recipe={"digest": digest})
            store.link_results("other", {f"b{size}": digest})
            store.link_results(WORKFLOW, {f"c{size}": digest})
        store.save(WORKFLOW, "a", 3, recipe={"digest": "d3"})
        store.save(objects_of(WORKFLOW), "a", "state", recipe={"digest": "d4"})
        assert store.gc(keep_runs=1, older_than=0, grace=0) == []
        assert len(store.read_task("other", "b10") + store.read_task(WORKFLOW, "c2000000")) == 2_000_010
        store.save(WORKFLOW, "c10", 3)
        store.save("other", "b10", 3)
        assert "d1" in store.gc(keep_runs=1, older_than=0, grace=0)
        assert _found(store, ["d1", "d2", "d3"]) == ["d2", "d3"]
        assert store.read_task(objects_of(WORKFLOW), "a") == "state"

    def test_results_take_no_more_than_they_may(self, store: Any) -> None:
        """Those go that no name has, first the one that was used least recently, whatever runs had them."""
        _collects(store)
        digests = [_run_with(store, bytes([number]) * 1_000_000) for number in range(4)]
        assert store.gc(older_than=0, max_size="1 GB") == []
        assert store.gc(older_than=0, max_size="2.5 MB") == digests[:2]
        assert store.gc(max_size=0) == []  # nothing is a day old
        assert store.gc(older_than=0, keep_runs=None, max_size=0) == digests[2:3]
        assert store.read_task(WORKFLOW, "a") == b"\3" * 1_000_000

    def test_a_damaged_record_of_a_run_keeps_results(self, store: Any) -> None:
        """It may refer to them."""
        _collects(store)
        digests = [_run_with(store, number) for number in (1, 2)]
        newest = list_runs(store)[0].id
        self.damage(store, runs_of(WORKFLOW), newest, _cut_in_half)
        kept = store.gc(keep_runs=1, older_than=0)
        assert kept == []
        assert newest in kept.problem
        _run_with(store, 3)
        assert store.gc(keep_runs=1, older_than=0) == digests

    @pytest.mark.parametrize(
        "limits",
        [
            {"keep_runs": 0}, {"keep_runs": -1}, {"keep_runs": True}, {"keep_runs": "10"}, {"max_size": -1},
            {"max_size": "much"}, {"max_size": 1.5}, {"older_than": -1}, {"older_than": "a day"}, {"grace": -1},
        ],
        ids=str,
    )  # fmt: skip
    def test_limits_that_are_refused(self, store: Any, limits: dict[str, Any]) -> None:
        """By name."""
        _collects(store)
        with pytest.raises(OptionError, match=next(iter(limits))):
            store.gc(**limits)

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


def _finds_results(store: Any) -> None:
    if not isinstance(store, RecipeStore):
        pytest.skip("it finds results by their names alone")


def _collects(store: Any) -> None:
    _finds_results(store)
    if not hasattr(store, "gc"):
        pytest.skip("it keeps all results")


def _found(store: Any, digests: list[str]) -> list[str]:
    """Return which recipes find a result."""
    return sorted(store.find_results(WORKFLOW, {digest: digest for digest in digests}), key=digests.index)


class _InOrder(BaseWorkflow):
    """Makes one call at a time, in this process."""

    def execute(self, run: Run) -> None:
        for task in run.in_order():
            run.perform_here(task)


def _run(store: Any, workflow_name: str, labels: dict[str, str]) -> str:
    """Run a small workflow with a store; return the id of the run."""
    workflow = _InOrder(same(same(1).set_name("a")).set_name("b"), workflow_name=workflow_name)
    workflow.set_storage(store)
    workflow.run(reuse="never", labels=labels)
    return list_runs(store, workflow_name)[0].id


def _run_with(store: Any, value: object) -> str:
    """Run a small workflow with a store; return the digest of the recipe of its only step."""
    workflow = _InOrder(same(value).set_name("a"), workflow_name=WORKFLOW)
    workflow.set_storage(store)
    workflow.run()
    digest = read_run(store, "latest", WORKFLOW).steps["a"].recipe
    assert digest is not None
    return digest


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
