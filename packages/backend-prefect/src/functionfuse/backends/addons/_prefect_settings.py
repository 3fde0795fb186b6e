"""Prefect's settings on their way to workers: some hundred values, that go along with every task."""

from __future__ import annotations

from collections import UserDict
from functools import lru_cache
from typing import Any

import cloudpickle
from prefect.context import SettingsContext


class SharedSettings(SettingsContext):
    """Settings that are read out once, for all tasks of a run, and set up once in each worker."""

    _sent: Any = None

    @classmethod
    def of_now(cls) -> SharedSettings:
        """Return the settings that hold where this is called."""
        now = SettingsContext.get()
        assert now is not None
        return cls(profile=now.profile, settings=now.settings)

    def serialize(self, include_secrets: bool = True) -> Any:
        if not include_secrets:
            return super().serialize(include_secrets=False)
        if self._sent is None:
            self._sent = Sent(super().serialize())
        return self._sent


class Sent(UserDict[str, Any]):
    """The arguments of a context of settings, which a worker checks once. No dict, into which Dask would look."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        super().__init__(arguments)
        self._packed: bytes = cloudpickle.dumps(arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return _checked, (self._packed,)


@lru_cache(maxsize=8)
def _checked(packed: bytes) -> dict[str, Any]:
    context = SettingsContext(**cloudpickle.loads(packed))
    return {"profile": context.profile, "settings": context.settings}
