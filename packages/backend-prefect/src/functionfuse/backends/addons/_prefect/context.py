"""What goes along with every task to workers in other processes, as small as it can be."""

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
def light(context: FlowRunContext) -> Iterator[None]:
    """Send with tasks the flow without its graph, and settings that are read out once."""
    fields = vars(context)  # it is frozen
    flow = context.flow
    fields["flow"] = sent = copy(flow)
    vars(sent).update(fn=_elsewhere, __wrapped__=_elsewhere)
    try:
        with SharedSettings.of_now():
            yield
    finally:
        fields["flow"] = flow


def _elsewhere() -> None:
    """The flow runs where it submits tasks."""


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
