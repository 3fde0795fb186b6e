"""The conformance suite of backends: collapsed steps, many nodes that one call makes."""

from __future__ import annotations

import os
from typing import Any

import pytest

from functionfuse import workflow
from functionfuse.backends.plugins import RandomStatePlugin
from functionfuse.errors import CycleError, EditError, NodeError, PlanError, UnknownNodeError, WorkflowFailed
from functionfuse.testing.backend_suite import BackendSuite, StepLog, actions, requires
from functionfuse.testing.functions import (
    IncrementalSum,
    add,
    draw,
    fails,
    fails_until,
    noted,
    received,
    same,
    seed_here,
    sum_of,
    total,
)
from functionfuse.testing.standard_tests import core, thorough


class CollapseTests(BackendSuite, suite=True):
    """``edit().collapse(...)``: nodes keep what is theirs, and are made where and in the order that is said."""

    @core
    def test_a_collapsed_step(self, make_workflow: Any) -> None:
        """Its nodes are made in one process, in the order of the plan; results are those of the nodes."""

        @workflow
        def process(*needs: Any) -> tuple[int, Any]:
            return os.getpid(), needs

        first = process(same([5]).set_name("outside")[0]).set_name("first")
        nodes = [process([first], number).set_name(f"n{number}") for number in range(3)]
        last = process(nodes[0][1][1], {"k": nodes[1]}).set_name("last")
        workflow_ = make_workflow(last, *nodes, process(last).set_name("behind"))
        made = workflow_.edit().collapse(["first", "last", "n0", "n1", "n2"], name="all").done()
        (pid, needs), *others, (_, behind) = made.run()
        assert others == [(pid, ([(pid, (5,))], number)) for number in range(3)]
        assert needs == (0, {"k": others[1]})
        assert behind == ((pid, needs),)
        assert [step.options.group for step in made.plan()] == [None, *["all"] * 5, None]
        assert list(made.dag) == list(workflow_.dag)

    @requires("objects")
    def test_objects(self, make_workflow: Any) -> None:
        """Calls of stateful objects keep their order, in the collapsed step and around it; or the plan is blocked."""
        counter: Any = IncrementalSum(1)
        counter.set_name("counter")
        sums = [counter.add(n).set_name(f"m{n}") for n in (10, 100, 1000)]
        between = sum_of(counter).set_name("between")
        workflow_ = make_workflow(*sums, between, counter.add(5), sum_of(counter))
        made = workflow_.edit().collapse("counter|m.*", name="calls").done()
        if not made.collapses_objects:
            with pytest.raises(PlanError, match="does not collapse calls of stateful objects"):
                made.run()
            return
        assert made.run() == workflow_.run() == [11, 111, 1111, 1111, 1116, 1116]
        with pytest.raises(CycleError, match="'calls' would need its own results, through 'm100'"):
            workflow_.edit().collapse("m10|m1000", name="calls").done()

    @thorough
    @requires("dynamic")
    def test_dynamic_nodes(self, make_workflow: Any) -> None:
        """A node that returns nodes, and those that need it."""

        @workflow
        def parent(n: int) -> Any:
            return total([add(k, 1) for k in range(n)])

        made = parent(add(1, 2).set_name("a")).set_name("p")
        workflow_ = make_workflow(add(made, 1).set_name("last"), add(3, 4).set_name("b"))
        assert workflow_.edit().collapse("a|p|last|b", name="all").done().run() == [7, 7]

    @core
    def test_failures(self, make_workflow: Any) -> None:
        """Nodes fail and are skipped as ever; the others of the step are made; failed inputs are allowed."""
        bad = fails("no").set_name("bad")
        skipped, allowed = same(bad).set_name("skipped"), received(bad).set_name("allowed")
        good, outside = same(1).set_name("good"), same(bad).set_name("outside")
        workflow_ = make_workflow(skipped, allowed, good, outside)
        workflow_ = workflow_.edit().collapse("bad|skipped|allowed|good", name="all").done()
        workflow_.query("allowed").allow_failed_inputs(default=0)
        with pytest.raises(WorkflowFailed) as caught:
            workflow_.run(on_error="continue")
        report = caught.value.report
        assert sorted(report.finished) == ["allowed", "good"]
        assert report.skipped == {"skipped": "bad", "outside": "bad"}
        error = report.failed["bad"]
        assert (error.name, type(error.__cause__)) == ("bad", ValueError)
        assert "called as fails('no')" in str(error)
        with pytest.raises(NodeError, match="'bad' failed: ValueError: no"):
            workflow_.run()

    @core
    @requires("retry")
    @requires("plugin")
    def test_options_of_members(self, make_workflow: Any, log: StepLog) -> None:
        """Retries and plugins are those of each node."""
        workflow_ = make_workflow(
            fails_until(log.path, 3).set_name("flaky"), draw().set_name("a"), draw().set_name("b")
        )
        workflow_.query("flaky").set_retry(5)
        workflow_.set_plugin("a|b", RandomStatePlugin(0, 1000, 7, seed_here))
        expected = workflow_.run()
        made = workflow_.edit().collapse(".*", name="all").done()
        log_before = len(log.words())
        assert made.run()[1:] == expected[1:]
        assert log_before == 3

    @core
    @requires("store")
    def test_stored_results(self, make_workflow: Any, store: Any, log: StepLog) -> None:
        """Each node has its own, with its own recipe and events; only what has to run is made again."""
        a, b = noted(log.path, "a", 1).set_name("a"), noted(log.path, "b", 2).set_name("b")
        last = noted(log.path, "last", 3, a, b).set_name("last")
        workflow_ = make_workflow(last)
        workflow_.set_storage(store)
        made = workflow_.edit().collapse(".*", name="all").done()
        events: list[tuple[str, str]] = []
        made.add_observer(lambda event: events.append((event.kind, event.name)))
        assert made.run() == 3
        assert [event for event in events if event[0] == "finished"] == [("finished", n) for n in ("a", "b", "last")]
        assert store.list_tasks("conformance") == ["a", "b", "last"]
        assert set(actions(workflow_.plan()).values()) == {"reuse"}
        store.remove_task("conformance", "last")
        assert made.run() == 3
        assert log.words() == ["a", "b", "last", "last"]

    @thorough
    @requires("store")
    def test_short_neighbours_and_chains(self, make_workflow: Any, store: Any) -> None:
        """By the durations of the last run, and by the shape of the graph."""
        chain = add(add(add(0, 1).set_name("c1"), 1).set_name("c2"), 1).set_name("c3")
        fan = [same(chain).set_name(f"f{n}") for n in range(3)]
        workflow_ = make_workflow(total(fan).set_name("sum"))
        chained = workflow_.edit().collapse(chains=True, name="{} and more").done()
        groups = {step.name: step.options.group for step in chained.plan()}
        assert groups == {
            **dict.fromkeys(["c1", "c2", "c3"], "c1 and more"),
            **dict.fromkeys(["f0", "f1", "f2", "sum"]),
        }
        assert chained.run() == 9
        workflow_.set_storage(store)
        assert workflow_.run() == 9
        short = workflow_.edit().collapse(max_seconds=1000.0).done()
        assert {step.options.group for step in short.plan()} == {"c1 and 6 more"}
        assert short.run(reuse="never") == 9

    def test_what_cannot_be_collapsed(self, make_workflow: Any) -> None:
        """Is refused when it is said, and what was edited before stays."""
        between = same(same(1).set_name("a")).set_name("between")
        workflow_ = make_workflow(same(between).set_name("c"))
        editor = workflow_.edit()
        for arguments, options, error, message in (
            (["nothing"], {}, UnknownNodeError, "'nothing'"),
            ([["a", "absent"]], {}, UnknownNodeError, "'absent'"),
            ([], {}, EditError, "takes a pattern, names"),
            ([], {"chains": True, "max_seconds": 1.0}, EditError, "not both"),
            (["a|c"], {"name": "between"}, EditError, "cannot have the name of a node, 'between'"),
        ):
            with pytest.raises(error, match=message):
                editor.collapse(*arguments, **options)
        with pytest.raises(CycleError, match="'g' would need its own results, through 'between'"):
            workflow_.edit().collapse("a|c", name="g").done()
        assert editor.collapse("a|between", name="g").done().run() == 1
