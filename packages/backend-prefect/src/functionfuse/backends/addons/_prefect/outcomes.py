"""Outcomes of calls, read from task runs that have ended."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any, NamedTuple

from prefect.results import ResultRecord  # type: ignore[attr-defined]  # it is not among its exports

from functionfuse.backends.calls import Outcome
from functionfuse.backends.serialization import deserialized_error, worker_died

from .serialization import TaskFailure, TaskOutcome
from .workers import MAIN_GUARD, WorkerStopped

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State
    from prefect.futures import PrefectFuture

    from functionfuse.backends.calls import Call
    from functionfuse.backends.frames import Task

    from .task import NodeFunction

_CLUSTER_MODULES = ("distributed.", "ray.")  # of the errors with which clusters report that a worker died


class SubmittedCall(NamedTuple):
    """A call that the task runner has.

    Attributes:
        name: the full name of its node.
        call: the call.
        function: makes it.
        started: when it was submitted, by `time.perf_counter`.
        task: what it is for.
    """

    name: str
    call: Call
    function: NodeFunction
    started: float
    task: Task


def read_outcome(future: PrefectFuture[Any], submitted: SubmittedCall, seconds: float) -> Outcome:
    """Return how a call ended, from its task run.

    Args:
        future: of the task run, which has ended.
        submitted: the call.
        seconds: since it was submitted; the outcome's time where the worker measured none.

    Raises:
        Exception: the task run has no final state: what the task runner, or its worker, failed with.
    """
    future.wait()
    state = future.state
    # Prefect's own way to a result leads through another thread, and takes longer than a short task.
    record = state.data
    value = record.result if isinstance(record, ResultRecord) else future.result(raise_on_failure=False)
    if isinstance(value, TaskOutcome):
        return value.take()
    if isinstance(value, TaskFailure):
        return value.task_outcome.take()
    known = submitted.function.outcome or Outcome(None, None, None, seconds)
    if not state.is_completed():
        return known if known.error is value else Outcome(None, None, _error(value, state), seconds)
    kind = submitted.call.target.kind
    value, instance = value if kind == "method" else (value, value if kind == "constructor" else None)
    return known._replace(value=value, instance=instance)


def worker_error(submitted: SubmittedCall, error: Exception, *, is_first: bool) -> BaseException:
    """Return the error of a node whose task run has no final state.

    Args:
        submitted: the node's call.
        error: what reading its outcome raised.
        is_first: whether no call had ended before.
    """
    if isinstance(error, WorkerStopped):
        return deserialized_error(error.content)
    if not isinstance(error, BrokenExecutor) and not f"{type(error).__module__}.".startswith(_CLUSTER_MODULES):
        return error
    detail = f", or another of the same pool ({type(error).__name__}: {error})"
    if is_first and isinstance(error, BrokenProcessPool):
        detail += f", before any node had ended: in a script, what runs the workflow has to be under {MAIN_GUARD}"
    return worker_died(submitted.name, submitted.call.target.qualname, error, detail)


def _error(value: Any, state: State) -> BaseException:
    return value if isinstance(value, BaseException) else RuntimeError(f"{state.name}: {state.message}")
