"""Plans: data that can be read, sent and looked up."""

from __future__ import annotations

import pickle
import time

import pytest

from functionfuse.backends.base import BaseWorkflow
from functionfuse.backends.options import COMMON_OPTIONS
from functionfuse.containers import Nest
from functionfuse.errors import PlanError, UnknownNodeError
from functionfuse.plan import Plan, Ref, Step, fill
from functionfuse.testing import MemoryStore, RefusingWorkflow
from functionfuse.testing.functions import IncrementalSum, add, same, total


@pytest.fixture
def plan():
    a = same([1, 2]).set_name("a")
    b = same(5).set_name("b")
    total([a[0], b]).set_name("c")
    return RefusingWorkflow(a, workflow_name="flow").plan()


def test_a_plan_is_a_sequence(plan):
    assert len(plan) == 3
    assert [step.name for step in plan] == ["a", "b", "c"]
    assert plan[-1].name == "c"
    assert [step.name for step in plan[:2]] == ["a", "b"]


def test_a_plan_is_looked_up_by_name(plan):
    assert plan["b"] is plan[1]
    assert "b" in plan
    assert plan[1] in plan
    assert "x" not in plan


def test_an_unknown_step(plan):
    with pytest.raises(UnknownNodeError, match="no step is named 'x'"):
        plan["x"]


def test_steps_hold_refs_in_the_place_of_nodes(plan):
    assert plan["c"].args[0].value == [Ref("a", (0,)), Ref("b")]
    assert plan["c"].needs == ("a", "b")


def test_arguments_are_put_together(plan):
    results = {"a": [1, 2], "b": 5}
    assert plan["c"].arguments(lambda ref: ref.take(results[ref.step])) == (([1, 5],), {})


def test_a_step_without_refs_passes_its_arguments(plan):
    assert plan["b"].arguments(lambda ref: 1 / 0) == ((5,), {})


def test_methods_need_their_object_and_come_after_each_other():
    made = IncrementalSum(same(1).set_name("start")).set_name("object")
    made.add(1).set_name("first")
    made.add(2).set_name("second")
    plan = RefusingWorkflow(made, workflow_name="flow").plan()
    assert [(s.name, s.needs, tuple(s.after), s.instance) for s in plan] == [
        ("start", (), (), None),
        ("object", ("start",), (), "object"),
        ("first", ("object",), ("object",), "object"),
        ("second", ("object",), ("first",), "object"),
    ]


def test_how_a_plan_is_shown(plan):
    assert repr(plan) == "<plan of 'flow' with 3 steps>"
    assert str(plan).splitlines() == [
        "plan of 'flow': 3 run",
        "run     a  no store is set",
        "run     b  no store is set",
        "run     c  no store is set",
    ]
    html = plan._repr_html_()
    assert "plan of &#x27;flow&#x27;: 3 run" in html
    assert html.count('<th scope="row"') == 3
    assert str(Plan([], workflow_name="none")) == "plan of 'none': nothing to do"


def test_steps_by_action(plan):
    assert plan.having("run") == ["a", "b", "c"]
    assert plan.having("reuse") == []


def test_a_plan_can_be_sent(plan):
    copy = pickle.loads(pickle.dumps(plan))
    assert [(s.name, s.needs, s.action, s.reason) for s in copy] == [
        (s.name, s.needs, s.action, s.reason) for s in plan
    ]
    assert copy["a"].target is plan["a"].target


def test_a_ref_follows_its_path():
    ref = Ref("a", ("k", -1, slice(1, None)))
    assert ref.take({"k": [0, [1, 2, 3]]}) == [2, 3]
    assert repr(ref) == "Ref('a')['k'][-1][slice(1, None, None)]"


def test_refs_are_compared_by_value():
    assert Ref("a", (slice(1),)) == Ref("a", (slice(1),))
    assert len({Ref("a", (slice(1),)), Ref("a", (slice(1),)), Ref("a"), Ref("b")}) == 3


def test_filling():
    def value_of(ref):
        return ref.step.upper()

    assert fill(Ref("a"), value_of) == "A"
    assert fill(Nest({"k": (Ref("a"), 1)}), value_of) == {"k": ("A", 1)}
    assert fill([Ref("a")], value_of) == [Ref("a")]


# Options that an engine does not support


class NoRetries(BaseWorkflow):
    supports = COMMON_OPTIONS - {"retry"}

    def execute(self, run):
        for task in run.in_order():
            run.perform_here(task)


@pytest.fixture
def without_retries():
    first = same(1).set_name("first")
    flow = NoRetries(add(first, 1).set_name("second"), same(3).set_name("beside"), workflow_name="flow")
    flow.query("first").set_retry(1)
    return flow


def test_an_unsupported_option_blocks_the_step_and_what_needs_it(without_retries):
    assert [(s.name, s.action, s.reason) for s in without_retries.plan()] == [
        ("first", "blocked", "NoRetries does not support the option 'retry'"),
        ("second", "blocked", "needs 'first', which is blocked"),
        ("beside", "run", "no store is set"),
    ]


def test_a_blocked_plan_does_not_start(without_retries):
    heard = []
    without_retries.add_observer(heard.append)
    with pytest.raises(
        PlanError,
        match=r"(?s)NoRetries cannot run 2 of 3 steps.*'first': NoRetries does not support",
    ):
        without_retries.run()
    assert heard == []


def test_a_stored_result_needs_no_engine(without_retries):
    store = MemoryStore()
    other = NoRetries(*[without_retries.dag.nodes["first"]], workflow_name="flow")
    other.set_storage(store)
    other.run()
    without_retries.set_storage(store)
    assert without_retries.run() == [2, 3]


def test_a_step_has_defaults():
    step = Step("a", same, (), {}, (), ())
    assert (step.action, step.recipe, step.options.given()) == ("run", None, {})


class Restless:
    """Describes itself otherwise each time."""

    def __reduce__(self):
        return Restless, (), {"now": time.perf_counter_ns()}


@pytest.mark.parametrize("value", [Restless(), [1, {"a": Restless()}]])
def test_an_argument_that_is_never_the_same_is_named(value):
    made = NoRetries(same(value).set_name("n"), workflow_name="w")
    made.set_storage(MemoryStore())
    made.run()
    with pytest.warns(UserWarning, match=r"'n' is not reused, and none .*Restless in its arguments has another"):
        assert made.plan()["n"].reason.startswith("argument value changed (")


def test_an_argument_that_changed_is_not_named_as_one_that_is_never_the_same():
    store = MemoryStore()
    for value in (complex(1), complex(2)):
        made = NoRetries(same([value]).set_name("n"), workflow_name="w")
        made.set_storage(store)
        made.run()
    assert len(store.list_tasks("w")) == 1
