"""The conformance suite of backends: stored results, and when they are used again."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

import pytest

from functionfuse import sweep, workflow
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
    read_and_count,
    received,
    same,
    sum_of,
)
from functionfuse.testing.refusing import RefusingWorkflow
from functionfuse.testing.standard_tests import core, thorough

if TYPE_CHECKING:
    from pathlib import Path


@requires("store")
class ReuseTests(BackendSuite, suite=True):
    """Never a stale result, never a needless run."""

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
        assert {step.reason for step in made.plan()} == {"no result yet"}
        made.run()
        plan = made.plan()
        assert actions(plan) == dict.fromkeys(["load", "left", "right", "join"], "reuse")
        assert {step.reason for step in plan} == {"stored, with the same recipe"}

    @core
    def test_what_was_made_before_is_found_again(self, stored: Any, branches: Any, log: StepLog) -> None:
        """A parameter that is set back runs nothing, and its results have their names again."""
        stored(branches()).run()
        stored(branches(left=7)).run()
        before = log.words()
        again = stored(branches())
        plan = again.plan()
        assert actions(plan) == dict.fromkeys(["load", "left", "right", "join"], "reuse")
        assert {step.reason for step in plan} == {"stored, with the same recipe"}
        assert again.run() == [1, 2]
        assert log.words() == before

    @thorough
    def test_another_workflow_finds_what_was_made(
        self, stored: Any, make_workflow: Any, store: Any, branches: Any, log: StepLog
    ) -> None:
        """And each result can be read under its new name, also when the first workflow is removed."""
        stored(branches()).run()
        other = make_workflow(branches(), workflow_name="other")
        other.set_storage(store)
        assert other.run() == [1, 2]
        assert log.sorted() == ["join", "left", "load", "right"]
        store.remove_workflow("conformance")
        assert store.list_tasks("other") == ["join", "left", "load", "right"]
        assert [store.read_task("other", name) for name in ("join", "left")] == [[1, 2], 1]

    def test_a_sweep(self, stored: Any, store: Any) -> None:
        """Results come by labels, to nodes and to the user, and are stored under names with brackets."""
        runs = sweep(add, a=[1, 2], b=[10])
        expected = {(1, 10): 11, (2, 10): 12}
        flow = stored(runs, received(runs).set_name("all"))
        assert [flow.run(), flow.run()] == [[expected, ((expected,), {})]] * 2
        assert store.list_tasks("conformance") == ["add[a=1,b=10]", "add[a=2,b=10]", "all"]
        assert flow.plan().having("reuse") == store.list_tasks("conformance")
        assert [len(flow.query(re.escape("add[a=1,b=10]"))), len(flow.query(r"add\[.*b=10\]"))] == [1, 2]

    @thorough
    def test_one_result(self, stored: Any, branches: Any) -> None:
        """Is read by name; where its recipe does not fit any more, a warning says so."""
        made = stored(branches())
        made.run()
        assert [made.result("left"), made.result("join")] == [1, [1, 2]]
        with pytest.warns(UserWarning, match="'left' is not what a run would give now: "):
            assert stored(branches(left=7)).result("left") == 1

    @core
    def test_early_cutoff(self, stored: Any, log: StepLog) -> None:
        """What follows from a step that gives the same again is reused, in this run and as planned in later ones."""

        def make(seed: int) -> Any:
            parity = noted(log.path, "parity", seed % 2, seed).set_name("parity")
            shown = noted(log.path, "shown", "text", parity).set_name("shown")
            by = noted(log.path, "by", 1).set_name("by")
            return stored(add(parity, 1).set_name("next"), noted(log.path, "last", 0, [shown, by]).set_name("last"))

        def words_of(made: Any, results: list[int]) -> list[str]:
            before = len(log.words())
            assert made.run() == results
            return sorted(log.words()[before:])

        first = make(2)
        if not first.early_cutoff:
            pytest.skip("its steps do not wait for inputs")
        first.run()
        plan = make(4).plan()
        assert actions(plan) == {"parity": "run", "next": "check", "shown": "check", "by": "reuse", "last": "check"}
        assert plan["shown"].reason == "'parity' will run; reused if its result is unchanged"
        assert words_of(make(4), [1, 0]) == ["parity"]
        assert set(actions(make(4).plan()).values()) == {"reuse"}
        assert words_of(make(4), [1, 0]) == []
        assert words_of(make(5), [2, 0]) == ["parity", "shown"]  # whose result is the same again
        assert set(actions(make(5).plan()).values()) == set(actions(make(2).plan()).values()) == {"reuse"}
        assert words_of(make(7), [2, 0]) == ["parity"]
        assert words_of(make(9), [2, 0]) == ["parity"]

    @thorough
    def test_verified_results(self, stored: Any, log: StepLog, tmp_path: Any) -> None:
        """Steps that are reused are made again and compared; what differs is told, and the stored result stands."""

        def make() -> Any:
            stable = noted(log.path, "stable", {"a": [1, 2]}).set_name("stable")
            counted = read_and_count(str(tmp_path / "count")).set_name("counted")
            return stored(add(counted, 0).set_name("next"), stable)

        first = make()
        if not first.verifies:
            with pytest.raises(OptionError, match="does not verify results"):
                first.run(verify=0.5)
            pytest.skip("its steps are not made again")
        results = first.run()
        with pytest.warns(UserWarning, match="node 'counted' is not deterministic: its result has another content"):
            assert make().run(verify=1) == results
        assert log.words() == ["stable", "stable"]
        assert make().run() == results
        assert log.words() == ["stable", "stable"]
        assert make().run(verify=0) == results

    @pytest.mark.parametrize("verify", [-0.1, 1.1, "all", True, float("nan")])
    def test_shares_that_are_none(self, stored: Any, verify: Any) -> None:
        """They are refused before anything runs."""
        with pytest.raises(OptionError, match="verify is a share of the reused nodes, from 0 to 1"):
            stored(same(1).set_name("n")).run(verify=verify)

    def test_a_changed_argument(self, stored: Any, branches: Any, log: StepLog) -> None:
        """Only its branch runs again, as planned."""
        stored(branches()).run()
        changed = stored(branches(left=7))
        plan = changed.plan()
        follows = "check" if changed.early_cutoff else "run"
        assert actions(plan) == {"load": "reuse", "left": "run", "right": "reuse", "join": follows}
        why = "'left' will run; reused if its result is unchanged" if changed.early_cutoff else "input 'left' will run"
        assert [plan["left"].reason, plan["join"].reason] == ["argument value: 1 -> 7", why]
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
        assert edition(3).plan()["compute"].reason == "the code of compute() changed"
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
            return {name for name, action in planned.items() if action in ("run", "check")}

        assert [versioned(v) for v in (1, 1, 2)] == [{"load", "left", "right", "join"}, set(), {"left", "join"}]

    def test_a_trusted_node(self, stored: Any, branches: Any, log: StepLog) -> None:
        """Its name alone decides, and what follows is as if nothing had changed."""

        def trusting(left: int, right: int = 2) -> Any:
            made = stored(branches(left=left, right=right))
            made.query("left").set_cache("trust")
            return made

        assert trusting(1).run() == [1, 2]
        plan = trusting(7).plan()
        assert (plan["left"].reason, set(actions(plan).values())) == ('set_cache("trust")', {"reuse"})
        assert trusting(7).run() == [1, 2]
        assert actions(trusting(7, 3).plan())["left"] == "reuse"
        assert trusting(7, 3).run() == [1, 3]
        assert log.words().count("left") == 1
        assert stored(branches(left=7)).run() == [7, 2]

    @thorough
    def test_a_trusted_result_that_was_stored_by_hand(self, stored: Any, store: Any, branches: Any) -> None:
        """It needs no recipe, and what follows is reused while it stays."""
        store.save("conformance", "left", 5)

        def make() -> Any:
            made = stored(branches())
            made.query("left").set_cache("trust")
            return made

        assert make().run() == [5, 2]
        assert set(actions(make().plan()).values()) == {"reuse"}
        store.save("conformance", "left", 6)
        assert make().run() == [6, 2]

    @thorough
    def test_the_age_of_results(self, stored: Any, branches: Any, log: StepLog) -> None:
        """One that is too old is made again; with the same content, nothing else is."""

        def aging(seconds: float) -> Any:
            made = stored(branches())
            made.query("left").set_cache(max_age=seconds)
            return made

        aging(3600).run()
        assert set(actions(aging(3600).plan()).values()) == {"reuse"}
        plan = aging(1e-9).plan()
        assert "max_age is 1e-09 s" in plan["left"].reason
        assert actions(plan)["left"] == "run"
        assert actions(plan)["load"] == actions(plan)["right"] == "reuse"
        before = len(log.words())
        assert aging(1e-9).run() == [1, 2]
        assert log.words()[before:] == (["left"] if aging(1).early_cutoff else ["left", "join"])
        assert set(actions(aging(3600).plan()).values()) == {"reuse"}

    @pytest.mark.parametrize("max_age", [0, -1, "1 h", True, float("nan")])
    def test_ages_that_are_none(self, make_workflow: Any, max_age: Any) -> None:
        """The query refuses them; and modes that there are not."""
        made = make_workflow(same(1).set_name("n"))
        with pytest.raises(OptionError, match="max_age is a number of seconds above 0"):
            made.query("n").set_cache(max_age=max_age)
        with pytest.raises(OptionError, match='known: "never", "trust"'):
            made.query("n").set_cache("always")
        with pytest.raises(OptionError, match="max_age"):
            made.query("n").set_cache("trust", max_age=1)

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

    @core
    def test_a_call_spelled_otherwise(self, stored: Any, store: Any, log: StepLog) -> None:
        """Its stored result stands: arguments by name, in another order, and a spelled-out default."""
        left = noted(log.path, "left").set_name("left")
        assert stored(noted(log.path, "join", [left, 1]).set_name("join")).run() == [None, 1]
        left = noted(word="left", log=log.path, value=None).set_name("left")
        join = noted(value=[left, 1], word="join", log=log.path).set_name("join")
        again = stored(join)
        assert actions(again.plan()) == {"left": "reuse", "join": "reuse"}
        refusing = RefusingWorkflow(join, workflow_name="conformance")
        refusing.set_storage(store)
        assert [again.run(), refusing.run()] == [[None, 1]] * 2
        assert log.words() == ["left", "join"]

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
    @thorough
    def test_a_call_of_an_object_spelled_otherwise(self, stored: Any, log: StepLog) -> None:
        """Gives the stored result, and the object is not made."""
        one: Any = NotedSum(log.path, 0)
        assert stored(one.add("first", 1).set_name("first")).run() == 1
        other: Any = NotedSum(start=0, log=log.path)
        assert stored(other.add(n=1, word="first").set_name("first")).run() == 1
        assert log.words() == ["start", "first"]

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
