"""Nodes of a DAG that call no function of the user: they wait for a time or an event, or run a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray

from ..event_listener import EventListener

if TYPE_CHECKING:
    from ray.dag import FunctionNode

    from .spec import TaskKind

_MODULE = "functionfuse.backends.addons.rayworkflow"  # where users find these functions


def sleep(duration: float) -> FunctionNode:
    """Return a node that ends ``duration`` seconds after a workflow came to it, whatever is restarted meanwhile."""
    return ray.remote(_sleep).bind(duration)


def wait_for_event(event_listener_type: type[EventListener], *args: Any, **kwargs: Any) -> FunctionNode:
    """Return a node whose result is an event.

    Args:
        event_listener_type: a subclass of `EventListener`.
        args: of its ``poll_for_event``; nodes among them are waited for.
        kwargs: likewise.

    Raises:
        TypeError: something else than such a subclass.
    """
    if not (isinstance(event_listener_type, type) and issubclass(event_listener_type, EventListener)):
        name = getattr(event_listener_type, "__name__", repr(event_listener_type))
        raise TypeError(f"Event listener type is {name}, which is not a subclass of workflow.EventListener")
    return ray.remote(_wait_for_event).bind(event_listener_type, *args, **kwargs)


def run_graph(serialized: bytes) -> Any:
    """Stand for a graph of Function Fuse, which runs in a worker."""
    raise NotImplementedError


def kind_of(body: Any) -> TaskKind:
    """Return what a node does, by what it calls."""
    return _KINDS.get(body, ("task", ""))[0]


def name_of(body: Any) -> str:
    """Return the name of a node that calls no function of the user, which does not depend on private modules."""
    return _KINDS.get(body, ("task", ""))[1]


def _sleep(duration: float) -> None:
    """Stands for a sleep, which takes place in the controller."""
    raise NotImplementedError


def _wait_for_event(event_listener_type: type[EventListener], *args: Any, **kwargs: Any) -> Any:
    """Stands for a wait, which takes place in the wait actor."""
    raise NotImplementedError


_KINDS: dict[Any, tuple[TaskKind, str]] = {
    _sleep: ("sleep", f"{_MODULE}.sleep"),
    _wait_for_event: ("event", f"{_MODULE}.wait_for_event"),
    run_graph: ("graph", f"{_MODULE}.run_graph"),
}
