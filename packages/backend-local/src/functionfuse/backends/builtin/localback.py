"""Run a graph on this machine, or on any executor."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from functionfuse.backends.admission import Admission
from functionfuse.backends.base import BaseWorkflow
from functionfuse.backends.builtin._local.machine import offered
from functionfuse.backends.builtin._local.picture import Pictured
from functionfuse.backends.builtin._local.pool import OwnPool, PoolEngine, SharedPool
from functionfuse.backends.drive import drive
from functionfuse.backends.options import COMMON_OPTIONS, checked_amount
from functionfuse.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor

    from functionfuse.backends.execution import Run
    from functionfuse.backends.options import OnError, Reuse
    from functionfuse.nodes import Item, Node


_PROCESS_POOLS = frozenset({"concurrent.futures.process", "loky.process_executor"})  # modules of their classes


class LocalWorkflow(Pictured, BaseWorkflow):
    """Runs a graph in this process, in worker processes, or on any PEP 3148 executor.

    Serial by default, in plan order. ``run(max_workers=N)`` uses N processes of this machine. With
    ``executor``, every run uses that executor: a ``ThreadPoolExecutor``, a ``ProcessPoolExecutor``, loky's,
    Dask's ``client.get_executor()``, and so Slurm, MPI and whatever else has one. The executor stays open.

    Functions and arguments are sent to processes by value, with cloudpickle. A stateful object is sent with each
    call of its methods.

    Nodes that say what they need (``set_resources``) share the processors and the memory of this machine, and what
    ``resources`` adds: with ``max_workers``, as many run at a time as there is room for. An executor places calls
    itself, so that nodes with needs are refused there.

    Args:
        nodes: nodes, or items of nodes, whose results `run` returns.
        workflow_name: under which a store keeps the results.
        executor: any object with the ``submit`` of `concurrent.futures.Executor`.
        resources: amounts of what this machine has besides: "gpus", or any name that nodes need as a custom resource.
            "cpus" and "memory" (bytes) override what is found.
        scope: "graph" or "ancestors"; see `BaseWorkflow`.

    Raises:
        OptionError: the executor is not one, an amount is none, or resources are given beside an executor.
    """

    def __init__(
        self,
        *nodes: Node | Item,
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
        """The resources of this machine, in bytes and numbers; none for an executor."""
        return {} if self._executor is not None else offered(self._resources)

    def run(
        self,
        *,
        max_workers: int | None = None,
        on_error: OnError = "raise",
        reuse: Reuse = "recipe",
        check_arguments: bool = False,
    ) -> Any:
        """Run the graph and return the results of the nodes that the workflow was given.

        Args:
            max_workers: number of processes; without it nodes run in this process, one after the other.
            on_error: "raise" stops at the first failure, after what is running has ended and is stored;
                "continue" runs all nodes that do not depend on it.
            reuse: "recipe" reuses a stored result if everything that makes it is unchanged; "name" any result
                that is stored under a node's name; "never" none.
            check_arguments: whether a node fails that changes an argument in place; arguments are fingerprinted before
                and after each node for that.

        Returns:
            The value of one node, a list of values for several.

        Raises:
            NodeError: a node failed; its ``__cause__`` is what the function raised.
            WorkflowFailed: nodes failed, with ``on_error="continue"``; it has the report.
            OptionError: ``max_workers`` is not a positive number, or is given beside an executor.
        """
        if max_workers is not None:
            if self._executor is not None:
                raise OptionError("max_workers cannot be set for a workflow that has an executor")
            if not isinstance(max_workers, int) or max_workers < 1:
                raise OptionError(f"max_workers must be a whole number of processes, 1 or more, got {max_workers!r}")
        execute = partial(self.execute, max_workers=max_workers)
        return self.session(on_error=on_error, reuse=reuse, check_arguments=check_arguments).run(execute)

    def execute(self, run: Run, *, max_workers: int | None = None) -> None:
        """Execute a run in order, or on an executor.

        Args:
            run: the run.
            max_workers: as for `run`.
        """
        if self._executor is not None or max_workers is not None:
            pool = OwnPool(max_workers) if self._executor is None else SharedPool(self._executor)  # type: ignore[arg-type]
            admission = Admission(self.grants, self._options.limits) if self._options else None
            drive(run, PoolEngine(pool, run.root.plan.steps), admission=admission)
        else:
            for task in run.in_order():
                run.perform_here(task)
