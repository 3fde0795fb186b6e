"""Keyword names of the original Function Fuse, where those of today differ."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    F = TypeVar("F", bound=Callable[..., Any])

NAMES: Mapping[str, Mapping[str, str]] = {
    "set_storage": {"object_storage": "storage"},
    "log_nodes": {"query": "pattern"},
    "set_plugin": {"query": "pattern"},
    "replace_func": {"new_func": "function"},
    "set_remote_args": {"args": "remote_args"},
    "set_task_args": {"args": "task_args"},
    "set_prefect_flow_options": {"prefect_flow_options": "options"},
    "set_registry_credentials": {"registry_credentials": "credentials"},
    "set_baseimage": {"baseimage": "image"},
    "set_kfp_host": {"kfp_host": "host"},
    "storage_factory": {"opt": "config"},
    "save": {"filename": "task_name"},
    "has_task": {"filename": "task_name"},  # file_exists is another name for it
}
"""By function or method: the original's names of parameters, and today's."""


def takes_original_names(function: F) -> F:
    """Let a function, or a method, of this table take its parameters under the original's names too.

    The function is called with today's names. Names that neither knows are refused as Python does it.
    """
    names = NAMES[function.__name__]

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for original, name in names.items():
            if original in kwargs:
                if name in kwargs:
                    raise TypeError(f"{function.__qualname__}() got {name!r} twice: also as {original!r}")
                kwargs[name] = kwargs.pop(original)
        return function(*args, **kwargs)

    return cast("F", call)
