"""This process's connection to a Ray cluster: there is one, whoever made it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from functionfuse.backends.driver_state import Surroundings
from functionfuse.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

_connected_with: dict[str, Any] = {}  # what the last workflow that initialised Ray passed


def connect(init_args: Mapping[str, Any]) -> bool:
    """Initialise Ray unless it is initialised; return True if it was done here.

    Raises:
        OptionError: Ray is initialised already, otherwise than these arguments of ``ray.init`` say.
        ConnectionError: no client connection to a ``ray://`` address could be made.
    """
    if not ray.is_initialized():
        _initialise(init_args)
        _connected_with.clear()
        _connected_with.update(init_args)
        return True
    if not init_args.get("ignore_reinit_error"):
        without_effect = sorted(name for name, value in init_args.items() if not _holds(name, value))
        if without_effect:
            raise OptionError(
                f"ray_init_args: Ray is initialised already, so {', '.join(map(repr, without_effect))} would have no "
                "effect; call ray.shutdown() first, or pass 'ignore_reinit_error': True to keep Ray as it is"
            )
    return False


def _initialise(init_args: Mapping[str, Any]) -> None:
    try:
        ray.init(**init_args)
    except ConnectionError as error:
        address = str(init_args.get("address") or os.environ.get("RAY_ADDRESS", ""))
        if not address.startswith("ray://"):
            raise
        raise ConnectionError(f"cannot connect to Ray at {address!r}: {error}; {_advice()}") from error


def _advice() -> str:
    """Return what makes a client connection work, which Ray reports as a timeout when a token is missing."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "token":
        return "check that the cluster is running, that this port is its client server's, and that the tokens are equal"
    advice = (
        "check that the cluster is running, and that this port is its client server's; if the cluster requires a "
        "token, start this process with RAY_AUTH_MODE=token in its environment"
    )
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if os.environ.get("RAY_AUTH_TOKEN"):
        return f"{advice}: without it, the token in RAY_AUTH_TOKEN is not sent"
    return f"{advice}: without it, the token in {str(path)!r} is not sent" if path.exists() else advice


def _holds(name: str, value: Any) -> bool:
    if name in _connected_with:
        return bool(_connected_with[name] == value)
    context = ray.get_runtime_context()
    if name == "address":
        return value in (None, "auto", context.gcs_address)
    if name == "namespace":
        return bool(value == context.namespace)
    if name == "runtime_env":
        return bool(value == dict(context.runtime_env))
    return name == "ignore_reinit_error"


def surroundings_of_driver() -> Surroundings:
    """Return where this process is, for its workers; a working directory that Ray was asked for stays."""
    here = Surroundings.here()
    is_set = "working_dir" in ray.get_runtime_context().runtime_env
    return here._replace(folder="") if is_set else here
