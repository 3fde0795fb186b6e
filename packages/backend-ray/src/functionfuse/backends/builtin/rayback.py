"""Run a graph on a Ray cluster."""

from __future__ import annotations

import math
import sys
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self, overload

import ray

from functionfuse._typing import HasResult, R
from functionfuse.backends.base import BaseWorkflow
from functionfuse.backends.builtin._ray.connection import connect
from functionfuse.backends.builtin._ray.options import check_remote_args
from functionfuse.backends.builtin._ray.remote_funcs_store import adapted_to_ray
from functionfuse.backends.builtin._ray.run import MOST_PENDING, execute_on_ray, run_on_ray
from functionfuse.backends.options import COMMON_OPTIONS
from functionfuse.backends.query import Query
from functionfuse.errors import OptionError
from functionfuse.original import takes_original_names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal, Unpack

    from functionfuse.backends.execution import Run
    from functionfuse.backends.spec import RunOptions
    from functionfuse.stores import Store


class RayQuery(Query):
    """Nodes whose names match a pattern, with the options of Ray's tasks."""

    engine_section = ("ray", "set_remote_args")

    @takes_original_names
    def set_remote_args(self, remote_args: Mapping[str, Any]) -> Self:
        """Set options of ``ray.remote``: ``num_cpus``, ``resources``, ``runtime_env``, ``max_retries`` ...

        For a stateful object, those of its constructor's node are the options of its actor.

        Raises:
            OptionError: Ray does not know an option, or refuses its value.
        """
        check_remote_args(remote_args)
        return self._set(engine={"remote_args": dict(remote_args)})


class RayWorkflow(BaseWorkflow[R]):
    """Runs a graph on a Ray cluster: nodes are tasks, stateful objects are actors.

    Args:
        nodes: nodes, items of nodes, or sweeps, whose results `run` returns.
        workflow_name: under which a store keeps the results.
        ray_init_args: arguments of ``ray.init``, which is called here unless Ray is initialised already; then they
            must hold already.
        scope: "graph" or "ancestors"; see `BaseWorkflow`.

    Raises:
        OptionError: Ray is initialised already, otherwise than ``ray_init_args`` say.
    """

    query_class = RayQuery
    pickler = "ray.cloudpickle"
    collapses_objects = False
    grows = True
    supports = COMMON_OPTIONS | {"engine", "environment", "packages"}
    grants = dict.fromkeys(("cpus", "gpus", "memory", "accelerator", "custom"), math.inf)

    @overload
    def __init__(
        self: RayWorkflow[list[Any]],
        first: HasResult[Any],
        second: HasResult[Any],
        /,
        *others: HasResult[Any],
        workflow_name: str,
        ray_init_args: Mapping[str, Any] | None = ...,
        scope: str = ...,
    ) -> None: ...
    @overload
    def __init__(
        self,
        node: HasResult[R],
        /,
        *,
        workflow_name: str,
        ray_init_args: Mapping[str, Any] | None = ...,
        scope: str = ...,
    ) -> None: ...
    def __init__(
        self,
        *nodes: HasResult[Any],
        workflow_name: str,
        ray_init_args: Mapping[str, Any] | None = None,
        scope: str = "graph",
    ) -> None:
        super().__init__(*nodes, workflow_name=workflow_name, scope=scope)
        self._running = threading.Lock()  # one run of this object at a time
        self._ray_init_args = dict(ray_init_args or {})
        self._started_ray = connect(self._ray_init_args)

    @takes_original_names
    def set_storage(self, storage: Store | str | None) -> None:
        """Save every node's result in a store, and reuse what it holds; None takes the store away.

        A store that has only `get_writer_funcs(workflow_name)` may return remote functions of Ray.

        Raises:
            OptionError: the object lacks a verb of stores, or there is no store at the location.
        """
        super().set_storage(adapted_to_ray(storage, self.workflow_name))

    @overload
    def run(
        self, return_results: Literal[True] = ..., max_pending_tasks: int = ..., **options: Unpack[RunOptions]
    ) -> R: ...
    @overload
    def run(self, return_results: bool, max_pending_tasks: int = ..., **options: Unpack[RunOptions]) -> Any: ...
    def run(
        self,
        return_results: bool = True,
        max_pending_tasks: int = MOST_PENDING,
        **options: Unpack[RunOptions],
    ) -> Any:
        """Run the graph, and return the results of the nodes that the workflow was given.

        Args:
            return_results: without it the results stay in the cluster, and ObjectRefs are returned.
            max_pending_tasks: how many tasks Ray has at a time, without a limit if it is 0; each takes about 8 KiB of
                this process.
            options: how the run goes; see `functionfuse.backends.spec.RunOptions`.

        Raises:
            NodeError: a node failed; its ``__cause__`` is what the function raised.
            WorkflowFailed: nodes failed, with ``on_error="continue"``; it carries the report.
        """
        if not isinstance(max_pending_tasks, int) or max_pending_tasks < 0:
            raise OptionError(f"max_pending_tasks must be a whole number, 0 or more, got {max_pending_tasks!r}")
        if options.get("inline"):
            return super().run(**options)
        with self._running:
            self._started_ray |= connect(self._ray_init_args)  # it may have been shut down
            return run_on_ray(
                self.spec(**options),
                observers=self._observers,
                runs=self._runs,
                return_results=return_results,
                most_pending=max_pending_tasks or sys.maxsize,
            )

    def run_in_background(self, **options: Any) -> Future[Any]:
        """Run the graph in a thread; return a Future of what ``run(return_results=False)`` returns: references.

        `run_async` is for an event loop, as on every backend: it is awaited, and returns the results.

        Args:
            options: those of `run`, but for ``return_results``.
        """
        future: Future[Any] = Future()

        def work() -> None:
            future.set_running_or_notify_cancel()
            try:
                future.set_result(self.run(return_results=False, **options))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=work, name=f"run of {self.workflow_name}", daemon=True).start()
        return future

    def execute(self, run: Run) -> None:
        """Execute a run on Ray."""
        execute_on_ray(run)

    def close(self) -> None:
        """Stop Ray, if this workflow started it."""
        if self._started_ray:
            ray.shutdown()
            self._started_ray = False

    def __copy__(self) -> Self:
        copied = super().__copy__()
        copied._running = threading.Lock()
        copied._started_ray = False  # the other workflow stops it
        return copied

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
