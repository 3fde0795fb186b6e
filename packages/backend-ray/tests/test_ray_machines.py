"""Machines that go away, drivers that are killed, results that do not fit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import ray
from ray_addresses import ADDRESS, PATH

from functionfuse import workflow
from functionfuse.backends.builtin.rayback import RayWorkflow
from functionfuse.errors import NodeError, StorageError
from functionfuse.storage import FileStore, RayStore
from functionfuse.testing import wait_until

pytestmark = pytest.mark.slow(reason="machines that go away, results that fill the object store")
make = partial(RayWorkflow, workflow_name="machines")


@workflow
def large(n):
    import numpy as np

    return np.full(5_000_000, float(n))  # 40 MB


@workflow
def after_a_sign(array, folder):
    (Path(folder) / "started").touch()
    wait_until((Path(folder) / "sign").exists)
    return float(array.sum())


@workflow
def increased(array):
    return array + 1


@workflow
def total(*arrays):
    return float(sum(array[0] for array in arrays))


@pytest.fixture
def fleeting(two_machines):
    """A third machine, with a resource of its own, that can be removed."""
    options = {"num_cpus": 1, "node_ip_address": ADDRESS, "object_store_memory": 200 << 20}
    machines = []

    def add():
        machines.append(two_machines.add_node(resources={"_fleeting": 1}, **options))
        return machines[-1]

    yield add, lambda machine: two_machines.remove_node(machine, allow_graceful=False)
    for machine in machines:
        if machine in two_machines.list_all_nodes():
            two_machines.remove_node(machine)


def test_a_machine_goes_away_with_results_that_are_needed(two_machines, fleeting, tmp_path):
    add, remove = fleeting
    machine = add()
    made = make(after_a_sign(large(2).set_name("made there"), str(tmp_path)).set_name("used here"))
    made.query("made there").set_remote_args({"resources": {"_fleeting": 0.1}})
    made.query("used here").set_remote_args({"resources": {"_disk": 0.1}, "num_cpus": 0})
    running = made.run_in_background()
    wait_until((tmp_path / "started").exists)
    remove(machine)
    add()
    (tmp_path / "sign").touch()
    assert ray.get(running.result(100)) == 10_000_000


def test_a_resource_that_goes_away_with_its_machine(two_machines, fleeting, tmp_path):
    add, remove = fleeting
    machine = add()
    made = make(after_a_sign(0, str(tmp_path)).set_name("waits"))
    made.query("waits").set_remote_args({"resources": {"_fleeting": 1}})
    running = made.run_in_background()
    wait_until((tmp_path / "started").exists)
    remove(machine)
    with pytest.raises(NodeError, match=r"'waits' cannot run: no machine of the cluster offers \{'_fleeting': 1\}"):
        running.result(100)


def test_more_than_the_object_store_holds(two_machines):
    assert make(total(*[large(n) for n in range(15)])).run() == sum(range(15))


def test_a_long_chain_of_large_results_is_released_on_the_way(two_machines):
    """60 results of 40 MB pass through 200 MB of each machine's object store, which would write 50 if all were kept."""
    before = spilled()
    node = large(0)
    for _ in range(60):
        node = increased(node)
    assert make(total(node)).run() == 60
    assert spilled() - before < 40  # on a loaded machine objects are released late


def spilled():
    """Return how many results went to the disk so far."""
    from ray._private.internal_api import memory_summary

    address = ray.get_runtime_context().gcs_address  # there may be other clusters on this machine
    return sum(map(int, re.findall("Spilled [0-9]+ MiB, ([0-9]+) objects", memory_summary(address, stats_only=True))))


def test_the_machine_of_the_store_goes_away(two_machines, fleeting, tmp_path):
    add, remove = fleeting
    machine = add()
    store = RayStore(str(tmp_path / "store"), {"resources": {"_fleeting": 0.001}})
    remove(machine)
    made = make(total(large(1)))
    made.set_storage(store)
    with pytest.raises(StorageError, match="no machine of the Ray cluster offers"):
        made.run()


PROGRAM = """
import os, sys, time
import ray
from functionfuse import workflow
from functionfuse.backends.builtin.rayback import RayWorkflow
from functionfuse.storage import FileStore

folder = sys.argv[1]

@workflow
def noted(n, *before):
    with open(f"{folder}/log", "a") as log, open(f"{folder}/processes", "a") as processes:
        log.write(f"{n} ")
        processes.write(f"{os.getpid()} ")
    time.sleep(0.1)
    return n + sum(before)

last = noted(0).set_name("0")
for n in range(1, 12):
    last = noted(n, last).set_name(str(n))
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
made = RayWorkflow(last, workflow_name="killed")
made.set_storage(FileStore(f"{folder}/store"))
print(made.run(max_pending_tasks=2))
"""


def test_a_killed_driver_goes_on_from_what_is_stored(tmp_path):
    pytest.importorskip("ray", reason="ray is not installed")
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": PATH}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    first = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    store = FileStore(tmp_path / "store")
    wait_until(lambda: len(store.list_tasks("killed")) >= 4)
    first.kill()
    first.communicate(timeout=60)
    wait_until(lambda: not any(Path(f"/proc/{n}").exists() for n in (tmp_path / "processes").read_text().split()))
    kept = store.list_tasks("killed")
    before = (tmp_path / "log").read_text().split()
    second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert second.stdout == "66\n", second.stderr
    again = (tmp_path / "log").read_text().split()[len(before) :]
    assert not set(kept) & set(again)
    assert set(kept) | set(again) == {str(n) for n in range(12)}


def test_durable_workflows_are_run_from_the_first_machine(two_machines, tmp_path):
    from functionfuse.backends.addons import rayworkflow

    @ray.remote(resources={"_disk": 1})
    def begin():
        rayworkflow.init(storage=FileStore(tmp_path, durable=False))
        return ray.get_runtime_context().get_node_id()

    assert ray.get(begin.remote()) != two_machines.head_node.node_id
    controller = ray.get_actor("functionfuse-workflows", namespace="functionfuse")
    actor = ray._private.state.actors(controller._actor_id.hex())
    assert actor["Address"]["NodeID"] == two_machines.head_node.node_id
