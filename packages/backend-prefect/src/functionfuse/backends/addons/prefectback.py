"""Run a graph as a Prefect flow."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

import httpx
from prefect import Flow
from prefect.exceptions import CancelledRun, PrefectException
from prefect.states import Cancelled
from prefect.task_runners import ThreadPoolTaskRunner

from functionfuse._typing import HasResult, R
from functionfuse.backends.addons._prefect.options import allowed_name, checked_flow_options, checked_task_args
from functionfuse.backends.addons._prefect.placement import granted_by
from functionfuse.backends.addons._prefect.run import execute_in_flow
from functionfuse.backends.addons._prefect.server import start_temporary_server
from functionfuse.backends.addons._prefect.workers import refuse_unguarded_main
from functionfuse.backends.base import BaseWorkflow
from functionfuse.backends.options import COMMON_OPTIONS, checked_on_error, checked_reuse
from functionfuse.backends.query import Query
from functionfuse.backends.session import Session
from functionfuse.errors import EngineUnreachable, OptionError, RunCancelled
from functionfuse.original import takes_original_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Unpack
    from uuid import UUID

    from functionfuse.backends.execution import Run
    from functionfuse.backends.spec import RunOptions, RunSpec

_UNREACHABLE = ("Failed to reach API", "Timed out while attempting to connect to ephemeral")  # Prefect's words for it


class PrefectQuery(Query):
    """Nodes whose names match a pattern, with the options of Prefect's tasks."""

    engine_section = ("prefect", "set_task_args")

    def set_task_args(self, args: Mapping[str, Any]) -> Self:
        """Set options of `prefect.task`: `retries`, `tags`, `cache_policy`, `timeout_seconds` ...

        Raises:
            OptionError: Prefect does not know an option, or refuses its value.
        """
        return self._set(engine={"task_args": checked_task_args(args)})


class PrefectWorkflow(BaseWorkflow[R]):
    """Runs a graph as a flow of Prefect: every node is a task run, under the node's own name.

    Nodes that say what they need are placed by task runners of Ray and Dask (there, "GPU" is "gpus", and others are
    custom resources); Prefect's own ones grant no resources.

    Args:
        nodes: nodes, items of nodes, or sweeps, whose results `run` returns.
        workflow_name: under which a store keeps the results; the name of the flow.
        scope: "graph" or "ancestors"; see `BaseWorkflow`.
    """

    query_class = PrefectQuery
    supports = COMMON_OPTIONS | {"engine", "tags"}

    @property
    def grants(self) -> Mapping[str, float]:  # type: ignore[override]
        """The resources that the task runner grants: none, but for those of Ray and Dask."""
        return granted_by(self._flow_options.get("task_runner"))

    @overload
    def __init__(
        self: PrefectWorkflow[list[Any]],
        first: HasResult[Any],
        second: HasResult[Any],
        /,
        *others: HasResult[Any],
        workflow_name: str,
        scope: str = ...,
    ) -> None: ...
    @overload
    def __init__(
        self,
        node: HasResult[R],
        /,
        *,
        workflow_name: str,
        scope: str = ...,
    ) -> None: ...
    def __init__(self, *nodes: HasResult[Any], workflow_name: str, scope: str = "graph") -> None:
        super().__init__(*nodes, workflow_name=workflow_name, scope=scope)
        self._flow_options: dict[str, Any] = {}
        self._flow: Flow[Any, Any] | None = None

    def __copy__(self) -> Self:
        copied = super().__copy__()
        copied._flow_options, copied._flow = dict(self._flow_options), None
        return copied

    @takes_original_names
    def set_prefect_flow_options(self, options: Mapping[str, Any]) -> None:
        """Set options of `prefect.flow`: `task_runner`, `retries`, `on_failure`, `log_prints` ...

        Raises:
            OptionError: Prefect does not know an option, or refuses its value.
        """
        self._flow_options |= checked_flow_options(options)

    @property
    def flow(self) -> Flow[Any, Any] | None:
        """The flow that was generated last, by `generate_flow` or `run`; None before."""
        return self._flow

    def generate_flow(self) -> Flow[Any, Any]:
        """Return the graph, as it is now, as a flow of Prefect whose parameters are those of `run`.

        It is kept as `flow` too. Options that are set later are those of the next one.

        The flow can be pickled, for a process that serves it: nodes stay here, and their steps go with it.
        """
        return self._flow_of(self.spec())

    def _flow_of(self, spec: RunSpec) -> Flow[Any, Any]:
        observers, runs = tuple(self._observers), self._runs

        def functionfuse_flow(  # types that Prefect reads
            on_error: str = "raise", reuse: str = "recipe", check_arguments: bool = False
        ) -> Any:
            chosen = spec._replace(on_error=checked_on_error(on_error), reuse=checked_reuse(reuse))
            if check_arguments:
                chosen = chosen.with_argument_check()
            session = Session(chosen, observers=observers, runs=runs)
            try:
                return session.run(partial(execute_in_flow, reuse=chosen.reuse, limits=spec.options.limits))
            except RunCancelled as cancelled:
                return Cancelled(message=str(cancelled))

        defaults = {
            "name": allowed_name(self.workflow_name),
            "task_runner": ThreadPoolTaskRunner(max_workers=min(32, (os.cpu_count() or 1) + 4)),
        }
        self._flow = Flow(functionfuse_flow, **{**defaults, **self._flow_options})
        return self._flow

    def run(self, **options: Unpack[RunOptions]) -> R:
        """Run the graph in a flow run, and return the results of the nodes that the workflow was given.

        Args:
            options: how the run goes; see `functionfuse.backends.spec.RunOptions`.

        Raises:
            NodeError: a node failed; its `__cause__` is what the function raised.
            WorkflowFailed: nodes failed, with `on_error="continue"`; it carries the report.
            RunCancelled: somebody cancelled the flow run in Prefect.
            EngineUnreachable: Prefect's server cannot be reached.
            EngineError: a worker process of a pool, which is being started, runs the script again.
        """
        refuse_unguarded_main(self.workflow_name)
        if options.get("inline"):
            return super().run(**options)
        try:
            start_temporary_server()
            spec = self.spec(**options)
            check_arguments = options.get("check_arguments", False)
            flow: Callable[..., R] = self._flow_of(spec)
            return flow(on_error=spec.on_error, reuse=spec.reuse, check_arguments=check_arguments)
        except CancelledRun as cancelled:
            raise RunCancelled(str(cancelled)) from cancelled
        except (RuntimeError, httpx.TransportError) as error:
            if isinstance(error, RuntimeError) and not str(error).startswith(_UNREACHABLE):
                raise
            raise EngineUnreachable(
                f"workflow {self.workflow_name!r} cannot reach Prefect's server ({error}); start it with "
                "'prefect server start', or set PREFECT_API_URL to one that runs; what had finished is stored"
            ) from error

    def deploy(self, name: str, work_pool: str, cron: str | None = None, *, entrypoint: str) -> UUID:
        """Create a deployment, whose runs the workers of a work pool execute.

        Args:
            name: of the deployment.
            work_pool: the work pool's name.
            cron: when to run, as in `"0 6 * * *"`; without it, on demand.
            entrypoint: a file and a variable in it, `"file.py:flow"`, that holds the flow that `generate_flow`
                returned. Workers see the file under the same path.

        Returns:
            The deployment's id.

        Raises:
            OptionError: there is no such flow, or no such work pool.
        """
        file, _, variable = entrypoint.rpartition(":")
        path = Path(file).resolve()
        if not variable.isidentifier() or not path.is_file():
            raise OptionError(
                f"deployment {name!r}: an entrypoint is a file that exists and a variable in it that holds a flow, "
                f"like 'file.py:flow', got {entrypoint!r}"
            )
        try:
            flow: Any = Flow.from_source(str(path.parent), entrypoint=f"{path.name}:{variable}")
            made: UUID = flow.deploy(name=name, work_pool_name=work_pool, cron=cron, print_next_steps=False)
        except (PrefectException, ValueError, AttributeError) as error:
            raise OptionError(
                f"deployment {name!r} cannot be created from {entrypoint!r} for the work pool {work_pool!r}: {error}"
            ) from error
        return made

    def execute(self, run: Run) -> None:
        """Execute a run in the flow run that this is called in."""
        execute_in_flow(run)
