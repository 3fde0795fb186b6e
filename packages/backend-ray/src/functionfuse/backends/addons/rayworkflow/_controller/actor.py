"""The actor that runs all workflows of a cluster, and how drivers reach it."""

from __future__ import annotations

import asyncio
import os
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import cloudpickle
from ray.exceptions import RayTaskError

from functionfuse.errors import OptionError
from functionfuse.stores import Catalogue, open_store

from .._records.retention import ALL
from .._worker.task_actor import NAMESPACE
from . import logs
from .engine import Engine
from .errors import reported_error
from .settings import ControllerSettings

if TYPE_CHECKING:
    from concurrent.futures import Future

    from functionfuse.stores import Store

NAME = "functionfuse-workflows"
STORAGE = "FUNCTIONFUSE_WORKFLOW_STORAGE"
LEASE = 10.0
_ON_THE_HEAD = {"node:__internal_head__": 0.001}  # the machine that stays; an affinity alone counts for nothing


class Controller:
    """The actor: there is one in a cluster, and it outlives its drivers.

    Args:
        settings: what was set when it was started.
        actor: a word that is new for each controller.
    """

    def __init__(self, settings: ControllerSettings, actor: str) -> None:
        logs.show()
        self._settings = settings
        self._engine = Engine(settings, actor)
        self._recovered: Future[None] | None = None
        if ray.get_runtime_context().was_current_actor_reconstructed:
            self._recovered = asyncio.run_coroutine_threadsafe(self._engine.recover(actor), self._engine.loop)
        elif self._engine.problem is not None:
            raise self._engine.problem

    async def settings(self) -> ControllerSettings:
        """Return what was set."""
        return self._settings

    async def call(self, method: str, *args: Any) -> Any:
        """Call a method of the engine in its loop.

        Args:
            method: a method of `Engine`.
            args: its arguments.
        """
        if self._recovered is not None:
            await asyncio.shield(asyncio.wrap_future(self._recovered))
        self._engine.refuse_until_recovered()
        result = asyncio.run_coroutine_threadsafe(getattr(self._engine, method)(*args), self._engine.loop)
        return await asyncio.wrap_future(result)


def start(storage: Catalogue | str | os.PathLike[str] | None, **limits: Any) -> None:
    """Start the controller, unless it is there.

    Args:
        storage: a store, or where it is; by default what the environment names.
        limits: fields of `ControllerSettings`; those that are None are not compared.

    Raises:
        ValueError: it is there, and was started otherwise.
    """
    if not ray.is_initialized():
        ray.init()
    actor = _find_controller()
    if actor is None:
        settings = ControllerSettings(
            cloudpickle.dumps(_store_at(storage)),
            limits.get("lease") or LEASE,
            limits.get("checkpoint") or "strict",
            limits.get("retention") or ALL,
            -1 if limits.get("max_running") is None else limits["max_running"],
            -1 if limits.get("max_pending") is None else limits["max_pending"],
        )
        kind = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, max_concurrency=100_000)(Controller)
        named = {"name": NAME, "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
        actor = kind.options(resources=_ON_THE_HEAD, **named).remote(settings, uuid.uuid4().hex)
    there: ControllerSettings = ray.get(actor.settings.remote())
    wanted = {name: value for name, value in limits.items() if value is not None}
    if storage is not None:
        wanted["store"] = cloudpickle.dumps(_store_at(storage))
    otherwise = {name: getattr(there, name) for name, value in wanted.items() if getattr(there, name) != value}
    if otherwise:
        options = ", ".join(f"{name}={value!r}" for name, value in otherwise.items() if name != "store")
        raise ValueError(
            "workflow.init is called again with other options than at first. At first: "
            + (options or f"storage={cloudpickle.loads(there.store)!r}")
        )


def controller(default: Store | None = None) -> Any:
    """Return the controller, started if need be, with this store."""
    actor = _find_controller() if ray.is_initialized() else None
    if actor is None:
        start(default if isinstance(default, Catalogue) else None)
        actor = _find_controller()
    return actor


def call(method: str, *args: Any) -> Any:
    """Call the controller, and return the result.

    Args:
        method: a method of `Engine`.
        args: its arguments.
    """
    return result_of(call_async(method, *args))


def call_async(method: str, *args: Any) -> Any:
    """Call the controller; return a reference to the result.

    Args:
        method: a method of `Engine`.
        args: its arguments.
    """
    return controller().call.remote(method, *args)


def result_of(reference: Any) -> Any:
    """Return what a reference is to.

    Raises:
        ReportedError: the task raised something; the error is that exception, too.
    """
    try:
        return ray.get(reference)
    except RayTaskError as error:
        reported = reported_error(error)
    raise reported from reported.__cause__


def serialized_store() -> bytes:
    """Return the store of the workflows, pickled."""
    settings: ControllerSettings = ray.get(controller().settings.remote())
    return settings.store


def _find_controller() -> Any:
    try:
        return ray.get_actor(NAME, namespace=NAMESPACE)
    except ValueError:
        return None


def _store_at(storage: Any) -> Catalogue:
    """Return the store that the user names: itself, where it is, or by an environment variable."""
    if storage is None:
        storage = os.environ.get(STORAGE) or Path(tempfile.gettempdir()) / "ray" / "workflow_data"
    if isinstance(storage, str | os.PathLike):
        return open_store(os.fspath(storage))
    if not isinstance(storage, Catalogue):
        raise OptionError(f"storage must be a store, a folder, or the address of a bucket, got {storage!r}")
    return storage
