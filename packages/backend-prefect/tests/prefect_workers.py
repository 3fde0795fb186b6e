"""Tests of runs in other processes that are cancelled, or whose workers die."""

from __future__ import annotations

import os
import signal
import time

import pytest

from functionfuse import workflow
from functionfuse.errors import RunCancelled
from functionfuse.testing import MemoryStore
from functionfuse.testing.functions import same


class WorkerTests:
    """For a task runner; ``make_workflow`` is as in the conformance suite of backends."""

    @pytest.mark.slow(reason="waits until Prefect has seen a cancellation")
    def test_a_cancel_in_the_dashboard(self, server, make_workflow, tmp_path):
        name, started = f"{type(self).__name__}: cancelled", tmp_path / "started"

        @workflow
        def sleeps(_):
            started.touch()
            time.sleep(60)

        made = make_workflow(sleeps(same(1).set_name("first")).set_name("sleeps"), workflow_name=name)
        made.set_storage(store := MemoryStore())
        with server.cancelling(name, started.exists), pytest.raises(RunCancelled, match="'sleeps'"):
            made.run()
        assert server.flow_run(name)["state_name"] == "Cancelled"
        expected = {"first": "Completed", "sleeps": "Cancelled"}
        assert server.states(name, expected) == expected
        assert store.list_tasks(name) == ["first"]

    def test_a_worker_that_dies(self, server, make_workflow, tmp_path):
        """Its task runs again; states that it had not sent to the server are lost."""
        name = f"{type(self).__name__}: died"
        assert make_workflow(dying(tmp_path / "died"), workflow_name=name).run() == 1
        assert server.flow_run(name)["state_name"] == "Completed"


def dying(path):
    """A node whose process dies at the first time."""

    @workflow
    def dies(value):
        if not path.exists():
            path.touch()
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))  # on Windows, SIGTERM ends it as well
        return value

    return dies(same(1).set_name("first")).set_name("dies")
