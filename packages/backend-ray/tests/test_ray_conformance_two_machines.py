"""The Ray workflow passes the conformance suite of backends on several machines, with the store on one of them."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from functionfuse import workflow
from functionfuse.backends import displays
from functionfuse.backends.builtin.rayback import RayWorkflow
from functionfuse.storage import RayStore
from functionfuse.testing import BackendTests, wait_until


class TestTwoMachines(BackendTests):
    tier = "extra"

    objects_stay = True
    recursion_depth = 100

    @pytest.fixture
    def make_workflow(self, two_machines):
        return partial(RayWorkflow, workflow_name="conformance")

    @pytest.fixture
    def store(self, two_machines, tmp_path):
        return RayStore(str(tmp_path / "store"), {"resources": {"_disk": 0.001}}, durable=False)


@workflow
def waits_for(gate, number):
    wait_until(Path(gate).exists)
    return number


@pytest.mark.slow(reason="a cluster of two machines")
def test_calls_on_a_machine_without_the_folder_are_shown(two_machines, tmp_path, monkeypatch):
    sources = []

    @contextmanager
    def display(source):
        Path(source.calls.location).rmdir()  # as a machine with another disk sees it
        sources.append(source)
        yield

    monkeypatch.setattr(displays, "_installed", lambda: display)
    gate = tmp_path / "gate"
    flow = RayWorkflow(*(waits_for(str(gate), number).set_name(f"n{number}") for number in range(3)), workflow_name="w")
    results = []
    thread = threading.Thread(target=lambda: results.append(flow.run(progress=True)))
    thread.start()
    try:
        wait_until(lambda: sources and len(sources[0].snapshot().running) == 2)  # the processors that there are
        snapshot = sources[0].snapshot()
        assert {call.name for call in snapshot.running} < {"n0", "n1", "n2"}
        assert (snapshot.submitted, snapshot.total) == (1, 3)
        assert all(snapshot.started <= call.started <= snapshot.now for call in snapshot.running)
    finally:
        gate.touch()
        thread.join(60)
    assert results == [[0, 1, 2]]
    assert list(sources[0].snapshot().running) == []
