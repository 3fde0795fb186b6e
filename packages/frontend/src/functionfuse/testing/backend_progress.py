"""The conformance suite of backends: what a run counts of itself, and what it tells of the calls that it makes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from functionfuse.backends import displays
from functionfuse.errors import WorkflowFailed
from functionfuse.testing.backend_suite import BackendSuite, requires
from functionfuse.testing.functions import add, clock, fails, same, two_clocks
from functionfuse.testing.standard_tests import core

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from functionfuse.backends.progress import ProgressSnapshot, ProgressSource


class ProgressTests(BackendSuite, suite=True):
    """Counts, events and starts."""

    @pytest.fixture
    def ends(self, monkeypatch: pytest.MonkeyPatch) -> list[ProgressSnapshot]:
        """How far runs with `progress=True` were when they ended."""
        found: list[ProgressSnapshot] = []

        @contextmanager
        def display(source: ProgressSource) -> Iterator[None]:
            yield
            found.append(source.snapshot())

        installed: Callable[[], Any] = lambda: display  # noqa: E731
        monkeypatch.setattr(displays, "_installed", installed)
        return found

    @requires("progress")
    @requires("store")
    @requires("dynamic")
    @core
    def test_counts(self, make_workflow: Any, store: Any, ends: list[ProgressSnapshot]) -> None:
        """Every step is counted once, whatever becomes of it; those of graphs that nodes return, too."""
        kept = same(1).set_name("kept")
        first = make_workflow(kept)
        first.set_storage(store)
        first.run()
        after = same(fails("no").set_name("bad")).set_name("after")
        workflow_ = make_workflow(add(kept, 1).set_name("used"), two_clocks().set_name("graph"), after)
        workflow_.set_storage(store)
        with pytest.raises(WorkflowFailed):
            workflow_.run(on_error="continue", progress=True)
        (end,) = ends
        assert (end.state, end.total) == ("failed", 7)
        assert (end.finished, end.reused, end.failed, end.skipped) == (4, 1, 1, 1)
        assert (list(end.running), end.submitted, end.waiting) == ([], 0, 0)
        assert [(failure.name, failure.text) for failure in end.failures] == [("bad", "ValueError: no")]

    @requires("progress")
    def test_collapsed_steps(self, make_workflow: Any, ends: list[ProgressSnapshot]) -> None:
        """Each member is counted."""
        nodes = [same(number).set_name(f"part{number}") for number in range(4)]
        workflow_ = make_workflow(add(nodes[0], nodes[1]).set_name("sum"), *nodes[2:])
        workflow_.edit().collapse("part[0-3]", name="parts").done().run(progress=True)
        (end,) = ends
        assert (end.state, end.total, end.finished, list(end.running), end.submitted) == ("finished", 5, 5, [], 0)

    def test_a_run_is_quiet(self, make_workflow: Any, ends: list[ProgressSnapshot]) -> None:
        """Without a terminal, or when that is asked for, nothing is shown."""
        workflow_ = make_workflow(same(1))
        workflow_.run(progress=False)
        assert ends == []

    @core
    def test_skipped_events(self, make_workflow: Any) -> None:
        """They come with the error of the step that failed."""
        events: list[Any] = []
        workflow_ = make_workflow(same(fails("no").set_name("bad")).set_name("after"))
        workflow_.add_observer(events.append)
        with pytest.raises(WorkflowFailed):
            workflow_.run(on_error="continue")
        assert [(event.kind, event.name) for event in events][1:] == [("failed", "bad"), ("skipped", "after")]
        assert events[-1].error.name == "bad"

    @core
    def test_starts_and_workers(self, make_workflow: Any) -> None:
        """A call began before its function looked at the clock, and ended after that."""
        events: list[Any] = []
        workflow_ = make_workflow(clock().set_name("a"))
        workflow_.add_observer(events.append)
        value = workflow_.run()
        event = events[-1]
        assert event.kind == "finished"
        assert event.started <= value <= event.started + event.seconds + 0.001
        assert event.worker.host
        assert event.worker.process > 0
