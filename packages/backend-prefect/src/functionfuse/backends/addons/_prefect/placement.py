"""Resources of nodes, on task runners that place tasks by what these need: those of Ray and Dask."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from functionfuse.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

_RAY = {
    "cpus": "num_cpus",
    "gpus": "num_gpus",
    "memory": "memory",
    "accelerator": "accelerator_type",
    "custom": "resources",
}
_DASK = ("gpus", "custom")  # the former is what workers call "GPU"


def granted_by(runner: Any) -> dict[str, float]:
    """Return the resources that a task runner grants.

    Args:
        runner: the task runner, or its class; None for Prefect's own.
    """
    kind = runner if isinstance(runner, type) else type(runner)
    if _is_of(kind, "prefect_ray"):
        return dict.fromkeys(_RAY, math.inf)
    return dict.fromkeys(_DASK, math.inf) if _is_of(kind, "prefect_dask") else {}


def placed(runner: Any, resources: Mapping[str, Any]) -> AbstractContextManager[Any]:
    """Return a context in which a task runner is given a task that needs resources.

    Args:
        runner: the task runner, which grants them.
        resources: of the task.

    Raises:
        EngineError: no worker of a cluster of Dask has them, so that the task would wait for ever.
    """
    if not resources:
        return nullcontext()
    if _is_of(type(runner), "prefect_ray"):
        from prefect_ray.context import remote_options  # type: ignore[import-untyped]

        return remote_options(**{_RAY[name]: need for name, need in resources.items()})  # type: ignore[no-any-return]
    import dask

    needs = {**resources.get("custom", {}), **({"GPU": resources["gpus"]} if "gpus" in resources else {})}
    workers = runner.client.scheduler_info(n_workers=-1)["workers"].values()
    if not any(all(worker["resources"].get(name, 0) >= need for name, need in needs.items()) for worker in workers):
        raise EngineError(
            f"no worker of the Dask cluster has {', '.join(f'{need:g} {name}' for name, need in needs.items())}: "
            'start one with them, as with --resources "GPU=1"'
        )
    return dask.annotate(resources=needs)  # type: ignore[no-any-return]


def _is_of(kind: type, package: str) -> bool:
    return any(base.__module__.partition(".")[0] == package for base in kind.__mro__)
