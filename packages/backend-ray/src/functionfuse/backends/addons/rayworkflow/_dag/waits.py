"""Nodes of a DAG that wait and need no worker: for a time, or for an event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray

from ..event_listener import EventListener

if TYPE_CHECKING:
    from ray.dag import FunctionNode

    from .spec import Kind


def sleep(duration: float) -> FunctionNode:
    """Return a node that ends ``duration`` seconds after a workflow came to it, whatever is restarted meanwhile."""
    return ray.remote(_sleep).bind(duration)


def wait_for_event(event_listener_type: type[EventListener], *args: Any, **kwargs: Any) -> FunctionNode:
    """Return a node whose result is an event.

    Args:
        event_listener_type: a subclass of :class:`EventListener`.
        args: of its ``poll_for_event``; nodes among them are waited for.
        kwargs: likewise.

    Raises:
        TypeError: something else than such a subclass.
    """
    if not (isinstance(event_listener_type, type) and issubclass(event_listener_type, EventListener)):
        name = getattr(event_listener_type, "__name__", repr(event_listener_type))
        raise TypeError(f"Event listener type is {name}, which is not a subclass of workflow.EventListener")
    return ray.remote(_wait_for_event).bind(event_listener_type, *args, **kwargs)


def kind_of(body: Any) -> Kind:
    """Say whether what a node calls is a function, or one of the two above."""
    return "event" if body is _wait_for_event else "sleep" if body is _sleep else "task"


def _sleep(duration: float) -> None:
    """Stands for a sleep, which takes place in the controller."""
    raise NotImplementedError


def _wait_for_event(event_listener_type: type[EventListener], *args: Any, **kwargs: Any) -> Any:
    """Stands for a wait, which takes place in the hub."""
    raise NotImplementedError
