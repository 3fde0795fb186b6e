"""This process's connection to a Ray cluster: there is one, whoever made it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import ray.util.client

from functionfuse.backends.surroundings import Surroundings
from functionfuse.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

_connected_with: dict[str, Any] = {}  # what the last workflow that initialised Ray passed
_connection = ""  # the id of that connection

# What only changes what Ray shows and writes: it cannot be asked for, and nothing runs otherwise.
_SHOWN = frozenset(
    {
        "configure_logging",
        "dashboard_host",
        "dashboard_port",
        "include_dashboard",
        "log_to_driver",
        "logging_config",
        "logging_format",
        "logging_level",
    }
)
_RESOURCE_OF = {
    "num_cpus": "CPU",
    "num_gpus": "GPU",
    "object_store_memory": "object_store_memory",
    "_memory": "memory",
}


def connect(init_args: Mapping[str, Any]) -> bool:
    """Initialise Ray unless it is initialised; return True if it was done here.

    Raises:
        OptionError: Ray is initialised already, otherwise than these arguments of ``ray.init`` say.
        ConnectionError: no client connection to a ``ray://`` address could be made.
    """
    global _connection
    if not ray.is_initialized():
        _initialise(init_args)
        _connected_with.clear()
        _connected_with.update(init_args)
        _connection = _current_connection()
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
    """Return True if Ray is initialised as an argument of ``ray.init`` says."""
    context = ray.get_runtime_context()
    if name in _connected_with and _connection == _current_connection():
        return bool(_connected_with[name] == value)
    if value is None or name in _SHOWN or name == "ignore_reinit_error":
        return True
    if name == "address":
        return value in ("auto", context.gcs_address, _client_address()) or (value == "local" and _is_head())
    if name == "namespace":
        return bool(value == context.namespace)
    if name == "runtime_env":
        return bool(value == dict(context.runtime_env))
    return _machine_has(name, value)


def _current_connection() -> str:
    """Return an id of this connection: the job is another one for each of a cluster, the machine for each cluster."""
    context = ray.get_runtime_context()
    return f"{context.get_node_id()} {context.get_job_id()}"


def _machine_has(name: str, value: Any) -> bool:
    """Return True if the machine of this process is in the cluster with a resource, label or address.

    Args:
        name: an argument of ``ray.init`` that describes the machine.
        value: of the argument.
    """
    node_id = ray.get_runtime_context().get_node_id()
    own: dict[str, Any] = next((node for node in ray.nodes() if node["NodeID"] == node_id), {})
    resources = own.get("Resources", {})
    if name in _RESOURCE_OF:
        return bool(resources.get(_RESOURCE_OF[name], 0) == value)
    if name in ("resources", "labels"):
        offered = resources if name == "resources" else own.get("Labels", {})
        return all(offered.get(key) == item for key, item in value.items())
    # Ray itself puts the address of the machine for that of the loopback.
    address = own.get("NodeManagerAddress")
    return name == "_node_ip_address" and (value == address or (value == "127.0.0.1" and _is_head()))


def _is_head() -> bool:
    """Return True if this process started the cluster."""
    node = getattr(ray._private.worker, "_global_node", None)
    return node is not None and bool(node.is_head())


def _client_address() -> str | None:
    """Return the address that this process is a client of; None if it is none."""
    worker = getattr(ray.util.client.ray.get_context(), "client_worker", None)
    address = getattr(worker, "_conn_str", None)
    return None if address is None else f"ray://{address}"


def surroundings_of_driver() -> Surroundings:
    """Return where this process is, for its workers; a working directory that Ray was asked for stays."""
    here = Surroundings.here()
    is_set = "working_dir" in ray.get_runtime_context().runtime_env
    return here._replace(folder="") if is_set else here
