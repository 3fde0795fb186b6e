"""Runs for debuggers and profilers: every call is made in this thread, with few frames around it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from functionfuse.backends.calls import INTERRUPTS, Outcome, called
from functionfuse.backends.performing import call_once
from functionfuse.backends.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterable

    from functionfuse.backends.observers import Observer
    from functionfuse.backends.spec import RunSpec


def run_inline(spec: RunSpec, observers: Iterable[Observer] = ()) -> Any:
    """Run a graph in this thread, in plan order, and return the results that are wanted.

    Nothing is stored or reused, recorded, tried again, or stopped at a time limit. Plugins, environment variables, and
    the check of arguments do what they do in every run.

    Args:
        spec: what to run.
        observers: called with each event.

    Raises:
        BaseException: what a function raised, as it was raised, if its failure stops the run; a note has the node.
        WorkflowFailed: steps failed, with `on_error="continue"`.
        PlanError: the backend cannot run some steps; nothing was started.
    """
    spec = spec._replace(store=None, reuse="never", verify=0.0, saved=(), capsules=None, shares_files=True)
    run = Session(spec, observers=observers).begin()
    for task in run.in_order():
        call = run.prepare(task)
        if call is None:
            continue
        start = time.perf_counter()
        try:
            value, instance = call_once(call._replace(timeout=None))
        except INTERRUPTS:
            raise
        except BaseException as error:
            run.settle(task, Outcome(None, None, error, time.perf_counter() - start), call)
            if not run.failed:
                continue
            error.add_note(f"in node {task.name!r}, {called(call)}")
            raise
        run.settle(task, Outcome(value, instance, None, time.perf_counter() - start), call)
    return spec.returned(run.results())
