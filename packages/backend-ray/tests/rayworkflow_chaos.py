"""Durable workflows of all shapes whose bodies note that they run, and a cluster of which everything can be killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import ray
from ray_addresses import ADDRESS, until_started
from rayworkflow_tasks import note, noted, pids_of

from functionfuse import workflow as node_of
from functionfuse.backends.addons import rayworkflow as workflow
from functionfuse.backends.addons.rayworkflow._records.results import TaskResults
from functionfuse.backends.addons.rayworkflow._records.workflow import StoredWorkflow
from functionfuse.backends.addons.rayworkflowback import RayWorkflow
from functionfuse.storage import FileStore
from functionfuse.testing import wait_until

WAITS = tuple(f"functionfuse.backends.addons.rayworkflow.{name}" for name in ("sleep", "wait_for_event"))  # tasks


def store_of(root):
    return FileStore(Path(root) / "store", durable=False)


def nodes_of(root):
    return FileStore(Path(root) / "nodes", durable=False)


# -- bodies


def runs(notes, name):
    note(notes, name)
    time.sleep(random.uniform(0, 0.3))


@ray.remote(max_retries=100)
def step(notes, name, *values):
    runs(notes, name)
    return 1 + sum(values)


@ray.remote(max_retries=100)
def grows(notes, name, depth):
    runs(notes, name)
    if not depth:
        return 1
    deeper = grows.options(**workflow.options(task_id=f"grow-{depth - 1}")).bind(notes, f"grow-{depth - 1}", depth - 1)
    return workflow.continuation(task(notes, f"grown-{depth}", deeper))


@ray.remote(max_retries=100)
def after(notes, name, *waited):
    runs(notes, name)
    return waited[0]


class FileEvent(workflow.EventListener):
    async def poll_for_event(self, notes, path):
        note(notes, "polled")
        wait_until(lambda: Path(path).exists(), 240)
        return 5


@node_of
class Ledger:
    def __init__(self):
        self.total = 0

    def add(self, notes, name, number):
        runs(notes, name)
        self.total += number
        return self.total


@node_of
def piece(notes, name, *numbers):
    runs(notes, name)
    return 1 + sum(numbers)


# -- graphs


def task(notes, name, *values):
    """A step; some are isolated."""
    return step.options(**workflow.options(task_id=name, isolate=name.endswith("-2"))).bind(notes, name, *values)


def fan(notes, _):
    """1 + 12."""
    return task(notes, "sum", *[task(notes, f"fan-{number}") for number in range(12)])


def chain(notes, _):
    """12."""
    last = task(notes, "chain-0")
    for number in range(1, 12):
        last = task(notes, f"chain-{number}", last)
    return last


def diamond(notes, _):
    """Layers of 3, where each takes all before it: 1, 4, 13, 40, and 121 behind them."""
    layer = []
    for depth in range(4):
        layer = [task(notes, f"layer-{depth}-{number}", *layer) for number in range(3)]
    return task(notes, "end", *layer)


def continuation(notes, _):
    """1 + 6, one for each depth."""
    return grows.options(**workflow.options(task_id="grow-6")).bind(notes, "grow-6", 6)


def event(notes, path):
    """1 + 5, behind an event, a sleep and a task."""
    waits = workflow.wait_for_event(FileEvent, notes, path), workflow.sleep(1.0), task(notes, "before")
    return task(notes, "behind", after.options(**workflow.options(task_id="waited")).bind(notes, "waited", *waits))


GRAPHS = {fan: 13, chain: 12, diamond: 121, continuation: 7, event: 6}


def ledger(notes):
    """Sums 1, 3, 6, 10, 15, 21 of an object, and 1 + 56 behind them."""
    book, sums = Ledger().set_name("ledger"), []
    for number in range(6):
        given = piece(notes, f"piece-{number}", number).set_name(f"piece-{number}")
        sums.append(book.add(notes, f"add-{number}", given).set_name(f"add-{number}"))
    return piece(notes, "last", *sums).set_name("last")


class Case:
    """A workflow of one shape.

    Args:
        root: the folder of everything.
        shape: the name of its graph.
        workflow_id: its id.
    """

    SHAPES = (*[graph.__name__ for graph in GRAPHS], "stateful")

    def __init__(self, root, shape, workflow_id):
        self.root, self.shape, self.id = str(root), shape, workflow_id
        self.notes = f"{root}/{workflow_id}.ran"
        self.event = f"{root}/{workflow_id}.event"
        known = {graph.__name__: (graph, result) for graph, result in GRAPHS.items()}
        self._graph, self.expected = known.get(shape, (ledger, 57))

    def begin(self):
        """Let it run, unless it does."""
        if self.shape == "stateful":
            with suppress(Exception):
                if self._flow().status() != "FAILED":
                    return
            with suppress(workflow.WorkflowStillActiveError, RuntimeError):  # another driver was faster
                self._flow().start()
        else:
            with suppress(RuntimeError):
                workflow.run_async(self._graph(self.notes, self.event), workflow_id=self.id)

    def result(self):
        """Let it go on if it does not run, and return what comes of it."""
        try:
            if workflow.get_status(self.id) not in ("RUNNING", "PENDING", "SUCCESSFUL"):
                workflow.resume_async(self.id)
        except workflow.WorkflowNotFoundError:
            self.begin()
        output = ray.get(workflow.get_output_async(self.id), timeout=240)
        return output.results[0] if self.shape == "stateful" else output

    def _flow(self):
        flow = RayWorkflow(ledger(self.notes), workflow_name=self.id)
        flow.set_storage(nodes_of(self.root))
        return flow

    def committed(self):
        """What bodies note of tasks whose results are stored, and of the event once it is."""
        if self.shape == "stateful":
            return set(nodes_of(self.root).list_tasks(self.id)) - {"ledger"}
        stored = StoredWorkflow.find(store_of(self.root), self.id)
        if stored is None:
            return set()
        waits = {"polled" for key in stored.journal.names("wait") if "wait_for_event" in key}
        return waits | {
            key.partition("@")[0] for key in TaskResults(stored.journal).tasks() if not key.startswith(WAITS)
        }

    def ran(self):
        return noted(self.notes)


# -- what is killed


class Prey:
    """A cluster of two machines whose processes can be killed, one or all; they find this module by PYTHONPATH.

    Args:
        root: where its workflows are stored.
        dice: which of several is killed, and how the next cluster stores results.
    """

    KINDS = ("controller", "wait_actor", "worker", "driver", "raylet", "cluster")

    def __init__(self, root, dice):
        self.root, self.dice = root, dice
        self._drivers = []
        self._start()

    def _start(self):
        from ray.cluster_utils import Cluster

        attentive = {"health_check_period_ms": 1000, "agent_register_timeout_ms": 100_000}
        head = {"include_dashboard": False, "_system_config": attentive, **self._options()}
        self._cluster = until_started(partial(Cluster, initialize_head=True, head_node_args=head))
        self._add_second()
        ray.init(address=self._cluster.address, log_to_driver=False, _node_ip_address=ADDRESS)
        workflow.init(
            storage=store_of(self.root), lease_seconds=2.0, checkpoint=self.dice.choice(("strict", "grouped"))
        )

    def _add_second(self):
        self._second = until_started(partial(self._cluster.add_node, **self._options()))

    @staticmethod
    def _options():
        return {"num_cpus": 2, "node_ip_address": ADDRESS, "object_store_memory": 100 << 20}

    def drive(self, case):
        """Begin a workflow from another driver, which waits for it."""
        command = [sys.executable, __file__, self._cluster.address, str(self.root), case.shape, case.id]
        with Path(f"{self.root}/{case.id}.log").open("w") as log:
            self._drivers.append(subprocess.Popen(command, stdout=log, stderr=log))

    def kill(self, kind):
        """Kill one of this kind, or of another one if there is none; return the kind, None if nothing was killed."""
        for _ in range(50):  # processes that were killed take a moment to come back
            for one in (kind, "worker", "controller"):
                if getattr(self, f"_kill_{one}")():
                    return one
            time.sleep(0.1)
        return None

    def _one_of(self, pids):
        with suppress(ProcessLookupError, IndexError):
            os.kill(self.dice.choice(sorted(pids)), signal.SIGKILL)
            return True
        return False

    def _kill_controller(self):
        return self._one_of(pids_of(b"ray::Controller"))

    def _kill_wait_actor(self):
        return self._one_of(pids_of(b"ray::WaitActor"))

    def _kill_worker(self):
        others = (b"ray::Controller", b"ray::WaitActor", b"ray::DashboardAgent", b"ray::RuntimeEnvAgent")
        return self._one_of(set(pids_of(b"ray::")).difference(*map(pids_of, others)))

    def _kill_driver(self):
        running = [driver for driver in self._drivers if driver.poll() is None]
        return self._one_of([driver.pid for driver in running])

    def _kill_raylet(self):
        (raylet,) = self._second.all_processes["raylet"]
        os.kill(raylet.process.pid, signal.SIGKILL)
        time.sleep(self.dice.uniform(0, 1))
        self._cluster.remove_node(self._second, allow_graceful=False)
        self._add_second()
        return True

    def _kill_cluster(self):
        self._kill_all()
        self._start()
        workflow.resume_all()
        return True

    def _kill_all(self):
        """Kill what this process started; before, it leaves the cluster, because Ray ends who is in one that dies."""
        ray.shutdown()
        nodes = [self._cluster.head_node, *self._cluster.worker_nodes]
        started = [info.process for node in nodes for infos in node.all_processes.values() for info in infos]
        workers = [pid for process in started for pid in pids_of(b"", process.pid)]
        for pid in [*(process.pid for process in started), *workers]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._cluster.shutdown()
        for driver in self._drivers:
            driver.kill()
            driver.wait()
        self._drivers.clear()

    stop = _kill_all


def main(address, root, shape, workflow_id):
    """Be a driver."""
    ray.init(address=address, log_to_driver=False, _node_ip_address=ADDRESS)
    case = Case(root, shape, workflow_id)
    case.begin()
    print(case.result())


if __name__ == "__main__":
    from rayworkflow_chaos import main as importable  # else its functions would be pickled by value

    partial(importable, *sys.argv[1:])()
