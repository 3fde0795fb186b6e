"""The context that Prefect sends with every task to workers in other processes, kept small."""

from __future__ import annotations

from collections import UserDict
from contextlib import contextmanager
from copy import copy
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cloudpickle
from prefect.client.base import ServerType, determine_server_type
from prefect.context import SettingsContext
from prefect.settings import PREFECT_API_URL
from prefect.task_runners import ProcessPoolTaskRunner

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
        with SharedSettings.of_now(_temporary_server(context)):
            yield
    finally:
        fields["flow"] = flow


def _runs_elsewhere() -> None:
    """The flow runs where it submits tasks."""


def _temporary_server(context: FlowRunContext) -> str:
    """Return the URL of a temporary server that processes of this machine use too, and would not find; else nothing."""
    is_temporary = determine_server_type() == ServerType.EPHEMERAL
    client: Any = context.client
    return str(client.api_url) if is_temporary and isinstance(context.task_runner, ProcessPoolTaskRunner) else ""


class SharedSettings(SettingsContext):
    """Settings that are serialized once, for all tasks of a run, and set up once in each worker."""

    _serialized: Any = None
    _api_url: str = ""

    @classmethod
    def of_now(cls, api_url: str) -> SharedSettings:
        """Return the settings that hold where this is called.

        Args:
            api_url: of the server for workers, where the settings have none.
        """
        now = SettingsContext.get()
        assert now is not None
        shared = cls(profile=now.profile, settings=now.settings)
        shared._api_url = api_url
        return shared

    def serialize(self, include_secrets: bool = True) -> Any:
        """Return the settings as arguments of a context; with secrets, always the same object."""
        if not include_secrets:
            return super().serialize(include_secrets=False)
        if self._serialized is None:
            updates: Any = {PREFECT_API_URL: self._api_url} if self._api_url else None
            sent = SettingsContext(profile=self.profile, settings=self.settings.copy_with_update(updates))
            self._serialized = SerializedSettings(sent.serialize())
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
