"""Run a graph on this machine, or on any executor."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, overload

from functionfuse._typing import HasResult, R
from functionfuse.backends.admission import Admission
from functionfuse.backends.base import BaseWorkflow
from functionfuse.backends.builtin._local.loop import MOST_COROUTINES, LoopEngine, admission_to_loop, has_coroutines
from functionfuse.backends.builtin._local.machine import offered
from functionfuse.backends.builtin._local.picture import Pictured
from functionfuse.backends.builtin._local.placement import offered_by, places_calls
from functionfuse.backends.builtin._local.pool import OwnPool, PoolEngine, SharedPool
from functionfuse.backends.drive import drive
from functionfuse.backends.options import COMMON_OPTIONS, checked_amount
from functionfuse.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor
    from typing import Unpack

    from functionfuse.backends.execution import Run
    from functionfuse.backends.spec import RunOptions


_PROCESS_POOLS = frozenset({"concurrent.futures.process", "loky.process_executor"})  # modules of their classes


class LocalWorkflow(Pictured, BaseWorkflow[R]):
    """Runs a graph in this process, in worker processes, or on any PEP 3148 executor.

    Serial by default, in plan order. ``run(max_workers=N)`` uses N processes of this machine. With
    ``executor``, every run uses that executor: a ``ThreadPoolExecutor``, a ``ProcessPoolExecutor``, loky's,
    Dask's ``client.get_executor()``, and so Slurm, MPI and whatever else has one. The executor stays open.

    Functions and arguments are sent to processes by value, with cloudpickle. A stateful object is sent with each
    call of its methods.

    Nodes that say what they need (``set_resources``) share the processors and the memory of this machine, and what
    ``resources`` adds: with ``max_workers``, as many run at a time as there is room for. An executor places calls
    itself: Dask's by the resources that its workers were started with ("GPU" is "gpus", "MEMORY" is "memory", others
    are custom ones); on any other, nodes with needs are refused.

    Args:
        nodes: nodes, items of nodes, or sweeps, whose results `run` returns.
        workflow_name: under which a store keeps the results.
        executor: any object with the ``submit`` of `concurrent.futures.Executor`.
        resources: amounts of what this machine has besides: "gpus", or any name that nodes need as a custom resource.
            "cpus" and "memory" (bytes) override what is found.
        scope: "graph" or "ancestors"; see `BaseWorkflow`.

    Raises:
        OptionError: the executor is not one, an amount is none, or resources are given beside an executor.
    """

    grows = True

    @overload
    def __init__(
        self: LocalWorkflow[list[Any]],
        first: HasResult[Any],
        second: HasResult[Any],
        /,
        *others: HasResult[Any],
        workflow_name: str,
        executor: Executor | None = ...,
        resources: Mapping[str, float] | None = ...,
        scope: str = ...,
    ) -> None: ...
    @overload
    def __init__(
        self,
        node: HasResult[R],
        /,
        *,
        workflow_name: str,
        executor: Executor | None = ...,
        resources: Mapping[str, float] | None = ...,
        scope: str = ...,
    ) -> None: ...
    def __init__(
        self,
        *nodes: HasResult[Any],
        workflow_name: str,
        executor: Executor | None = None,
        resources: Mapping[str, float] | None = None,
        scope: str = "graph",
    ) -> None:
        super().__init__(*nodes, workflow_name=workflow_name, scope=scope)
        if executor is not None and (isinstance(executor, type) or not callable(getattr(executor, "submit", None))):
            raise OptionError(f"an executor is an object with a method submit, got {executor!r}")
        self._executor = executor
        self.supports = COMMON_OPTIONS | {"tags"}
        self._resources = dict(resources or {})
        for name, amount in self._resources.items():
            checked_amount(f"resources: {name}", amount)
        if executor is not None and resources:
            raise OptionError("resources are those of this machine; an executor has its own")
        if executor is None or not _PROCESS_POOLS.isdisjoint(base.__module__ for base in type(executor).__mro__):
            self.supports |= {"environment"}  # of a process that runs one node at a time

    @property
    def grants(self) -> Mapping[str, float]:  # type: ignore[override]
        """The resources of this machine, in bytes and numbers; those of the workers of an executor of Dask."""
        if places_calls(self._executor):
            return offered_by(self._executor)
        return {} if self._executor is not None else offered(self._resources)

    def run(
        self, *, max_workers: int | None = None, max_concurrency: int | None = None, **options: Unpack[RunOptions]
    ) -> R:
        """Run the graph and return the results of the nodes that the workflow was given.

        Args:
            max_workers: number of processes; without it nodes run in this process, one after the other, but for
                coroutines, which run together.
            max_concurrency: how many coroutines run at a time in this process; 100 by default.
            options: how the run goes; see `functionfuse.backends.spec.RunOptions`.

        Returns:
            The value of one node, or the dict of those of one sweep; a list of these for several.

        Raises:
            NodeError: a node failed; its ``__cause__`` is what the function raised.
            WorkflowFailed: nodes failed, with ``on_error="continue"``; it has the report.
            OptionError: ``max_workers`` or ``max_concurrency`` is not a positive number, or is given beside an
                executor; or both are given.
        """
        if max_workers is not None:
            if self._executor is not None:
                raise OptionError("max_workers cannot be set for a workflow that has an executor")
            if not isinstance(max_workers, int) or max_workers < 1:
                raise OptionError(f"max_workers must be a whole number of processes, 1 or more, got {max_workers!r}")
        if max_concurrency is not None:
            if self._executor is not None or max_workers is not None:
                raise OptionError(
                    "max_concurrency is for coroutines in this process; workers of an executor, or of max_workers, "
                    "run one node each: leave it out"
                )
            if not isinstance(max_concurrency, int) or max_concurrency < 1:
                raise OptionError(
                    f"max_concurrency must be a whole number of coroutines, 1 or more, got {max_concurrency!r}"
                )
        if options.get("inline"):
            return super().run(**options)
        execute = partial(self.execute, max_workers=max_workers, max_concurrency=max_concurrency)
        results: R = self.session(**options).run(execute)
        return results

    def execute(self, run: Run, *, max_workers: int | None = None, max_concurrency: int | None = None) -> None:
        """Execute a run on an executor, on an event loop if it has coroutines, or in order.

        Args:
            run: the run.
            max_workers: as for `run`.
            max_concurrency: as for `run`.
        """
        if self._executor is not None or max_workers is not None:
            pool = OwnPool(max_workers) if self._executor is None else SharedPool(self._executor)  # type: ignore[arg-type]
            shared = {} if self._executor is not None else self.grants  # an executor places calls itself
            admission = Admission(shared, self._options.limits) if self._options else None
            drive(run, PoolEngine(pool, run.root.plan.steps), admission=admission)
            return
        most = MOST_COROUTINES if max_concurrency is None else max_concurrency
        if any(map(has_coroutines, run.opened)):
            self._drive_loop(run, most)
            return
        for task in run.in_order():
            run.perform_here(task)
            if run.opened and any(map(has_coroutines, run.opened)):  # of the graph that it returned
                self._drive_loop(run, most)

    def _drive_loop(self, run: Run, most: int) -> None:
        admission = admission_to_loop(self.grants if self._options else {}, self._options.limits, most)
        with LoopEngine(run, most) as engine:
            drive(run, engine, admission=admission)
