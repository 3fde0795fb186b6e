"""The conformance suite of backends: stored results, and when they are used again."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from functionfuse import workflow
from functionfuse.errors import NodeError, OptionError
from functionfuse.testing.backend_suite import BackendSuite, StepLog, actions, requires
from functionfuse.testing.functions import (
    Histogram,
    NotedSum,
    PlainResults,
    Unkept,
    WriterFunctions,
    add,
    noted,
    same,
    sum_of,
)
from functionfuse.testing.refusing import RefusingWorkflow
from functionfuse.testing.standard_tests import core

if TYPE_CHECKING:
    from pathlib import Path


@requires("store")
class ReuseTests(BackendSuite, suite=True):
    """Never a stale result, never a needless run."""

    @pytest.fixture
    def stored(self, make_workflow: Any, store: Any) -> Any:
        """Make a workflow with a store."""

        def make(*nodes: Any, **options: Any) -> Any:
            made = make_workflow(*nodes, **options)
            made.set_storage(store)
            return made

        return make

    @pytest.fixture
    def branches(self, log: StepLog) -> Any:
        """A graph with two branches; each argument belongs to one of its nodes."""

        def make(left: int = 1, right: int = 2) -> Any:
            load = noted(log.path, "load", 0).set_name("load")
            lefts = noted(log.path, "left", left, load).set_name("left")
            rights = noted(log.path, "right", right, load).set_name("right")
            return noted(log.path, "join", [lefts, rights]).set_name("join")

        return make

    def test_every_result_is_stored(self, stored: Any, store: Any, branches: Any) -> None:
        """Once, under the node's name, with the recipe."""
        stored(branches()).run()
        assert store.list_tasks("conformance") == ["join", "left", "load", "right"]
        assert store.read_task("conformance", "join") == [1, 2]
        assert store.info("conformance", "join")["recipe"]["digest"]

    @core
    def test_a_restart_computes_nothing(self, stored: Any, store: Any, branches: Any, log: StepLog) -> None:
        """Neither in this workflow, nor in one of a new session, nor on another engine."""
        first = stored(branches())
        assert first.run() == [1, 2]
        refusing = RefusingWorkflow(branches(), workflow_name="conformance")
        refusing.set_storage(store)
        assert [first.run(), stored(branches()).run(), refusing.run()] == [[1, 2]] * 3
        assert log.sorted() == ["join", "left", "load", "right"]

    def test_the_plan_of_a_restart(self, stored: Any, branches: Any) -> None:
        """Names what is reused, and why."""
        made = stored(branches())
        assert {step.reason for step in made.plan()} == {"no stored result"}
        made.run()
        plan = made.plan()
        assert actions(plan) == dict.fromkeys(["load", "left", "right", "join"], "reuse")
        assert {step.reason for step in plan} == {"stored, with the same recipe"}

    def test_a_changed_argument(self, stored: Any, branches: Any, log: StepLog) -> None:
        """Only its branch runs again, as planned."""
        stored(branches()).run()
        changed = stored(branches(left=7))
        plan = changed.plan()
        assert actions(plan) == {"load": "reuse", "left": "run", "right": "reuse", "join": "run"}
        assert [plan["left"].reason, plan["join"].reason] == ["changed: arguments", "changed: inputs"]
        before = len(log.words())
        assert changed.run() == [7, 2]
        assert log.words()[before:] == ["left", "join"]

    @core
    def test_a_changed_function(self, stored: Any) -> None:
        """An edit of the function counts, a comment in it does not."""

        def edition(number: int) -> Any:
            if number == 1:

                @workflow
                def compute(x: int) -> int:
                    return x + 1

            elif number == 2:

                @workflow
                def compute(x: int) -> int:
                    """Has a docstring now."""
                    # and a comment
                    return x + 1

            else:

                @workflow
                def compute(x: int) -> int:
                    return x + 2

            return stored(compute(1).set_name("compute"))

        assert edition(1).run() == 2
        assert [edition(n).plan()["compute"].action for n in (1, 2, 3)] == ["reuse", "reuse", "run"]
        assert edition(3).plan()["compute"].reason == "changed: function"
        assert edition(3).run() == 3

    def test_a_changed_closure(self, stored: Any) -> None:
        """What a function uses from around it counts."""

        def with_offset(offset: int) -> Any:
            @workflow
            def shifted(x: int) -> int:
                return x + offset

            return stored(shifted(1).set_name("shifted"))

        assert [with_offset(n).run() for n in (1, 1, 5)] == [2, 2, 6]

    def test_a_new_wiring(self, stored: Any) -> None:
        """Another node as an argument, or another item of it, is a change."""

        def wired(use: Any) -> Any:
            pair, other = same([1, 2]).set_name("pair"), same([3, 4]).set_name("other")
            return stored(same(use(pair, other)).set_name("consumer"))

        uses = [lambda p, o: p[0], lambda p, o: p[1], lambda p, o: o[1], lambda p, o: [p[1]]]  # noqa: ARG005
        assert [wired(use).run() for use in uses] == [1, 2, 4, [2]]

    def test_another_node_of_the_same_name(self, stored: Any) -> None:
        """Is not mistaken for the old one."""
        assert stored(same("old").set_name("n")).run() == "old"
        assert stored(noted("/dev/null", "w", "new").set_name("n")).run() == "new"

    def test_a_removed_result(self, stored: Any, store: Any, branches: Any, log: StepLog) -> None:
        """Is made again; results that were made from it are reused."""
        made = stored(branches())
        made.run()
        store.remove_task("conformance", "left")
        assert actions(made.plan()) == {"load": "reuse", "left": "run", "right": "reuse", "join": "reuse"}
        assert made.run() == [1, 2]
        assert log.words().count("left") == 2
        assert store.list_tasks("conformance") == ["join", "left", "load", "right"]

    def test_a_result_lost_between_plan_and_run(self, stored: Any, store: Any, branches: Any) -> None:
        """Is made again, with a warning; nothing fails."""
        stored(branches()).run()
        changed = stored(branches(left=7))
        lost = ["right"]

        def lose(event: Any) -> None:
            if event.kind == "reused" and event.name in lost:
                store.remove_task("conformance", lost.pop())

        changed.add_observer(lose)
        with pytest.warns(UserWarning, match="'right' cannot be read and will be made again"):
            assert changed.run() == [7, 2]
        assert store.read_task("conformance", "right") == 2

    @core
    @pytest.mark.parametrize("cache", [None, "never"])
    def test_what_runs_when_a_result_is_lost(self, stored: Any, store: Any, log: StepLog, cache: Any) -> None:
        """It ends, and does not run again, whether or not its recipe can tell."""
        kept = same("kept").set_name("kept")
        stored(kept).run()
        beside = [noted(log.path, f"beside{n}").set_name(f"beside {n}") for n in range(3)]
        made = stored(*beside, add(kept, "!").set_name("takes it"))
        made.query("beside .*").set_cache(cache)

        def lose(event: Any) -> None:
            if event.kind == "reused" and event.name == "kept":
                store.remove_task("conformance", "kept")
                losing.clear()

        losing = [lose]
        made.add_observer(lambda event: [each(event) for each in losing])
        with pytest.warns(UserWarning, match="'kept' cannot be read and will be made again"):
            made.run()
        assert store.read_task("conformance", "takes it") == "kept!"
        assert log.sorted() == ["beside0", "beside1", "beside2"]

    def test_reuse_by_name(self, stored: Any, branches: Any) -> None:
        """``reuse="name"`` compares names only."""
        stored(branches()).run()
        changed = stored(branches(left=7))
        assert changed.run(reuse="name") == [1, 2]
        assert {step.reason for step in changed.plan(reuse="name")} == {"a result is stored under this name"}

    def test_no_reuse(self, stored: Any, branches: Any, log: StepLog) -> None:
        """``reuse="never"`` runs everything."""
        made = stored(branches())
        assert [made.run(), made.run(reuse="never")] == [[1, 2], [1, 2]]
        assert log.sorted() == ["join", "join", "left", "left", "load", "load", "right", "right"]
        assert {step.reason for step in made.plan(reuse="never")} == {'reuse="never"'}

    def test_an_unknown_reuse(self, stored: Any, branches: Any) -> None:
        """Is refused with the known ones."""
        with pytest.raises(OptionError, match='"recipe", "name", "never"'):
            stored(branches()).plan(reuse="always")

    def test_versions(self, stored: Any, branches: Any) -> None:
        """A new version makes a result again, and all that needs it."""

        def versioned(version: Any) -> set[str]:
            made = stored(branches())
            made.query("left").set_cache(version=version)
            planned = actions(made.plan())
            made.run()
            return {name for name, action in planned.items() if action == "run"}

        assert [versioned(v) for v in (1, 1, 2)] == [{"load", "left", "right", "join"}, set(), {"left", "join"}]

    def test_ignored_parameters(self, stored: Any, log: StepLog) -> None:
        """Their values are left out of the recipe."""

        def with_word(word: str) -> Any:
            made = stored(noted(log.path, word, 1).set_name("n"))
            made.query("n").set_cache(ignore=["word"])
            return made

        assert [with_word(word).run() for word in ("a", "b")] == [1, 1]
        assert log.words() == ["a"]
        made = stored(same(1).set_name("n"))
        made.query().set_cache(ignore=["wrod"])
        with pytest.raises(OptionError, match=r"no parameter 'wrod'.*value"):
            made.plan()

    def test_never(self, stored: Any, branches: Any, log: StepLog) -> None:
        """The node and all that needs it run every time, without a warning."""
        for _ in range(2):
            made = stored(branches())
            made.query("right").set_cache("never")
            assert made.run() == [1, 2]
        assert log.sorted() == ["join", "join", "left", "load", "right", "right"]

    def test_log_nodes(self, stored: Any, store: Any, branches: Any, log: StepLog) -> None:
        """They run every time and are not stored."""
        for _ in range(2):
            made = stored(branches())
            made.log_nodes("join")
            assert made.run() == [1, 2]
        assert log.sorted() == ["join", "join", "left", "load", "right"]
        assert store.list_tasks("conformance") == ["left", "load", "right"]
        assert made.plan()["join"].reason == "log nodes always run"

    def test_what_has_no_fingerprint(self, stored: Any, log: StepLog) -> None:
        """It is not reused, and neither is what needs it, with one warning."""
        lock = threading.Lock()

        @workflow
        def locked(path: str) -> int:
            from functionfuse.testing.functions import note

            note(path, "locked")
            return 1 if lock else 0

        if not self.in_process:
            pytest.skip("a function with a lock cannot be sent to other processes")
        made = stored(noted(log.path, "after", 2, locked(log.path).set_name("locked")).set_name("after"))
        for _ in range(2):
            with pytest.warns(UserWarning, match=r"'locked' \(and of 1 more\).*lock") as warned:
                assert made.run() == 2
            assert len(warned) == 1
        assert log.words() == ["locked", "after"] * 2

    def test_a_result_that_cannot_be_stored(self, make_workflow: Any, store: Any) -> None:
        """The node fails, and the error states that it ran."""
        if not self.in_process:
            pytest.skip("it cannot be sent back from other processes either")

        @workflow
        def unstorable() -> Any:
            return threading.Lock()

        made = make_workflow(unstorable().set_name("n"))
        made.set_storage(store)
        with pytest.raises(NodeError, match=r"(?s)'n' failed.*it ran, but its result cannot be stored"):
            made.run()
        assert store.list_tasks("conformance") == []

    def test_the_store_is_taken_away(self, stored: Any, branches: Any, log: StepLog) -> None:
        """With None everything runs."""
        made = stored(branches())
        made.run()
        made.set_storage(None)
        made.run()
        assert len(log.words()) == 8

    def test_what_is_no_store(self, make_workflow: Any) -> None:
        """Its missing verbs are named."""
        with pytest.raises(OptionError, match="save, read_task"):
            make_workflow(same(1)).set_storage({"path": "storage"})

    def test_read_back(self, stored: Any, store: Any) -> None:
        """With ``always_read``, what was read is passed on, not what was returned."""
        store.always_read = True

        @workflow
        def identity(value: Any) -> Any:
            return value

        assert stored(identity(identity([1]))).run() == [1]

    # Stores with few methods

    @pytest.mark.parametrize("store_class", [WriterFunctions, PlainResults])
    def test_a_store_with_few_methods(
        self, make_workflow: Any, tmp_path: Path, log: StepLog, store_class: type
    ) -> None:
        """Is used as specified; it stores no recipes, so only ``reuse="name"`` reuses."""
        flow = make_workflow(noted(log.path, "node1", 7).set_name("node1"), workflow_name="w")
        flow.set_storage(store_class(tmp_path / "third party"))
        assert flow.run() == 7
        assert (tmp_path / "third party" / "w" / "node1").exists()
        assert flow.run(reuse="name") == 7
        assert log.words() == ["node1"]
        with pytest.warns(UserWarning, match="stores no recipes"):
            assert flow.run() == 7
        assert log.words() == ["node1", "node1"]

    # Stateful objects

    @requires("objects")
    def test_an_object_is_not_made_for_stored_results(self, stored: Any, log: StepLog) -> None:
        """When all of its calls are stored."""

        def made(last: int) -> Any:
            one: Any = NotedSum(log.path, same(0))
            one.add("first", 1).set_name("first")
            return stored(one.add("second", last).set_name("second"))

        assert [made(2).run(), made(2).run()] == [3, 3]
        assert log.words() == ["start", "first", "second"]

    @requires("objects")
    def test_a_changed_call(self, stored: Any, log: StepLog) -> None:
        """Gives the right result, from an object in the right state; earlier results are the same."""

        def made(last: int) -> Any:
            one: Any = NotedSum(log.path, 0)
            first = one.add("first", 1).set_name("first")
            return stored(first, one.add("second", last).set_name("second"))

        assert [made(2).run(), made(10).run(), made(10).run()] == [[1, 3], [1, 11], [1, 11]]
        assert log.words() == ["start", "first", "second", "second"]

    @requires("objects")
    def test_a_changed_reader(self, stored: Any, log: StepLog) -> None:
        """A node that takes a stateful object gets its state at that line of the program."""

        def made(factor: int) -> Any:
            @workflow
            def read(one: Any, by: int) -> Any:
                return one.sum * by

            one: Any = NotedSum(log.path, 1)
            one.add("first", 1).set_name("first")
            between = read(one, factor).set_name("between")
            one.add("second", 1).set_name("second")
            return stored(between, sum_of(one).set_name("at_the_end"))

        assert [made(1).run(), made(1).run(), made(5).run(), made(5).run()] == [[2, 3], [2, 3], [10, 3], [10, 3]]
        assert log.words() == ["start", "first", "second"]

    @core
    @requires("objects")
    def test_a_chain_of_calls_that_broke_off(self, stored: Any, log: StepLog) -> None:
        """Goes on from the state after the last call that was done."""

        def made(limit: int) -> Any:
            one: Any = NotedSum(log.path, 0)
            one.add("first", 1).set_name("first")
            one.add("second", 1).set_name("second")
            one.add_up_to(limit, 1).set_name("third")
            return stored(one.add("fourth", 1).set_name("fourth"))

        with pytest.raises(NodeError, match="'third' failed: ValueError: more than 2"):
            made(2).run()
        assert made(3).run() == 4
        assert log.words() == ["start", "first", "second", "fourth"]

    @requires("objects")
    def test_an_object_goes_on_and_changes_its_array(self, stored: Any) -> None:
        """What is read from a store may be written to."""
        np = pytest.importorskip("numpy", reason="numpy is not installed")

        def made(calls: int) -> Any:
            one: Any = Histogram(np.zeros(40_000))
            return stored(*[one.count(7).set_name(f"call {n}") for n in range(calls)])

        assert made(1).run() == 1
        assert made(3).run() == [1, 2, 3]

    @requires("objects")
    def test_an_object_asked_for_again(self, stored: Any, log: StepLog) -> None:
        """Is read in its last state."""

        def made() -> Any:
            one: Any = NotedSum(log.path, 1)
            one.add("first", 1).set_name("first")
            return stored(one.set_name("one"))

        assert [made().run().sum, made().run().sum] == [2, 2]
        assert log.words() == ["start", "first"]

    @requires("objects")
    def test_an_object_that_cannot_be_kept(self, stored: Any, log: StepLog) -> None:
        """Is made again, with all of its calls, when one of them has to run."""
        if not self.in_process and not self.objects_stay:
            pytest.skip("such an object cannot be sent to other processes")

        def made(last: int) -> Any:
            one: Any = Unkept(log.path)
            one.add("first", 1).set_name("first")
            return stored(one.add("second", last).set_name("second"))

        with pytest.warns(UserWarning, match="the state of 'Unkept_0000' cannot be saved") as warned:
            assert made(1).run() == 2
        assert len(warned) == 1
        assert made(1).run() == 2
        with pytest.warns(UserWarning, match="cannot be saved"):
            assert made(5).run() == 6
        assert log.words() == ["first", "second", "first", "second"]

    @requires("objects")
    def test_a_call_before_another(self, stored: Any, log: StepLog) -> None:
        """A call put in front changes the state that all later ones see."""

        def made(extra: bool) -> Any:
            one: Any = NotedSum(log.path, 0)
            if extra:
                one.add("extra", 100).set_name("extra")
            return stored(one.add("last", 1).set_name("last"))

        assert [made(False).run(), made(True).run(), made(False).run()] == [1, 101, 1]
