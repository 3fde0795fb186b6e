"""Workflows on a task runner, their conformance suite, and a process pool that is kept from run to run."""

from __future__ import annotations

from prefect.task_runners import ProcessPoolTaskRunner

from functionfuse.backends.addons.prefectback import PrefectWorkflow
from functionfuse.testing import BackendTests


class RunnerTests(BackendTests):
    """The conformance suite for a task runner that has other processes: the longest of its graphs are shorter."""

    tier = "extra"

    chain_length = 30
    recursion_depth = 10
    graph_size = 100


def workflows_on(make_task_runner):
    """A callable that makes workflows for the conformance suite."""

    def make(*nodes, workflow_name="conformance", **options):
        made = PrefectWorkflow(*nodes, workflow_name=workflow_name, **options)
        made.set_prefect_flow_options({"task_runner": make_task_runner()})
        return made

    return make


class KeptProcessPool(ProcessPoolTaskRunner):
    """Prefect's process pool, started once and ended with `close`."""

    def __reduce__(self):
        return ProcessPoolTaskRunner, (self._max_workers,)

    def duplicate(self):
        return self

    def __enter__(self):
        if self._executor is None or self._executor._broken or not self._is_alive():
            self.close()
            return super().__enter__()
        self._cached_context = self._cached_env = None  # those of the flow run before
        self._started = True
        return self

    def __exit__(self, *_):
        self._started = False

    def _is_alive(self):
        return all(process.is_alive() for process in (self._executor._processes or {}).values())

    def close(self):
        if self._executor is not None:
            super().__exit__(None, None, None)
