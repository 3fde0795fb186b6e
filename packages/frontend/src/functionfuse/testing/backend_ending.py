"""The conformance suite of backends: runs that end before their time, by Ctrl-C or from another thread."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from functionfuse.errors import OptionError, RunCancelled
from functionfuse.testing.backend_suite import BackendSuite, StepLog, actions, requires
from functionfuse.testing.functions import note, noted, notes_around, notes_around_a_wait, same
from functionfuse.testing.standard_tests import core, thorough
from functionfuse.testing.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LONG = 60.0  # seconds of a node that is stopped
_ABANDONED = 4.0  # seconds of a node that goes on where it cannot be stopped
_NOTICED = 6.0  # seconds in which a run notices that it shall end
_AFTERWARDS = 1.0  # seconds in which a node that goes on would be noticed


@contextmanager
def once_begun(log: StepLog, end: Callable[[], object], times: int = 1) -> Iterator[list[Any]]:
    """Let a thread end a run once its node has begun; yield what the calls return.

    Args:
        log: in which the node notes it.
        end: ends the run.
        times: how often.
    """
    returned: list[Any] = []

    def wait() -> None:
        wait_until(lambda: "begun" in log.words())
        for _ in range(times):
            time.sleep(0.3)
            returned.append(end())

    thread = threading.Thread(target=wait)
    thread.start()
    yield returned
    thread.join()


def press() -> None:
    """Press Ctrl-C: send this process the signal."""
    os.kill(os.getpid(), signal.SIGINT)


@requires("store")
class EndingTests(BackendSuite, suite=True):
    """What had finished is stored, nothing new starts, and the next run goes on from there."""

    @core
    @pytest.mark.parametrize("how", ["ctrl_c", "cancel"])
    def test_what_runs_is_stopped(self, make_workflow: Any, store: Any, log: StepLog, how: str) -> None:
        """At Ctrl-C, a real signal, and from another thread; the error says how to go on."""
        workflow_ = self._workflow(make_workflow, store, log, _LONG)
        end = press if how == "ctrl_c" else workflow_.cancel
        before = time.monotonic()
        expected = KeyboardInterrupt if how == "ctrl_c" else RunCancelled
        with once_begun(log, end) as returned, pytest.raises(expected) as caught:
            workflow_.run()
        assert time.monotonic() - before < _LONG
        assert returned == [None if how == "ctrl_c" else True]
        shown = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
        assert "goes on from there" in shown
        assert store.list_tasks("conformance") == ["first"]
        if self.stops_calls:
            time.sleep(_AFTERWARDS)
            assert log.words() == ["first", "begun"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert workflow_.cancel() is False

    @thorough
    @requires("finish")
    @pytest.mark.parametrize("how", ["ctrl_c", "cancel"])
    def test_what_runs_is_let_finish(self, make_workflow: Any, store: Any, log: StepLog, how: str) -> None:
        """With ``on_interrupt="finish"``; its result is stored, and nothing starts after it."""
        first = noted(log.path, "first", 1).set_name("first")
        workflow_ = self._ending(make_workflow, store, log, notes_around_a_wait(log.path, "go", first))

        how_to_end: Callable[[], Any] = press if how == "ctrl_c" else workflow_.cancel

        def end() -> Any:
            returned = how_to_end()
            time.sleep(_NOTICED)
            note(log.path, "go")
            return returned

        with once_begun(log, end) as returned, pytest.raises(KeyboardInterrupt if how == "ctrl_c" else RunCancelled):
            workflow_.run(on_interrupt="finish")
        assert returned == [None if how == "ctrl_c" else True]
        assert log.words() == ["first", "begun", "go", "ended"]
        assert set(actions(workflow_.plan()).items()) == {("first", "reuse"), ("middle", "reuse"), ("last", "run")}
        assert workflow_.run() == 3
        assert log.words() == ["first", "begun", "go", "ended", "last"]

    @thorough
    @requires("finish")
    def test_a_second_interrupt(self, make_workflow: Any, store: Any, log: StepLog) -> None:
        """Stops at once what the first one let finish."""
        workflow_ = self._workflow(make_workflow, store, log, _LONG)
        before = time.monotonic()
        with once_begun(log, press, times=2), pytest.raises(KeyboardInterrupt):
            workflow_.run(on_interrupt="finish")
        assert time.monotonic() - before < _LONG
        assert store.list_tasks("conformance") == ["first"]

    @thorough
    def test_a_run_after_one_that_was_cancelled(self, make_workflow: Any, store: Any, log: StepLog) -> None:
        """The engine is as good as before: nothing of the former run takes its place."""
        workflow_ = self._workflow(make_workflow, store, log, _LONG)
        with once_begun(log, workflow_.cancel), pytest.raises(RunCancelled):
            workflow_.run()
        before = time.monotonic()
        assert make_workflow(same(1), same(2)).run() == [1, 2]
        assert time.monotonic() - before < _LONG / 2

    def test_no_run(self, make_workflow: Any) -> None:
        """There is nothing to cancel."""
        assert make_workflow(same(1)).cancel() is False

    def test_an_unknown_way(self, make_workflow: Any) -> None:
        """Is refused with the known ones."""
        with pytest.raises(OptionError, match='"stop", "finish"'):
            make_workflow(same(1)).run(on_interrupt="wait")

    def _workflow(self, make_workflow: Any, store: Any, log: StepLog, seconds: float) -> Any:
        seconds = min(seconds, _LONG if self.stops_calls else _ABANDONED)
        first = noted(log.path, "first", 1).set_name("first")
        return self._ending(make_workflow, store, log, notes_around(log.path, seconds, first))

    def _ending(self, make_workflow: Any, store: Any, log: StepLog, middle: Any) -> Any:
        workflow_ = make_workflow(noted(log.path, "last", 3, middle.set_name("middle")).set_name("last"))
        workflow_.set_storage(store)
        return workflow_
