"""What goes wrong on a cluster: workers and actors that are killed, machines that go away, resources nobody has."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from functionfuse import workflow
from functionfuse.backends.builtin.rayback import RayWorkflow
from functionfuse.errors import NodeError, OptionError, WorkerDiedError, WorkflowFailed
from functionfuse.storage import FileStore

make = partial(RayWorkflow, workflow_name="faults")


@workflow
def killed_once(marker, value):
    """Kills its process the first time."""
    if not Path(marker).exists():
        Path(marker).write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return value


@workflow
def doubled(value):
    return 2 * value


@workflow
class Ledger:
    """Kills its process in a call of a killing method."""

    def __init__(self):
        self.entries = []

    def add(self, n):
        self.entries.append(n)
        return list(self.entries)

    def add_and_die(self, n, marker):
        self.entries.append(n)
        if not Path(marker).exists():
            Path(marker).write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
        return list(self.entries)

    def always_die(self):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_is_replaced(local_ray, tmp_path):
    assert make(doubled(killed_once(str(tmp_path / "marker"), 4))).run() == 8


def test_a_worker_that_is_always_killed(local_ray):
    @workflow
    def dies():
        os.kill(os.getpid(), signal.SIGKILL)

    made = make(doubled(dies().set_name("dies")))
    made.query("dies").set_remote_args({"max_retries": 0})
    with pytest.raises(WorkerDiedError, match="node 'dies' failed"):
        made.run()


@pytest.mark.slow(reason="an actor that is killed and waited for")
@pytest.mark.parametrize("stored", [False, True])
def test_an_actor_that_is_killed_goes_on_from_where_it_was(local_ray, tmp_path, stored):
    ledger = Ledger()
    ledger.add(1)
    ledger.add_and_die(2, str(tmp_path / "marker"))
    ledger.add(doubled(4))
    made = make(ledger.add(3))
    if stored:
        made.set_storage(FileStore(tmp_path / "store"))
    assert made.run() == [1, 2, 8, 3]


@pytest.mark.slow(reason="an actor that is killed and waited for")
def test_an_actor_that_always_dies(local_ray, tmp_path):
    ledger = Ledger()
    ledger.always_die().set_name("deadly")
    later = ledger.add(1).set_name("later")
    with pytest.raises(WorkflowFailed) as caught:
        make(later, doubled(2).set_name("other")).run(on_error="continue")
    report = caught.value.report
    assert isinstance(report.failed["deadly"], WorkerDiedError)
    assert report.skipped == {"later": "deadly"}
    assert "other" in report.finished


def test_a_resource_that_nobody_has(local_ray):
    made = make(doubled(1).set_name("a"))
    made.query("a").set_remote_args({"resources": {"_tape": 1}})
    with pytest.raises(NodeError, match=r"'a'.*no machine of the cluster offers \{'_tape': 1\}"):
        made.run_in_background().result(100)  # Ray itself would wait for ever


def test_more_processors_than_any_machine_has(local_ray):
    made = make(doubled(1).set_name("a"))
    made.query("a").set_remote_args({"num_cpus": 1000})
    with pytest.raises(NodeError, match=r"no machine of the cluster offers.*'CPU': 1000"):
        made.run()


def test_options_that_ray_does_not_know(local_ray):
    with pytest.raises(OptionError, match="num_cpu"):
        make(doubled(1)).query().set_remote_args({"num_cpu": 1})


def test_an_argument_that_cannot_be_pickled(local_ray):
    import threading

    with pytest.raises(NodeError, match=r"node 'a' cannot be sent.*argument 0 \(lock\) cannot be pickled"):
        make(doubled(threading.Lock()).set_name("a")).run()
