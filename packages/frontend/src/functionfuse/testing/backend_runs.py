"""The conformance suite of backends: the records that runs leave in a store."""

from __future__ import annotations

import time
from typing import Any

import pytest

from functionfuse.errors import NodeError, OptionError, RunCancelled
from functionfuse.runs import list_runs, read_run
from functionfuse.testing.backend_ending import once_begun
from functionfuse.testing.backend_suite import BackendSuite, StepLog, requires
from functionfuse.testing.functions import fails, noted, notes_around, prints, same, same_later
from functionfuse.testing.standard_tests import core, thorough
from functionfuse.testing.waiting import wait_until


@requires("store")
class RunRecordTests(BackendSuite, suite=True):
    """Every run with a store leaves a record, whatever became of it."""

    def test_the_last_run_without_a_store(self, make_workflow: Any) -> None:
        """It is known where the backend says so; before it there is none."""
        workflow_ = make_workflow(same(1).set_name("a"))
        with pytest.raises(OptionError, match="before report"):
            workflow_.last_run()
        workflow_.run()
        if workflow_.records_in_memory:
            assert workflow_.last_run().counts["finished"] == 1
        else:
            with pytest.raises(OptionError, match=r"set_storage\(...\) and then run\(\) before report"):
                workflow_.last_run()

    @core
    def test_a_run_leaves_a_record(self, make_workflow: Any, store: Any) -> None:
        """It has what was planned, what became of each step, and what that used; a second run shows reuse."""
        before = time.time()
        workflow_ = make_workflow(same(prints("a").set_name("a")).set_name("b"))
        workflow_.set_storage(store)
        workflow_.run(labels={"experiment": "7"})
        run = read_run(store)
        assert (run.workflow, run.state, run.labels, run.wanted) == (
            "conformance",
            "finished",
            {"experiment": "7"},
            ("b",),
        )
        assert run.counts == {"finished": 2, "reused": 0, "failed": 0, "skipped": 0, "steps": 2}
        assert before - 1 < run.started <= run.ended < time.time() + 1  # type: ignore[operator]
        assert {name: (step.action, step.state) for name, step in run.steps.items()} == {
            "a": ("run", "finished"),
            "b": ("run", "finished"),
        }
        first, second = run.steps["a"], run.steps["b"]
        assert (first.reason, first.function, second.needs) == ("no result yet", "prints", ("a",))
        assert 0 < first.seconds < 60  # type: ignore[operator]
        assert first.memory > 1 << 20  # type: ignore[operator]
        assert first.host
        assert "out a\n" in first.output
        assert any("UserWarning: warn a" in text for text in first.warnings)
        assert {"function", "arguments"} <= first.parts.keys()
        stored = {name: store.info(run.workflow, name)["content_digest"] for name in run.steps}
        assert {name: step.content for name, step in run.steps.items()} == stored
        assert run.environment["python"]
        assert run.environment["packages"]["functionfuse"]
        assert run.options["on_error"] == "raise"
        workflow_.run()
        assert [run.state for run in list_runs(store)] == ["finished", "finished"]
        again = read_run(store)
        assert {name: step.state for name, step in again.steps.items()} == {"a": "reused", "b": "reused"}
        assert list(again.steps) == ["a", "b"]
        assert [run.id for run in workflow_.runs({"experiment": "7"})] == [run.id]

    @core
    def test_a_run_that_fails(self, make_workflow: Any, store: Any) -> None:
        """Is recorded, with its text and what was skipped."""
        workflow_ = make_workflow(same(fails("no").set_name("bad")).set_name("after"), same(1).set_name("good"))
        workflow_.set_storage(store)
        with pytest.raises(Exception, match="no"):
            workflow_.run(on_error="continue")
        run = read_run(store)
        assert (run.state, run.options["on_error"]) == ("failed", "continue")
        assert "no" in run.error
        assert {name: step.state for name, step in run.steps.items()} == {
            "bad": "failed",
            "after": "skipped",
            "good": "finished",
        }
        assert "node 'bad' failed: ValueError: no" in run.steps["bad"].error
        assert "'bad'" in run.steps["after"].error

    @thorough
    def test_a_run_that_stops_at_a_failure(self, make_workflow: Any, store: Any) -> None:
        """What did not run is there, too."""
        workflow_ = make_workflow(same(fails("no").set_name("bad")).set_name("after"))
        workflow_.set_storage(store)
        with pytest.raises(NodeError):
            workflow_.run()
        run = read_run(store)
        assert run.state == "failed"
        assert run.steps["bad"].state == "failed"
        assert run.steps["after"].state in ("not run", "skipped")

    @thorough
    def test_a_cancelled_run(self, make_workflow: Any, store: Any, log: StepLog) -> None:
        """Is recorded as cancelled; a step whose input was not there did not run, also if it was handed over ahead."""
        seconds = 60.0 if self.stops_calls else 2.0
        middle = notes_around(log.path, seconds, noted(log.path, "first", 1).set_name("first")).set_name("middle")
        workflow_ = make_workflow(same(middle).set_name("last"))
        workflow_.set_storage(store)
        with once_begun(log, workflow_.cancel), pytest.raises(RunCancelled):
            workflow_.run()
        run = read_run(store)
        assert run.state == "cancelled"
        assert list(run.steps) == [
            "first",
            "middle",
            "last",
        ]  # what was done last is not there where the process is killed
        assert run.steps["middle"].state != "finished"
        assert run.steps["last"].state in ("not run", "skipped")
        if not self.stops_calls:  # a thread that goes on would record what the next test prints
            wait_until(lambda: "ended" in log.words())

    @thorough
    @requires("dynamic")
    def test_a_dynamic_graph(self, make_workflow: Any, store: Any) -> None:
        """Its steps have their full names."""
        workflow_ = make_workflow(same_later().set_name("parent"))
        workflow_.set_storage(store)
        with pytest.raises(NodeError):
            workflow_.run()
        run = read_run(store)
        assert run.steps["parent/bad"].state == "failed"
        assert run.steps["parent"].state in ("failed", "skipped")

    @core
    def test_how_two_runs_differ(self, make_workflow: Any, store: Any) -> None:
        """The step where a difference begins comes first, with the part of its recipe that changed."""
        for number in (1, 2):
            changed = same(number).set_name("changed")
            long = same([*range(1000), number]).set_name("long")
            workflow_ = make_workflow(same(changed).set_name("after"), long, same(3).set_name("other"))
            workflow_.set_storage(store)
            workflow_.run()
        newer, older = (run.id for run in list_runs(store))
        diff = store.diff(older, newer)
        assert {step.name: step.begins for step in diff.differing} == {"changed": True, "long": True, "after": False}
        assert {step.name: step.parts for step in diff.begins} == dict.fromkeys(("changed", "long"), ("arguments",))
        assert {step.name: step.changes for step in diff.begins} == {
            "changed": ("argument value: 1 -> 2",),
            "long": ("argument value changed (list of length 1001)",),
        }
        assert "changed  begins here  argument value: 1 -> 2; another result" in str(diff)
        assert not store.diff(newer, newer)

    def test_labels_that_cannot_be(self, make_workflow: Any, store: Any) -> None:
        """Are refused by name, before the run."""
        workflow_ = make_workflow(same(1))
        workflow_.set_storage(store)
        with pytest.raises(OptionError, match="label 'experiment' must be a text, got 7"):
            workflow_.run(labels={"experiment": 7})
        assert list(workflow_.runs()) == []

    def test_no_store(self, make_workflow: Any) -> None:
        """There are no runs, and the error says why."""
        workflow_ = make_workflow(same(1))
        workflow_.run()
        with pytest.raises(OptionError, match="set_storage"):
            workflow_.runs()
