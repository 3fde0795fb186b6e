# ruff: noqa: E501  a line of the page is longer
"""The RayWorkflow page of the specification, as one script against a cluster that has the resources it names.

The page's decorator, closing brackets and the name of the store's options are put right, and the client's address is
that of the test's cluster. It seeds torch; the script seeds numpy.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow(reason="a cluster of its own, which is started and connected to several times")

PAGE = """
from functionfuse import workflow

@workflow
def sum(a, b):
    return a + b

a, b = 1, 1

a_plus_b = sum(a, b).set_name("node1")
a_plus_two_b = sum(a_plus_b, b).set_name("node2")

from functionfuse.backends.builtin.rayback import RayWorkflow

ray_workflow = RayWorkflow(a_plus_two_b, workflow_name="sums")
c = ray_workflow.run()
print(c)
ray_workflow.close()

ray_options = {
    "address": "ray://localhost:10001",
    "ignore_reinit_error": True,
    "runtime_env": {"working_dir": "."}
}

ray_workflow = RayWorkflow(a_plus_two_b, workflow_name="sums", ray_init_args=ray_options)
c = ray_workflow.run()
print(c)

node1_remote_args = {"num_cpus": 1}
node2_remote_args = {"resources": {"custom_resource": 0.1}}
ray_workflow.query("^.*node1.*$").set_remote_args(node1_remote_args)
ray_workflow.query("^.*node2.*$").set_remote_args(node2_remote_args)

c = ray_workflow.run()
print(c)

from functionfuse.backends.plugins import PluginCollection, InitializerPlugin, RandomStatePlugin

def init_float():
    import numpy
    numpy.seterr(all="raise")

def set_seed(seed):
    import numpy
    numpy.random.seed(seed % 2**32)
    print(numpy.random.rand(1))

random_state_plugin = RandomStatePlugin(min= -0x8000_0000_0000_0000, max= 0xffff_ffff_ffff_ffff, seed = -0x8000_0000_0000_0000, seed_func= set_seed)
initializer_plugin = InitializerPlugin(init_float)
plugin_collection = PluginCollection([initializer_plugin, random_state_plugin])

ray_workflow.query("^.*node1.*$").set_plugins(initializer_plugin)
ray_workflow.query("^.*node2.*$").set_plugins(plugin_collection)

c = ray_workflow.run()
print(c)

from functionfuse.storage import storage_factory

ray_storage_remote_args = {
    "resources": {"_disk": 0.001}
}

store_config = {
    "kind": "ray",
    "options": {
        "remoteArgs": ray_storage_remote_args,
        "path": "storage"
    }
}

storage = storage_factory(store_config)
ray_workflow.set_storage(storage)
print(ray_workflow.run(), storage.list_tasks("sums"), storage.read_task("sums", "node1"))
print(ray_workflow.plan().having("run"))
"""


def test_the_page(ray_head, tmp_path):
    (tmp_path / "page.py").write_text(PAGE.replace("ray://localhost:10001", ray_head))
    environment = {**os.environ, "RAY_ADDRESS": "local"}  # else any cluster of this machine is the default
    for attempt in range(5):  # two clusters may choose one port for the server of a client
        ended = subprocess.run(
            [sys.executable, "-W", "error", "page.py"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=250, check=False,
        )  # fmt: skip
        if attempt == 4 or "Starting Ray client server failed" not in ended.stderr:
            break
    assert ended.returncode == 0, ended.stderr
    printed = [line for line in ended.stdout.splitlines() if "pid=" not in line]  # what workers print
    assert printed == ["3", "3", "3", "3", "3 ['node1', 'node2'] 2", "[]"]
    assert (tmp_path / "storage" / "sums" / "node1.ffr").is_file()
