"""The conformance suite of backends: nodes that run although inputs failed, and runs that are tried again."""

from __future__ import annotations

from typing import Any

import pytest

from functionfuse import workflow
from functionfuse.backends.failed_inputs import FailedInput
from functionfuse.errors import NodeError, OptionError, WorkflowFailed
from functionfuse.testing.backend_suite import BackendSuite, StepLog, actions, requires
from functionfuse.testing.functions import (
    IncrementalSum,
    exception_of,
    fails,
    fails_until,
    noted,
    raises,
    received,
    same,
    sum_of,
    total,
)
from functionfuse.testing.standard_tests import core


class FailedInputTests(BackendSuite, suite=True):
    """``query(...).allow_failed_inputs()``: what the nodes take, and what becomes of the run."""

    @core
    def test_a_failed_input(self, make_workflow: Any) -> None:
        """It has the names, the error and its cause, at any depth and behind items; the run does not fail."""
        bad, good = raises("two_arguments").set_name("bad"), same({"k": 1}).set_name("good")
        skipped = same(bad).set_name("skipped")
        taken = received(bad, [{"in": skipped}, good["k"]], key=bad["k"][2]).set_name("taken")
        workflow_ = make_workflow(taken)
        workflow_.query("taken").allow_failed_inputs()
        (first, (within, one)), keywords = workflow_.run()
        assert one == 1
        for failed, name in ((first, "bad"), (within["in"], "skipped"), (keywords["key"], "bad")):
            assert (type(failed), failed.name, type(failed.error), failed.error.name) == (
                *(FailedInput, name, NodeError),
                "bad",
            )
            expected = exception_of("two_arguments")
            assert (type(failed.error.__cause__), failed.error.__cause__.args) == (type(expected), expected.args)

    @core
    def test_a_default(self, make_workflow: Any, log: StepLog) -> None:
        """It stands in the place of the result; nodes that do not depend on the failure run as ever."""
        results = [noted(log.path, "a", 1).set_name("a"), fails("no").set_name("b"), noted(log.path, "c", 3)]
        workflow_ = make_workflow(total(results).set_name("sum"))
        workflow_.query("sum").allow_failed_inputs(default=10)
        assert workflow_.run() == 14
        assert log.sorted() == ["a", "c"]
        workflow_.query("sum").allow_failed_inputs(None)
        with pytest.raises(NodeError, match="'sum' failed: TypeError"):
            workflow_.run()

    @core
    def test_what_is_not_tolerated(self, make_workflow: Any, log: StepLog) -> None:
        """A failure that something else depends on, or that is asked for, fails the run; the node runs all the same."""
        bad = fails("no").set_name("bad")
        taken = noted(log.path, "taken", 1, bad).set_name("taken")
        other = noted(log.path, "other", 2, bad).set_name("other")
        for nodes, skipped in (((taken, other), {"other": "bad"}), ((taken, bad), {"other": "bad"})):
            workflow_ = make_workflow(*nodes)
            workflow_.query("taken").allow_failed_inputs(default=0)
            with pytest.raises(WorkflowFailed) as caught:
                workflow_.run(on_error="continue")
            report = caught.value.report
            assert (report.finished, list(report.failed), report.skipped) == (["taken"], ["bad"], skipped)
            with pytest.raises(NodeError, match="'bad' failed: ValueError: no"):
                workflow_.run()

    @requires("objects")
    def test_objects(self, make_workflow: Any) -> None:
        """A failed call fails later calls on its object, and who takes the object takes a failed input."""
        counter: Any = IncrementalSum(1)
        counter.set_name("counter")
        first, second, third = counter.add(10), counter.add("no").set_name("second"), counter.add(100)
        taken = received(first, second, third, sum_of(counter)).set_name("taken")
        workflow_ = make_workflow(taken)
        workflow_.query().allow_failed_inputs(default="failed")
        assert workflow_.run() == ((11, "failed", "failed", "failed"), {})

    @requires("dynamic")
    def test_dynamic_graphs(self, make_workflow: Any) -> None:
        """In them, before them, and behind them."""

        @workflow
        def parent(value: Any) -> Any:
            taken = received(fails("inner").set_name("bad"), value).set_name("taken")
            return taken if value == "tolerates" else [same(1), fails("deep").set_name("worse")]

        first = parent("tolerates").set_name("first")
        second = parent(fails("outer").set_name("bad")).set_name("second")
        workflow_ = make_workflow(received(first, second).set_name("taken"))
        workflow_.query("(.*/)?(taken|second)").allow_failed_inputs(default="failed")
        assert workflow_.run() == (((("failed", "tolerates"), {}), "failed"), {})

    @core
    @requires("store")
    def test_what_is_stored(self, make_workflow: Any, store: Any, log: StepLog) -> None:
        """What was made from failed inputs is read, and is not reused once the inputs can be had."""
        flaky, good = fails_until(f"{log.path}2", 2).set_name("flaky"), noted(log.path, "good", 5).set_name("good")
        taken = total([flaky, good]).set_name("taken")
        behind = same(taken).set_name("behind")
        workflow_ = make_workflow(behind)
        workflow_.set_storage(store)
        workflow_.query("taken").allow_failed_inputs(default=0)
        assert workflow_.run() == 5
        assert store.read_task("conformance", "behind") == 5
        assert actions(workflow_.plan()) == {"flaky": "run", "good": "reuse", "taken": "run", "behind": "run"}
        assert workflow_.run() == 7
        assert set(actions(workflow_.plan()).values()) == {"reuse"}
        assert log.words() == ["good"]

    @core
    @requires("store")
    @pytest.mark.parametrize("on_error", ["raise", "continue"])
    def test_a_failed_run_is_tried_again(self, make_workflow: Any, store: Any, log: StepLog, on_error: Any) -> None:
        """What failed runs, and what depends on it; what succeeded does not, also where a recipe would have it run."""
        first = noted(log.path, "first", 1).set_name("first")
        flaky = fails_until(f"{log.path}2", 3).set_name("flaky")
        workflow_ = make_workflow(noted(log.path, "last", 4, first, flaky).set_name("last"))
        workflow_.set_storage(store)
        workflow_.query("first").set_cache("never")
        with pytest.raises((NodeError, WorkflowFailed)):
            workflow_.run(on_error="continue")
        with pytest.raises((NodeError, WorkflowFailed)):
            workflow_.run(on_error=on_error, retry_failed=True)
        assert workflow_.run(retry_failed=True) == 4
        assert log.words() == ["first", "last"]
        assert workflow_.run(retry_failed=True) == 4
        assert log.words() == ["first", "last", "first", "last"]

    def test_a_failed_run_without_a_store(self, make_workflow: Any) -> None:
        """Cannot be tried again: nothing of it is left."""
        with pytest.raises(OptionError, match=r"set_storage\(...\) before that run"):
            make_workflow(same(1)).run(retry_failed=True)

    def test_an_unknown_option(self, make_workflow: Any) -> None:
        """Is named, with the one that may be meant."""
        with pytest.raises(TypeError, match=r"run\(\) got an unexpected keyword argument 'on_eror'.*'on_error'"):
            make_workflow(same(1)).run(on_eror="raise")
