"""Resources of executors that place calls by what these need: those of Dask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor

_OF_DASK = "distributed.cfexecutor"  # the module of its executors
_NAMES = {"GPU": "gpus", "MEMORY": "memory"}
"""By what Dask's workers call a resource, as in ``--resources "GPU=2 MEMORY=16e9"``, which is not a custom one."""


def places_calls(executor: Executor | None) -> bool:
    """Return True if an executor takes the resources that each call needs."""
    return executor is not None and any(base.__module__ == _OF_DASK for base in type(executor).__mro__)


def offered_by(executor: Any) -> dict[str, float]:
    """Return the most of each resource that a worker of an executor of Dask has."""
    most: dict[str, float] = {}
    for worker in executor._client.scheduler_info(n_workers=-1)["workers"].values():
        for name, amount in worker["resources"].items():
            known = _NAMES.get(name, name)
            most[known] = max(amount, most.get(known, 0.0))
    return most


def placement(needs: Mapping[str, float]) -> dict[str, Any]:
    """Return the arguments with which an executor of Dask places a call.

    Args:
        needs: of the call, by the names of resources.
    """
    names = {known: name for name, known in _NAMES.items()}
    return {"resources": {names.get(name, name): need for name, need in needs.items()}} if needs else {}
