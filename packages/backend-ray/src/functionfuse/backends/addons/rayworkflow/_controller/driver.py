"""What drivers do: submit workflows, resume them, and get their outputs."""

from __future__ import annotations

import pickle
import time
import uuid
from typing import TYPE_CHECKING, Any

import ray
import ray.util.client
from ray import cloudpickle
from ray.dag import DAGNode
from ray.dag.input_node import DAGInputData
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from functionfuse.backends.builtin._ray.connection import surroundings_of_driver
from functionfuse.backends.driver_state import code_state
from functionfuse.backends.worker_state import WorkerState
from functionfuse.deferred import Deferred

from .._dag.capture import CapturedDag
from .._dag.graphs import as_dag
from .._dag.options import check_metadata
from .._records.environment import TaskEnvironment
from .._records.references import RecordLocation, remote, store_references
from .._records.submit_request import SubmitRequest
from . import actor
from .logs import logger
from .outputs import NotInMemory, deliver, value_in_memory

if TYPE_CHECKING:
    from collections.abc import Sequence


def submit(
    dag: object,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    workflow_id: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> str:
    """Store a workflow and let it run; return its id.

    Args:
        dag: the node whose result is wanted.
        args: for the InputNode of the DAG, if it has one.
        kwargs: as `args`.
        workflow_id: an id to find the workflow by; a new one by default.
        metadata: what JSON can hold.
    """
    if isinstance(dag, Deferred):
        dag = as_dag(dag)
    if not isinstance(dag, DAGNode):
        raise TypeError("Input should be a DAG.")
    check_metadata(metadata)
    if workflow_id is None:
        workflow_id = f"{uuid.uuid4()}.{time.time():.9f}"
    location = RecordLocation(actor.serialized_store(), workflow_id, uuid.uuid4().hex[:8])
    captured = CapturedDag(
        dag, lambda references: store_references(location, references), DAGInputData(*args, **kwargs)
    )
    graph = cloudpickle.dumps(captured.graph)
    environment = _environment(captured.code)
    request = SubmitRequest(workflow_id, location.run, graph, captured.functions, metadata or {}, environment)
    actor.call("submit", request)
    logger.info('Workflow job created. [id="%s"].', workflow_id)
    return workflow_id


def resume(workflow_id: str, allow_changed_code: bool) -> str:
    """Let a stored workflow go on; return its id.

    Args:
        workflow_id: the id of the workflow.
        allow_changed_code: go on even if workers import functions whose code has changed since it was stored.
    """
    logger.info('Resuming workflow [id="%s"].', workflow_id)
    actor.call("resume", workflow_id, _environment([]), allow_changed_code)
    logger.info("Workflow job %s resumed.", workflow_id)
    return workflow_id


def locate_output(workflow_id: str) -> Any:
    """Return a reference to the `Output` of a workflow that was let run."""
    return actor.call_async("output", workflow_id, None)


def find_output(workflow_id: str, task: str | None) -> Any:
    """Return a reference to the `Output` of a workflow, or of one of its tasks.

    Args:
        workflow_id: the id of the workflow.
        task: the name of a task; None for the workflow.
    """
    return actor.call_async("get_output", workflow_id, task)


def fetch(located: Any) -> Any:
    """Return a value, once there is one; a large array in memory is not copied.

    Args:
        located: a reference to an `Output`.
    """
    try:
        return value_in_memory(actor.result_of(located))
    except NotInMemory:
        return actor.result_of(reference_to(located))


def reference_to(located: Any) -> Any:
    """Return an ObjectRef of a value, which a task resolves that starts when the output is there.

    The task takes no processor: tasks that run for long may have them all. It is repeated until a worker survives it.
    It runs on this machine, to which the value comes.

    Args:
        located: a reference to an `Output`.
    """
    options: dict[str, Any] = {"num_cpus": 0, "max_retries": -1, "name": "functionfuse output"}
    if not ray.util.client.ray.is_connected():
        here = ray.get_runtime_context().get_node_id()
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(here, soft=True)
    return remote(deliver).options(**options).remote(located)


def _environment(code: Sequence[object]) -> TaskEnvironment:
    """Return what tasks have of this process, with what the workflow's code uses of its modules."""
    used = code_state(code, cloudpickle.dumps)
    state = WorkerState(surroundings_of_driver(), () if used is None else (used,), uuid.uuid4().hex)
    return TaskEnvironment(dict(ray.get_runtime_context().runtime_env), pickle.dumps(state))
