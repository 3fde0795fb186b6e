"""A workflow goes on with the code that it was stored with, or says what has changed."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest
import ray
from rayworkflow_tasks import add, failing

from functionfuse.backends.addons import rayworkflow as workflow
from functionfuse.storage import FileStore

pytestmark = pytest.mark.slow(reason="drivers and clusters of their own")

MODULE = """
import importlib
import os
import ray
from functionfuse import workflow as node

def grown(x):
    return x + {}

def grow(x, gate):
    if not os.path.exists(gate):
        raise OSError("not yet")
    return grown(x)

task = ray.remote(grow)
step = node(grow)
"""
SCRIPT = """
import sys
import ray
from functionfuse.backends.addons import rayworkflow as workflow
from functionfuse.backends.addons.rayworkflowback import RayWorkflow
import changing

folder, call = sys.argv[1:]
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
workflow.init(storage=f"{folder}/store", retention="final")
durable = RayWorkflow(changing.step(1, folder + "/gate").set_name("grow"), workflow_name="graph")
for call in call.split(";"):
    try:
        print(eval(call))
    except Exception as error:
        print(type(error).__name__, str(error).splitlines()[0])
"""
RUN = 'workflow.run(changing.task.bind(1, folder + "/gate"), workflow_id="dag");durable.run()'
RESUME = 'workflow.resume("dag");durable.resume()'
ALLOWED = 'workflow.resume("dag", allow_changed_code=True);durable.resume(allow_changed_code=True)'


@pytest.fixture(scope="module", autouse=True)
def durable(local_ray, tmp_path_factory):
    workflow.init(storage=FileStore(tmp_path_factory.mktemp("durable"), durable=False))


def said(folder, calls):
    """What a driver says that has a cluster of its own."""
    env = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", SCRIPT, str(folder), calls]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=True).stdout.splitlines()


def test_a_changed_module_is_refused_unless_that_is_allowed(tmp_path):
    module = tmp_path / "changing.py"
    module.write_text(MODULE.format(10))
    dag, graph = said(tmp_path, RUN)
    assert "not yet" in dag
    assert "not yet" in graph
    (tmp_path / "gate").touch()
    module.write_text(MODULE.format(2000))
    dag, graph, *allowed = said(tmp_path, f'{RESUME};{ALLOWED};workflow.get_output("dag")')
    assert "The code of 'changing.grow' has changed since it was stored; allow_changed_code=True" in dag
    assert "The code of 'grow' has changed" in graph
    assert allowed == ["2001", "2001", "2001"]
    names = FileStore(tmp_path / "store").list_tasks("durable/dag")  # of which only the final ones are kept
    assert {name.partition("/")[2].partition("/")[0] for name in names} == {"", "lease", "end", "out"}


def test_another_graph_does_not_go_on_in_the_place_of_a_stored_one():
    def made(number):
        @ray.remote
        def task(x):
            if x:
                raise ValueError(number)
            return number

        return task

    with pytest.raises(workflow.WorkflowExecutionError):
        workflow.run(made(1).bind(True), workflow_id="other")
    with pytest.raises(workflow.WorkflowExecutionError):  # arguments are those of then
        workflow.run(made(1).bind(False), workflow_id="other")
    with pytest.raises(workflow.WorkflowNotResumableError, match=r"stored with other code of '.*task'; resume\(\)"):
        workflow.run(made(2).bind(True), workflow_id="other")
    with pytest.raises(workflow.WorkflowNotResumableError, match=r"other code of 'rayworkflow_tasks\.add'"):
        workflow.run(add.bind(made(1).bind(True)), workflow_id="other")
    with pytest.raises(workflow.WorkflowExecutionError):
        workflow.resume("other")


def test_functions_that_name_tasks_are_compared_by_their_code():
    def made():
        @ray.remote
        def leaf():
            raise ValueError("no")

        @ray.remote
        def top():
            return workflow.continuation(leaf.bind())

        return top.bind()

    for _ in range(2):
        with pytest.raises(workflow.WorkflowExecutionError, match="no"):
            workflow.run(made(), workflow_id="named")


def test_what_ended_well_is_given_back_whatever_is_asked():
    assert workflow.run(add.bind(1), workflow_id="well") == 1
    assert workflow.run(failing.bind(), workflow_id="well") == 1


def test_tasks_run_what_their_driver_has(tmp_path, monkeypatch):
    """Workers, and the controller, have known a module as it was, and search modules where another driver did."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    name = f"ff_durable_{os.getpid()}"
    (tmp_path / "gate").touch()
    results = []
    for number in (10, 2000):
        (tmp_path / f"{name}.py").write_text(MODULE.format(number))
        importlib.invalidate_caches()
        known = sys.modules.get(name)
        module = importlib.reload(known) if known else importlib.import_module(name)
        dag = add.bind(module.task.bind(1, str(tmp_path / "gate")), module.task.bind(2, str(tmp_path / "gate")))
        results.append(workflow.run(dag, workflow_id=f"driver {number}"))
    del sys.modules[name]
    assert results == [23, 4003]
