"""A run of a graph within a flow run."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from prefect.context import FlowRunContext

from functionfuse.backends.admission import Admission
from functionfuse.backends.drive import drive

from .artifact import NodeTable
from .cache import CacheLookups
from .context import small_context
from .engine import PrefectEngine
from .server import ServerCalls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functionfuse.backends.execution import Run
    from functionfuse.backends.options import Reuse

_NO_LIMITS: Mapping[str, int] = MappingProxyType({})


def execute_in_flow(run: Run, reuse: Reuse = "recipe", limits: Mapping[str, int] = _NO_LIMITS) -> None:
    """Execute a run in the flow run that this is called in.

    Args:
        run: the run.
        reuse: which results of Prefect's own cache are reused: with "never" none.
        limits: by tag, how many nodes with it run at a time.

    Raises:
        RunCancelled: somebody cancelled the flow run.
    """
    context = FlowRunContext.get()
    assert context is not None
    table = NodeTable()
    lookups = CacheLookups(has_store=run.store is not None, reuse=reuse)
    calls = ServerCalls(context.client)
    try:
        with small_context(context):
            engine = PrefectEngine(context, table, run.root.plan.steps, lookups, calls)
            drive(run, engine, on_open=engine.show_reused, admission=Admission({}, limits) if limits else None)
            try:
                engine.finish()
            except BaseException:
                engine.stop(at_once=True)
                raise
    finally:
        plan = run.root.plan
        with suppress(TimeoutError):
            calls.make(partial(table.publish, plan, plan.workflow_name))
