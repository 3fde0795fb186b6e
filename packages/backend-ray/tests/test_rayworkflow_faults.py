"""Durable workflows outlive their drivers, workers, controller and cluster, and no committed task runs again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import ray
from ray_addresses import PATH
from rayworkflow_tasks import add, await_that, counted, gather, held, note, noted, pid_of, pids_of

from functionfuse.backends.addons import rayworkflow as workflow
from functionfuse.storage import FileStore


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("durable")


@pytest.fixture(scope="module", autouse=True)
def durable(local_ray, root):
    workflow.init(storage=FileStore(root, durable=False), lease_seconds=2.0)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "notes")


@contextmanager
def driver(script, path, *args):
    """Another driver, which is killed in the end."""
    program = (
        "import sys\nimport ray\nfrom rayworkflow_tasks import *\n"
        "from functionfuse.backends.addons import rayworkflow as workflow\n"
        "from functionfuse.storage import FileStore\npath, root, address = sys.argv[1:4]\n" + script
    )
    address = ray.get_runtime_context().gcs_address
    env = {**os.environ, "PYTHONPATH": PATH}
    log = Path(f"{path}.log")
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", program, path, *map(str, args), address], env=env, stdout=out, stderr=out
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def test_a_killed_controller_comes_back_and_goes_on(path):
    dag = gather.bind(add.bind(counted.bind(path, 1), held.bind(f"{path}.gate")), workflow.sleep(1))
    output = workflow.run_async(dag, workflow_id="controller")
    await_that(lambda: noted(path) and noted(f"{path}.gate.started"))
    await_that(lambda: "rayworkflow_tasks.counted" in stored("controller"))
    os.kill(pid_of(b"ray::Controller"), signal.SIGKILL)
    note(f"{path}.gate")
    assert ray.get(output, timeout=60) == (2, None)
    assert len(noted(path)) == 1
    assert workflow.get_status("controller") == workflow.SUCCESSFUL


def stored(workflow_id):
    """Keys of the tasks whose results are stored."""
    store = workflow_store()
    return [name.partition("/out/")[2] for name in store.list_tasks(f"durable/{workflow_id}", "*/out/*")]


def workflow_store():
    from functionfuse.backends.addons.rayworkflow._controller import packed_store

    return ray.cloudpickle.loads(packed_store())


def test_a_workflow_outlives_its_driver(path):
    script = (
        "ray.init(address=address, log_to_driver=False)\n"
        "workflow.run(add.bind(counted.bind(path, 1), held.bind(path + '.gate')), workflow_id='driver')\n"
    )
    with driver(script, path, "-") as process:
        await_that(lambda: noted(f"{path}.gate.started"))
        process.kill()
        process.wait()
    note(f"{path}.gate")
    assert workflow.get_output("driver") == 2
    assert len(noted(path)) == 1


CLUSTER = """
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
workflow.init(storage=FileStore(root, durable=False), lease_seconds=2.0)
"""


def test_a_workflow_outlives_its_cluster(path, root):
    script = CLUSTER + (
        "dag = gather.bind(add.bind(counted.bind(path, 1), held.bind(path + '.gate')), workflow.sleep(0.1))\n"
        "workflow.run(dag, workflow_id='cluster')\n"
    )
    with driver(script, path, root) as process:
        await_that(lambda: noted(f"{path}.gate.started"))
        await_that(lambda: "rayworkflow_tasks.counted" in stored("cluster"))
        assert workflow.get_status("cluster") == workflow.RUNNING
        with pytest.raises(workflow.WorkflowStillActiveError):  # its controller lives
            workflow.resume("cluster")
        process.kill()
        process.wait()
    note(f"{path}.gate")
    await_that(lambda: workflow.get_status("cluster") == workflow.RESUMABLE)
    assert workflow.list_all("RESUMABLE") == [("cluster", workflow.RESUMABLE)]
    ((workflow_id, output),) = workflow.resume_all()
    assert (workflow_id, ray.get(output)) == ("cluster", (2, None))
    assert len(noted(path)) == 1


def test_a_controller_that_was_paused_past_its_lease_ends_nothing(path, root):
    script = (
        CLUSTER + "workflow.run(add.bind(counted.bind(path, 1), held.bind(path + '.gate')), workflow_id='paused')\n"
    )
    with driver(script, path, root) as process:
        await_that(lambda: "rayworkflow_tasks.counted" in stored("paused"))
        await_that(lambda: noted(f"{path}.gate.started"))
        paused = pid_of(b"ray::Controller", process.pid)
        os.kill(paused, signal.SIGSTOP)
        try:
            assert workflow.get_status("paused") == workflow.RESUMABLE
            output = workflow.resume_async("paused")
            await_that(lambda: len(noted(f"{path}.gate.started")) == 2)
        finally:
            os.kill(paused, signal.SIGCONT)
        note(f"{path}.gate")
        assert ray.get(output) == 2
        assert process.wait(60) == 1
        assert "WorkflowStillActiveError" in Path(f"{path}.log").read_text()
    assert workflow.get_output("paused") == 2
    assert len(noted(path)) == 1


def test_a_damaged_result_is_made_again(path, root):
    @ray.remote
    def fails_once(x, path):
        note(f"{path}.tries")
        if len(noted(f"{path}.tries")) == 1:
            raise OSError("not yet")
        return x

    with pytest.raises(workflow.WorkflowExecutionError):
        workflow.run(fails_once.bind(counted.bind(path, 1), path), workflow_id="damaged")
    (record,) = root.glob("durable=2Fdamaged/*counted*")
    record.write_bytes(record.read_bytes()[:-20])
    assert workflow.resume("damaged") == 1
    assert len(noted(path)) == 2


# -- kills at random


@ray.remote(max_retries=50)
def careful(folder, name, *values):
    """Notes that it runs, and that it does so although its result is stored."""
    if list(Path(folder).glob(f"*=2Fout=2F{name}.ffr")):
        note(f"{folder}.again", name)
    time.sleep(random.uniform(0, 0.1))
    return 1 + sum(values)


@ray.remote(max_retries=50)
def grows(folder, name, depth):
    if not depth:
        return 1
    step = careful.options(**workflow.options(task_id=f"{name}-{depth}")).bind(folder, f"{name}-{depth}*")
    return workflow.continuation(both.bind(step, grows.bind(folder, name, depth - 1)))


@ray.remote(max_retries=50)
def both(a, b):
    return a + b


def a_graph(folder):
    """A fan, a chain behind it, and a recursion; its result is 1 + 20 + 20 + 9."""

    def task(name, *values):
        return careful.options(**workflow.options(task_id=name)).bind(folder, name, *values)

    fan = task("sum", *[task(f"fan-{number}") for number in range(20)])
    for number in range(20):
        fan = task(f"chain-{number}", fan)
    return both.bind(both.bind(fan, grows.bind(folder, "grow", 8)), workflow_value.bind(workflow.sleep(0.5)))


@ray.remote(max_retries=50)
def workflow_value(_):
    return 0


VICTIMS = [b"ray::Controller", b"ray::Hub", b"ray::IDLE", b"ray::fan", b"ray::chain", b"ray::grow"]
ROUNDS = int(os.environ.get("FUNCTIONFUSE_CHAOS_ROUNDS", "2"))


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_kills_at_random_moments(root, seed):
    dice = random.Random(seed)
    workflow_id = f"chaos-{seed}"
    folder = root / f"durable=2F{workflow_id}"
    output = workflow.run_async(a_graph(str(folder)), workflow_id=workflow_id)
    for _ in range(dice.randint(1, 4)):
        time.sleep(dice.uniform(0.05, 0.8))
        victims = pids_of(dice.choice(VICTIMS))
        if victims:
            with suppress(ProcessLookupError):
                os.kill(dice.choice(victims), signal.SIGKILL)
    assert ray.get(output, timeout=120) == 50
    assert noted(f"{folder}.again") == []
    assert len(stored(workflow_id)) == len(set(stored(workflow_id)))


def test_an_isolated_task_goes_on_while_its_controller_is_away(path):
    isolated = held.options(**workflow.options(isolate=True))
    output = workflow.run_async(add.bind(isolated.bind(f"{path}.gate"), 1), workflow_id="isolated")
    await_that(lambda: noted(f"{path}.gate.started"))
    (runner,) = pids_of(b"ray::Runner")
    os.kill(pid_of(b"ray::Controller"), signal.SIGKILL)
    note(f"{path}.gate")
    assert ray.get(output, timeout=60) == 2
    assert len(noted(f"{path}.gate.started")) == 1
    await_that(lambda: runner not in pids_of(b"ray::"))


def test_an_isolated_task_is_cancelled_and_goes_on_when_it_is_resumed(path):
    isolated = held.options(**workflow.options(isolate=True))
    workflow.run_async(isolated.bind(f"{path}.gate"), workflow_id="isolated and cancelled")
    await_that(lambda: noted(f"{path}.gate.started"))
    workflow.cancel("isolated and cancelled")
    await_that(lambda: not pids_of(b"ray::Runner"))
    note(f"{path}.gate")
    assert workflow.resume("isolated and cancelled") == 1


def test_an_isolated_task_whose_process_dies_is_tried_again(path):
    isolated = held.options(**workflow.options(isolate=True))
    output = workflow.run_async(isolated.bind(f"{path}.gate"), workflow_id="isolated and killed")
    await_that(lambda: noted(f"{path}.gate.started"))
    os.kill(pid_of(b"ray::Runner"), signal.SIGKILL)
    await_that(lambda: len(noted(f"{path}.gate.started")) == 2)
    note(f"{path}.gate")
    assert ray.get(output, timeout=60) == 1
