"""The context that Prefect sends with every task to workers in other processes, kept small."""

from __future__ import annotations

from collections import UserDict
from contextlib import contextmanager
from copy import copy
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cloudpickle
from prefect.context import SettingsContext

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.context import FlowRunContext


@contextmanager
def small_context(context: FlowRunContext) -> Iterator[None]:
    """Let tasks be sent with a flow that has no graph, and with settings that are serialized once."""
    fields = vars(context)  # it is frozen
    flow = context.flow
    fields["flow"] = small = copy(flow)
    vars(small).update(fn=_runs_elsewhere, __wrapped__=_runs_elsewhere)
    try:
        with SharedSettings.of_now():
            yield
    finally:
        fields["flow"] = flow


def _runs_elsewhere() -> None:
    """The flow runs where it submits tasks."""


class SharedSettings(SettingsContext):
    """Settings that are serialized once, for all tasks of a run, and set up once in each worker."""

    _serialized: Any = None

    @classmethod
    def of_now(cls) -> SharedSettings:
        """Return the settings that hold where this is called."""
        now = SettingsContext.get()
        assert now is not None
        return cls(profile=now.profile, settings=now.settings)

    def serialize(self, include_secrets: bool = True) -> Any:
        """Return the settings as arguments of a context; with secrets, always the same object."""
        if not include_secrets:
            return super().serialize(include_secrets=False)
        if self._serialized is None:
            self._serialized = SerializedSettings(super().serialize())
        return self._serialized


class SerializedSettings(UserDict[str, Any]):
    """The arguments of a context of settings, which a worker checks once.

    It is not a dict, into which Dask would look.
    """

    def __init__(self, arguments: dict[str, Any]) -> None:
        super().__init__(arguments)
        self._content: bytes = cloudpickle.dumps(arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return _settings, (self._content,)


@lru_cache(maxsize=8)
def _settings(content: bytes) -> dict[str, Any]:
    context = SettingsContext(**cloudpickle.loads(content))
    return {"profile": context.profile, "settings": context.settings}
