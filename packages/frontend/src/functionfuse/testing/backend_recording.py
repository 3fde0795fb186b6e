"""The conformance suite of backends: what is recorded of calls, and failure capsules."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from functionfuse.backends import capsule
from functionfuse.backends.plugins import RandomStatePlugin
from functionfuse.errors import CapsuleError, NodeError, WorkflowFailed
from functionfuse.testing.backend_suite import BackendSuite, requires
from functionfuse.testing.functions import (
    IncrementalSum,
    draws_and_fails,
    fails,
    prints,
    prints_much,
    same,
    same_later,
    seed_here,
    uses_memory,
)
from functionfuse.testing.standard_tests import core, thorough

if TYPE_CHECKING:
    from pathlib import Path

    from functionfuse.backends.capsule import Capsule
    from functionfuse.backends.observers import Event

ARRAY_BYTES = 200 << 20


def ended(workflow: Any, **options: Any) -> dict[str, Event]:
    """Run a workflow with an observer, and return the event with which each node ended.

    Args:
        workflow: the workflow.
        options: those of `run`.
    """
    events: dict[str, Event] = {}
    workflow.add_observer(lambda event: events.update({event.name: event}))
    workflow.run(**options)
    return events


class RecordingTests(BackendSuite, suite=True):
    """What nodes print, and what they use, is in the events of their ends."""

    @core
    def test_output(self, make_workflow: Any) -> None:
        """What is printed, logged and warned of, in order, each in its node's event, with its time."""
        before = time.time()
        events = ended(make_workflow(prints("a").set_name("a"), prints("b").set_name("b"), same(1).set_name("none")))
        for name in ("a", "b"):
            output: Any = events[name].output
            assert [piece.source for piece in output.pieces] == ["stdout", "stderr", "logging", "warnings", "warnings"]
            texts = [piece.text for piece in output.pieces]
            assert texts[:3] == [f"out {name}\n", f"err {name}\n", f"WARNING:functionfuse.test:log {name}\n"]
            assert f"UserWarning: warn {name}\n" in texts[3]
            times = [piece.time for piece in output.pieces]
            assert times == sorted(times)
            assert before - 1 < times[0] < time.time() + 1
        assert events["none"].output is not None
        assert str(events["none"].output) == ""

    @thorough
    def test_much_output(self, make_workflow: Any) -> None:
        """The first and the last of it is kept, and how much is left out."""
        output: Any = ended(make_workflow(prints_much(3 << 20).set_name("n")))["n"].output
        text = str(output)
        assert text.startswith("line 0\n")
        assert text.endswith("last line\n")
        assert len(text) < (1 << 20) < output.dropped

    @core
    def test_usage(self, make_workflow: Any) -> None:
        """Time, processor and memory are those of where the node ran."""
        events = ended(make_workflow(uses_memory(ARRAY_BYTES).set_name("n"), same(1).set_name("small")))
        usage: Any = events["n"].usage
        assert 0 < usage.cpu < 60
        assert 0 < usage.seconds < 60
        assert usage.memory > ARRAY_BYTES
        assert usage.process == os.getpid() or not self.in_process
        assert usage.host == os.uname().nodename

    @thorough
    def test_output_of_a_failure(self, make_workflow: Any, tmp_path: Path) -> None:
        """It is in the event of the failure, and in the capsule."""
        events: dict[str, Event] = {}
        workflow_ = make_workflow(draws_and_fails("words").set_name("n"))
        workflow_.add_observer(lambda event: events.update({event.name: event}))
        with pytest.raises(NodeError):
            workflow_.run(capsules=tmp_path)
        output: Any = events["n"].output
        assert str(output).startswith("drawn ")
        assert capsule.open(tmp_path / "n.capsule").output == output


class CapsuleTests(BackendSuite, suite=True):
    """A node that fails leaves a capsule, whose call is made again here."""

    @core
    def test_a_capsule(self, make_workflow: Any, tmp_path: Path) -> None:
        """It has the call, the error, the variables, the environment, and fails in the same way here."""
        failing = draws_and_fails(same("words"), api_token="xyzzy")  # noqa: S106
        workflow_ = make_workflow(failing.set_name("n"))
        workflow_.set_plugin("n", RandomStatePlugin(0, 1000, 7, seed_here))
        with pytest.raises(NodeError) as caught:
            workflow_.run(capsules=tmp_path / "capsules")
        path = tmp_path / "capsules" / "n.capsule"
        assert f"failure capsule: {path}" in caught.value.__notes__
        failed = capsule.open(path)
        with pytest.raises(ValueError, match="words") as replayed:
            failed.replay()
        cause: Any = caught.value.__cause__
        assert replayed.value.args == cause.args  # with the number that was drawn
        assert (failed.name, failed.facts["workflow_name"]) == ("n", "conformance")
        assert failed.frames[-1].function == "draws_and_fails"
        assert failed.frames[-1].variables["text"] == "'words'"
        assert "xyzzy" not in str(failed)
        assert "PATH" in failed.facts["variables"]
        assert os.environ["PATH"] not in str(failed.facts)
        assert failed.facts["packages"]["pytest"] == pytest.__version__

    @requires("store")
    def test_a_capsule_in_the_store(self, make_workflow: Any, store: Any) -> None:
        """Without a folder it is there; large results are taken from the store; no capsule is a result."""
        large = same("x" * (2 << 20)).set_name("large")
        workflow_ = make_workflow(draws_and_fails(large).set_name("n"), fails("no").set_name("other"))
        workflow_.set_storage(store)
        with pytest.raises(WorkflowFailed):
            workflow_.run(on_error="continue")
        assert capsule.names(store, "conformance") == ["n", "other"]
        assert store.list_tasks("conformance") == ["large"]
        failed: Capsule = capsule.stored(store, "conformance", "n")
        assert failed.facts["stored"] == [[0, "large", []]]
        with pytest.raises(ValueError, match="xxxx"):
            failed.replay()
        store.remove_workflow("conformance")
        assert capsule.names(store, "conformance") == []

    @thorough
    @requires("objects")
    def test_a_method(self, make_workflow: Any, tmp_path: Path) -> None:
        """Its capsule has the object."""
        counter: Any = IncrementalSum(1)
        counter.add(10)
        with pytest.raises(NodeError):
            make_workflow(counter.add("no").set_name("second")).run(capsules=tmp_path)
        call = capsule.open(tmp_path / "second.capsule").call()
        assert (call.instance.start, call.args) == (11, ("no",))

    @thorough
    @requires("dynamic")
    def test_a_node_of_a_dynamic_graph(self, make_workflow: Any, tmp_path: Path) -> None:
        """Has a capsule under its full name; the node that returned the graph has none."""
        with pytest.raises(NodeError):
            make_workflow(same_later().set_name("parent")).run(capsules=tmp_path)
        (path,) = tmp_path.glob("*.capsule")
        assert capsule.open(path).name == "parent/bad"

    @thorough
    def test_no_capsule(self, make_workflow: Any, tmp_path: Path) -> None:
        """Is too large: what does not fit is left out, and named when it is replayed."""
        with pytest.raises(NodeError):
            make_workflow(draws_and_fails("x" * 100_000).set_name("n")).run(capsules=tmp_path, capsule_bytes=10_000)
        with pytest.raises(CapsuleError, match=r"without argument 0 \(it takes more than 10000 bytes"):
            capsule.open(tmp_path / "n.capsule").replay()
