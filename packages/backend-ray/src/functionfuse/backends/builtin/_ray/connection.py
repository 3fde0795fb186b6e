"""This process's connection to a Ray cluster: there is one, whoever made it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray

from functionfuse.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

_connected_with: dict[str, Any] = {}  # what the last workflow that initialised Ray passed


def connect(init_args: Mapping[str, Any]) -> bool:
    """Initialise Ray unless it is; return whether it was done here.

    Raises:
        OptionError: it is initialised already, otherwise than these arguments of ``ray.init`` say.
    """
    if not ray.is_initialized():
        ray.init(**init_args)
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
