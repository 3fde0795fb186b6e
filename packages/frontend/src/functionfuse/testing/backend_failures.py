"""The conformance suite of backends: failures, retries, time limits, interrupts."""

from __future__ import annotations

import json
import sys
import traceback
from typing import Any

import pytest

from functionfuse import workflow
from functionfuse.errors import NodeError, NodeTimeoutError, OptionError, WorkflowFailed
from functionfuse.testing.backend_suite import BackendSuite, StepLog, requires
from functionfuse.testing.functions import (
    BASE_EXCEPTIONS,
    drains,
    exception_of,
    fails,
    fails_until,
    noted,
    raises,
    raises_base,
    same,
    waits,
    waits_again_and_again,
)
from functionfuse.testing.standard_tests import core


class NeedsTwo(Exception):  # noqa: N818
    """Cannot be unpickled: its constructor takes more than its message."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class FailureTests(BackendSuite, suite=True):
    """What the error of a failing node contains, and what runs without it."""

    @core
    def test_a_failing_node(self, make_workflow: Any) -> None:
        """Its name, its function, what it was called with, what was raised, and the user's own line."""
        with pytest.raises(NodeError) as caught:
            make_workflow(fails("my words", same(5)).set_name("culprit")).run()
        error = caught.value
        assert (error.name, error.function) == ("culprit", "fails")
        assert "'culprit' failed: ValueError: my words" in str(error)
        assert "fails('my words', 5)" in str(error)
        place = str(error).splitlines()[-1]
        assert place.startswith("  at ")
        assert "functions.py:" in place
        assert place.endswith(", in fails: raise ValueError(text)")
        assert (type(error.__cause__), str(error.__cause__)) == (ValueError, "my words")

    @core
    @pytest.mark.parametrize("kind", ["plain", "own_reduce"])
    def test_the_traceback_of_the_function(self, make_workflow: Any, kind: str) -> None:
        """The user's own lines are shown, wherever they ran, whatever the exception, and none of those around them."""

        @workflow
        def outer() -> Any:
            return json.loads("{") if kind == "own_reduce" else inner()

        def inner() -> Any:
            raise KeyError("absent")

        with pytest.raises(NodeError) as caught:
            make_workflow(outer()).run()
        shown = "".join(traceback.format_exception(caught.value))
        assert "in outer" in shown
        assert ("in inner" in shown) == (kind == "plain")
        assert "in evaluate" not in shown
        assert str(caught.value).endswith("inner()" if kind == "own_reduce" else 'raise KeyError("absent")')
        assert isinstance(caught.value.__cause__, ValueError if kind == "own_reduce" else KeyError)

    @core
    def test_an_exception_that_cannot_travel(self, make_workflow: Any) -> None:
        """Its type and text do."""

        @workflow
        def raises() -> None:
            raise NeedsTwo("special words", 5)

        with pytest.raises(NodeError, match="NeedsTwo: special words") as caught:
            make_workflow(raises().set_name("n")).run()
        assert "NeedsTwo" in "".join(traceback.format_exception(caught.value))

    @core
    @pytest.mark.parametrize("kind", ["two_arguments", "no_text", "group", "os", "slots", "import"])
    def test_the_exception_of_the_function(self, make_workflow: Any, kind: str) -> None:
        """Its type, arguments, attributes, notes and cause arrive, whatever its constructor takes."""
        with pytest.raises(NodeError, match="'n' failed: ") as caught:
            make_workflow(raises(kind).set_name("n")).run()
        error: Any = caught.value.__cause__
        expected = exception_of(kind)
        assert (type(error), type(error.__cause__)) == (type(expected), KeyError)
        assert error.__notes__[0] == "a note"
        if kind == "group":
            (error,), (expected,) = error.exceptions, expected.exceptions
        assert (error.args, type(error)) == (expected.args, type(expected))
        for attribute in ("code", "errno", "name"):
            assert getattr(error, attribute, None) == getattr(expected, attribute, None)

    @core
    @pytest.mark.parametrize("kind", ["cancelled", "generator_exit", "own"])
    def test_every_exception_is_a_failure(self, make_workflow: Any, kind: str) -> None:
        """Also one that is no Exception: asyncio's, pytest's, trio's. The others run, and so does the next run."""
        workflow_ = make_workflow(raises_base(kind).set_name("bad"), same(1).set_name("good"))
        with pytest.raises(WorkflowFailed) as caught:
            workflow_.run(on_error="continue")
        report = caught.value.report
        assert (list(report.failed), list(report.finished)) == (["bad"], ["good"])
        assert type(report.failed["bad"].__cause__) is BASE_EXCEPTIONS[kind]
        assert make_workflow(same(2)).run() == 2

    @core
    @pytest.mark.parametrize("name", ["inner", "outer"])
    def test_a_failed_run_within_a_node(self, make_workflow: Any, name: str) -> None:
        """The error names the node of this graph; that of the inner run is its cause, whatever the name of its node."""

        @workflow
        def runs_another() -> None:
            raise NodeError(f"node {name!r} failed: ValueError: no", name=name, function="fit")

        workflow_ = make_workflow(runs_another().set_name("outer"), same(1).set_name("other"))
        with pytest.raises(WorkflowFailed) as caught:
            workflow_.run(on_error="continue")
        failed = caught.value.report.failed
        assert list(failed) == ["outer"]
        assert str(failed["outer"]).startswith(f"node 'outer' failed: NodeError: node {name!r} failed: ValueError: no")
        inner = failed["outer"].__cause__
        assert (type(inner), getattr(inner, "name", None)) == (NodeError, name)

    @core
    def test_an_exit_is_a_failure(self, make_workflow: Any) -> None:
        """``sys.exit()`` in a function does not end the run without a word."""

        @workflow
        def leaves() -> None:
            sys.exit(3)

        with pytest.raises(NodeError, match="'leaver' failed: SystemExit: 3"):
            make_workflow(leaves().set_name("leaver")).run()

    def test_stop_iteration_is_a_failure(self, make_workflow: Any) -> None:
        """It means nothing to the engine."""

        @workflow
        def exhausted() -> Any:
            return next(iter([]))

        with pytest.raises(NodeError) as caught:
            make_workflow(exhausted()).run()
        assert type(caught.value.__cause__) is StopIteration

    def test_a_failure_stops_what_comes_after(self, make_workflow: Any, log: StepLog) -> None:
        """Nothing that needs the node runs."""
        bad = fails("stop", noted(log.path, "before"))
        with pytest.raises(NodeError):
            make_workflow(noted(log.path, "after", None, bad)).run()
        assert log.words() == ["before"]

    @core
    def test_going_on_after_a_failure(self, make_workflow: Any, log: StepLog) -> None:
        """Independent branches run; the report holds what became of every step."""
        bad = fails("no").set_name("bad")
        needs = noted(log.path, "needs", 1, bad).set_name("needs")
        noted(log.path, "needs_that", 1, needs).set_name("needs_that")
        good = noted(log.path, "good", 1).set_name("good")
        after = noted(log.path, "after", 1, good).set_name("after")
        workflow_ = make_workflow(bad, after)
        with pytest.raises(WorkflowFailed, match="2 finished, 0 reused, 1 failed, 2 skipped") as caught:
            workflow_.run(on_error="continue")
        report = caught.value.report
        assert sorted(report.finished) == ["after", "good"]
        assert list(report.failed) == ["bad"]
        assert isinstance(report.failed["bad"].__cause__, ValueError)
        assert report.skipped == {"needs": "bad", "needs_that": "bad"}
        assert log.words() == ["good", "after"]

    def test_several_failures(self, make_workflow: Any) -> None:
        """All are reported."""
        nodes = [fails(f"{n}").set_name(f"bad {n}") for n in range(3)]
        with pytest.raises(WorkflowFailed) as caught:
            make_workflow(*nodes).run(on_error="continue")
        assert sorted(caught.value.report.failed) == ["bad 0", "bad 1", "bad 2"]
        assert caught.value.__cause__ in caught.value.report.failed.values()

    def test_nothing_failed(self, make_workflow: Any) -> None:
        """``on_error="continue"`` returns results like any run."""
        assert make_workflow(same(1)).run(on_error="continue") == 1

    def test_an_unknown_policy(self, make_workflow: Any) -> None:
        """Is refused with the known ones."""
        with pytest.raises(OptionError, match='"raise", "continue"'):
            make_workflow(same(1)).run(on_error="ignore")

    def test_an_item_that_was_asked_for(self, make_workflow: Any) -> None:
        """If the result has it not, the error names the node."""
        with pytest.raises(NodeError, match="'short'") as caught:
            make_workflow(same([1]).set_name("short")[3]).run()
        assert type(caught.value.__cause__) is IndexError

    @core
    @requires("store")
    def test_what_succeeded_is_kept(self, make_workflow: Any, store: Any, log: StepLog) -> None:
        """The next run starts from there."""
        first = noted(log.path, "first", 1).set_name("first")
        second = fails_until(f"{log.path}2", 2).set_name("second")
        last = noted(log.path, "last", 3, first, second).set_name("last")
        workflow_ = make_workflow(last)
        workflow_.set_storage(store)
        with pytest.raises(WorkflowFailed):
            workflow_.run(on_error="continue")
        assert store.list_tasks("conformance") == ["first"]
        assert workflow_.run() == 3
        assert log.words() == ["first", "last"]

    @core
    @requires("store")
    def test_an_interrupt(self, make_workflow: Any, store: Any, log: StepLog) -> None:
        """Ctrl-C ends the run; what is stored stays, and the next run goes on from there."""
        first = noted(log.path, "first", 1).set_name("first")
        workflow_ = make_workflow(noted(log.path, "second", 2, first).set_name("second"))
        workflow_.set_storage(store)
        presses = [KeyboardInterrupt]

        def press(event: Any) -> None:
            if event.kind == "finished" and presses:
                raise presses.pop()

        workflow_.add_observer(press)
        with pytest.raises(KeyboardInterrupt):
            workflow_.run()
        assert store.list_tasks("conformance") == ["first"]
        assert workflow_.run() == 2
        assert log.words() == ["first", "second"]

    # Retries and time limits

    @core
    @requires("retry")
    def test_a_retry(self, make_workflow: Any, log: StepLog) -> None:
        """As many further attempts as were set, no more than needed."""
        workflow_ = make_workflow(fails_until(log.path, 3).set_name("flaky"))
        workflow_.query("flaky").set_retry(5)
        assert workflow_.run() == 3
        assert log.words() == ["attempt"] * 3

    @core
    @requires("retry")
    @pytest.mark.parametrize("given", ["literal", "result", "array"])
    def test_a_retry_gets_the_arguments_as_they_were(self, make_workflow: Any, log: StepLog, given: str) -> None:
        """Whatever the attempt that failed did with them."""
        values: Any = bytearray([1, 2, 3]) if given == "array" else [1, 2, 3]
        taken = drains(log.path, values if given == "literal" else same(values), key=[values[:]])
        workflow_ = make_workflow(taken.set_name("flaky"))
        workflow_.query("flaky").set_retry(3)
        assert workflow_.run() == [1, 2, 3, 1]
        assert log.words() == ["attempt"] * 3

    @requires("retry")
    def test_retries_are_used_up(self, make_workflow: Any, log: StepLog) -> None:
        """Then the last error counts."""
        workflow_ = make_workflow(fails_until(log.path, 9).set_name("flaky"))
        workflow_.query("flaky").set_retry(2)
        with pytest.raises(NodeError, match=r"(?s)attempt 3.*3 attempts"):
            workflow_.run()
        assert log.words() == ["attempt"] * 3

    @requires("retry")
    def test_other_exceptions_are_not_retried(self, make_workflow: Any, log: StepLog) -> None:
        """Only those that were named."""
        workflow_ = make_workflow(fails_until(log.path, 9, KeyError).set_name("flaky"))
        workflow_.query("flaky").set_retry(2, exceptions=(ConnectionError, TimeoutError))
        with pytest.raises(NodeError):
            workflow_.run()
        assert log.words() == ["attempt"]

    @requires("retry")
    @requires("dynamic")
    def test_a_retry_for_children(self, make_workflow: Any, log: StepLog) -> None:
        """Queries reach into dynamic graphs by the full names."""

        @workflow
        def parent(path: str) -> Any:
            return fails_until(path, 2).set_name("flaky")

        workflow_ = make_workflow(parent(log.path).set_name("p"))
        workflow_.query("p(/flaky)?").set_retry(1)
        assert workflow_.run() == 2

    @core
    @requires("timeout")
    def test_a_time_limit(self, make_workflow: Any) -> None:
        """A node that takes longer fails, as a timeout."""
        workflow_ = make_workflow(waits(20.0).set_name("slow"))
        workflow_.query("slow").set_timeout(0.1)
        with pytest.raises(NodeTimeoutError, match=r"'slow' failed.*0.1 s") as caught:
            workflow_.run()
        assert isinstance(caught.value, TimeoutError)

    @requires("timeout")
    @pytest.mark.parametrize("caught", [Exception, BaseException])
    def test_a_function_that_catches_its_time_limit(self, make_workflow: Any, caught: type[BaseException]) -> None:
        """It ends the function all the same."""
        workflow_ = make_workflow(waits_again_and_again(caught).set_name("slow"))
        workflow_.query("slow").set_timeout(0.1)
        with pytest.raises(NodeTimeoutError, match=r"'slow' failed.*0.1 s"):
            workflow_.run()

    @requires("timeout")
    def test_a_time_limit_that_is_kept(self, make_workflow: Any) -> None:
        """Results and exceptions pass; nothing strikes later."""
        workflow_ = make_workflow(same(1), same(2))
        workflow_.query().set_timeout(30)
        assert workflow_.run() == [1, 2]
        workflow_ = make_workflow(fails("as ever"))
        workflow_.query().set_timeout(30)
        with pytest.raises(NodeError, match="ValueError: as ever"):
            workflow_.run()
