"""The conformance suite of backends: coroutine functions, and runs that an event loop awaits."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from functionfuse.backends.plugins import InitializerPlugin
from functionfuse.errors import NodeError, NodeTimeoutError
from functionfuse.testing.backend_suite import BackendSuite, StepLog, requires
from functionfuse.testing.coroutine_functions import (
    LateSum,
    added_by_object,
    added_by_partial,
    added_by_wrapper,
    added_later,
    choose,
    chosen,
    fails_later_until,
    returns_nodes,
    waits_around,
)
from functionfuse.testing.functions import add, same
from functionfuse.testing.standard_tests import thorough
from functionfuse.testing.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

_LONG = 60.0  # seconds of a coroutine that is stopped
_ABANDONED = 2.0  # seconds of a coroutine that goes on where it cannot be stopped


class CoroutineTests(BackendSuite, suite=True):
    """Coroutine functions run to their end where others run."""

    def test_a_coroutine_function(self, run: Callable[..., Any]) -> None:
        """Its result is a value like any other."""
        assert run(added_later(add(1, 2), added_later(3, 4))) == 10

    @requires("objects")
    def test_a_coroutine_method(self, run: Callable[..., Any]) -> None:
        """It changes its object, in its turn."""
        late = LateSum(1)
        first, between, last = late.add(2), late.present(), late.add(4)
        assert run(first, between, last) == [3, 3, 7]

    @thorough
    def test_what_returns_a_coroutine(self, run: Callable[..., Any]) -> None:
        """A partial, a callable object, a wrapper."""
        assert run(added_by_partial(1), added_by_object(1, 2), added_by_wrapper(1, 3)) == [2, 3, 4]

    @thorough
    @requires("dynamic")
    def test_nodes_that_a_coroutine_returns(self, run: Callable[..., Any]) -> None:
        """They run in its place."""
        assert run(same(returns_nodes(3))) == [1, 2, 3]

    @thorough
    @requires("plugin")
    def test_context_variables_of_a_coroutine(self, make_workflow: Any) -> None:
        """What a plugin sets before the call is set in all tasks of the coroutine."""
        workflow = make_workflow(chosen().set_name("n"))
        workflow.set_plugin("n", InitializerPlugin(partial(choose, "set")))
        assert workflow.run() == ("set", "set")

    @thorough
    @requires("retry")
    def test_a_coroutine_that_is_retried(self, make_workflow: Any, log: StepLog) -> None:
        """A coroutine is called again for each attempt; the last failure is the node's."""
        workflow = make_workflow(fails_later_until(log.path, 3).set_name("n"))
        workflow.query("n").set_retry(1, delay=0.01)
        with pytest.raises(NodeError, match="'n' failed: ConnectionError: attempt 2"):
            workflow.run()
        assert workflow.run() == 3

    @thorough
    @requires("timeout")
    def test_a_time_limit_of_a_coroutine(self, make_workflow: Any, log: StepLog) -> None:
        """It cancels the coroutine, which can clean up."""
        workflow = make_workflow(waits_around(log.path, _LONG).set_name("n"))
        workflow.query("n").set_timeout(0.2)
        with pytest.raises(NodeTimeoutError, match=r"'n' failed: .*took longer than 0\.2 s"):
            workflow.run()
        assert log.words() == ["begun", "left"]

    @thorough
    def test_an_awaited_run(self, make_workflow: Any) -> None:
        """A running event loop awaits the results, or the failure, and goes on meanwhile."""

        async def both() -> Any:
            results, one = await asyncio.gather(make_workflow(add(1, added_later(2, 3))).run_async(), _one())
            with pytest.raises(NodeError, match="'n' failed: TypeError"):
                await make_workflow(add(1, "1").set_name("n")).run_async()
            return results, one

        assert asyncio.run(both()) == (6, 1)

    @thorough
    def test_an_awaited_run_that_is_cancelled(self, make_workflow: Any, log: StepLog) -> None:
        """The run ends, and what runs is stopped where it can be."""
        node = waits_around(log.path, _LONG if self.stops_calls else _ABANDONED).set_name("n")

        async def cancelled() -> Any:
            workflow = make_workflow(node)
            running = asyncio.create_task(workflow.run_async())
            await asyncio.to_thread(wait_until, lambda: "begun" in log.words())
            running.cancel()
            await asyncio.wait({running})
            return running.cancelled(), workflow.cancel()

        assert asyncio.run(cancelled()) == (True, False)
        assert not (self.stops_calls and "ended" in log.words())


async def _one() -> int:
    await asyncio.sleep(0)
    return 1
