"""A pool of processes that stays warm from one flow run to the next: starting one takes longer than a test."""

from __future__ import annotations

from prefect.task_runners import ProcessPoolTaskRunner


class WarmProcessPool(ProcessPoolTaskRunner):
    """Prefect's own in all but the ends of its life."""

    def __reduce__(self):
        return ProcessPoolTaskRunner, (self._max_workers,)

    def duplicate(self):
        return self

    def __enter__(self):
        if self._executor is None or self._executor._broken:
            self.close()
            return super().__enter__()
        self._cached_context = self._cached_env = None  # those of the flow run before
        self._started = True
        return self

    def __exit__(self, *_):
        self._started = False

    def close(self):
        if self._executor is not None:
            super().__exit__(None, None, None)
