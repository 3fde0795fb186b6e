"""What `run` of every backend returns, to checkers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, assert_type

from functionfuse import workflow
from functionfuse.backends.addons import rayworkflowback
from functionfuse.backends.addons.kfpback import KFPWorkflow
from functionfuse.backends.addons.prefectback import PrefectWorkflow
from functionfuse.backends.base import BaseWorkflow
from functionfuse.backends.builtin import rayback
from functionfuse.backends.builtin.graphback import GraphWorkflow
from functionfuse.backends.builtin.localback import LocalWorkflow
from functionfuse.backends.execution import Run

T = TypeVar("T")


@workflow
def pair(n: int) -> tuple[int, str]:
    return n, str(n)


@workflow
def anything() -> Any:
    return 1


node = pair(1).set_name("pair")
several = [node, node]
unknown: Any = node

local = LocalWorkflow(node, workflow_name="one")
assert_type(local, LocalWorkflow[tuple[int, str]])
assert_type(local.run(), tuple[int, str])
assert_type(local.run(max_workers=2, on_error="continue"), tuple[int, str])
assert_type(local.edit().remove("pair", value=(1, "")).done().run(), tuple[int, str])
assert_type(LocalWorkflow(node[0], workflow_name="item").run(), int)
assert_type(LocalWorkflow(node, node[1], workflow_name="two").run(), list[Any])
assert_type(LocalWorkflow(*several, workflow_name="several").run(), list[Any])
assert_type(LocalWorkflow(anything(), workflow_name="any").run(), Any)
LocalWorkflow(unknown, workflow_name="unknown").run().anything()
assert_type(LocalWorkflow(node[1], workflow_name="x", executor=ThreadPoolExecutor(), scope="ancestors").run(), str)

assert_type(GraphWorkflow(node, node[0], workflow_name="picture", doc_path=".").run(), str)

ray = rayback.RayWorkflow(node, workflow_name="ray", ray_init_args={})
assert_type(ray.run(), tuple[int, str])
assert_type(ray.run(max_pending_tasks=10, reuse="never"), tuple[int, str])
assert_type(ray.run(return_results=False), Any)
assert_type(rayback.RayWorkflow(node, node, workflow_name="ray").run(), list[Any])

durable = rayworkflowback.RayWorkflow(node[0], workflow_name="durable")
assert_type(durable.run(), int)
assert_type(durable.output(), int)
assert_type(durable.resume(), int)
rayworkflowback.RayWorkflow(node, node, workflow_name="durable").run()

assert_type(PrefectWorkflow(node[0], workflow_name="prefect").run(), int)
assert_type(PrefectWorkflow(node, node, workflow_name="prefect").run(), list[Any])

kfp = KFPWorkflow(node[1], workflow_name="kfp", baseimage="python:3.11")
assert_type(kfp.run(timeout=60), str)
assert_type(kfp.run_local(), str)
assert_type(KFPWorkflow(node, node, workflow_name="kfp").run(), list[Any])


class Serial(BaseWorkflow):
    def execute(self, run: Run) -> None:
        for task in run.in_order():
            run.perform_here(task)


class Typed(BaseWorkflow[T]):
    def execute(self, run: Run) -> None:
        for task in run.in_order():
            run.perform_here(task)


assert_type(Serial(node, workflow_name="serial").run(), Any)
assert_type(Typed(node, workflow_name="typed").run(), tuple[int, str])


async def in_a_server() -> None:
    assert_type(await local.run_async(), tuple[int, str])
