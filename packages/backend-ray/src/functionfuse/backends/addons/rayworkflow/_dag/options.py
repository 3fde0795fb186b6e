"""Options of tasks that are this module's, and how they travel with Ray's remote functions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ray import cloudpickle
from ray.remote_function import RemoteFunction

from .spec import TaskOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ray.dag import FunctionNode

CHECKPOINTS = ("strict", "grouped")
_VALID = ("task_id", "metadata", "catch_exceptions", "checkpoint", "isolate")
CARRIER = "_labels"  # an option of Ray's tasks that takes any text
_MARK = "functionfuse/workflow"
_DEFAULTS = "__functionfuse_workflow_options__"
_OWN_OPTIONS = (CARRIER, "max_retries", "retry_exceptions", "num_returns", "max_calls", "_metadata")


class options:  # noqa: N801  as in ray.workflow
    """Options of a durable task: a decorator, or arguments of ``.options``.

    ::

        @workflow.options(catch_exceptions=True)
        @ray.remote
        def load(): ...

        again = load.options(**workflow.options(task_id="again", checkpoint=False))

    Args:
        task_id: the name of the task in its workflow, instead of that of the function.
        metadata: what JSON can hold, for ``get_metadata``.
        catch_exceptions: give consumers a pair: (result, None), or (None, exception).
        checkpoint: whether the result is stored; what is not runs again when a consumer has to after a restart. Or how
            it is stored, "strict" or "grouped"; see `init`.
        isolate: whether the task runs in an actor of its own, which goes on when the controller dies: for tasks so long
            that they should not begin anew.
    """

    def __init__(self, **workflow_options: Any) -> None:
        unknown = sorted(set(workflow_options) - set(_VALID))
        if unknown:
            raise ValueError(
                f"Invalid option keywords {', '.join(unknown)} for workflow tasks. Valid ones are {', '.join(_VALID)}."
            )
        check_metadata(workflow_options.get("metadata"))
        if workflow_options.get("checkpoint") not in (None, True, False, *CHECKPOINTS):
            known = ", ".join(map(repr, CHECKPOINTS))
            raise ValueError(f"checkpoint must be True, False, {known}, not {workflow_options['checkpoint']!r}.")
        self.options = {CARRIER: {_MARK: json.dumps(workflow_options)}}

    def keys(self) -> Iterator[str]:
        """What ``**`` asks for."""
        return iter(self.options)

    def __getitem__(self, key: str) -> Any:
        return self.options[key]

    def __call__(self, function: RemoteFunction) -> RemoteFunction:
        """Set the options of a remote function."""
        if not isinstance(function, RemoteFunction):
            raise ValueError("Only apply 'workflow.options' to Ray remote functions.")
        body = function._function
        setattr(body, _DEFAULTS, {**getattr(body, _DEFAULTS, {}), **json.loads(self.options[CARRIER][_MARK])})
        return function


def workflow_options(node: FunctionNode) -> dict[str, Any]:
    """Return the options of a node that are this module's."""
    bound = node._bound_options.get(CARRIER) or {}
    return {**getattr(node._body, _DEFAULTS, {}), **json.loads(bound.get(_MARK, "{}"))}


def task_options(node: FunctionNode, ours: Mapping[str, Any]) -> TaskOptions:
    """Return all options of a node.

    Args:
        node: the node.
        ours: those of this module; see `workflow_options`.

    Raises:
        ValueError: it has several results.
    """
    bound = node._bound_options
    if (bound.get("num_returns") or 1) != 1:
        raise ValueError("Workflow task can only have one return.")
    retried = bound.get("retry_exceptions", False)
    labels = {key: value for key, value in (bound.get(CARRIER) or {}).items() if key != _MARK}
    ray_options = {key: value for key, value in bound.items() if key not in _OWN_OPTIONS}
    if labels:
        ray_options[CARRIER] = labels
    cloudpickle.dumps(ray_options)  # else the workflow could not be stored
    return TaskOptions(
        ours.get("checkpoint"),
        ours.get("catch_exceptions"),
        3 if bound.get("max_retries") is None else bound["max_retries"],
        tuple(retried) if isinstance(retried, list | tuple) else bool(retried),
        bool(ours.get("isolate")),
        ours.get("metadata") or {},
        ray_options,
    )


def check_metadata(metadata: object) -> None:
    """Raise ValueError unless metadata is a dict that JSON can hold."""
    if metadata is None:
        return
    if not isinstance(metadata, dict):
        raise ValueError("metadata must be a dict.")
    try:
        json.dumps(metadata)
    except TypeError as error:
        raise ValueError(f"metadata must be JSON serializable, instead, we got '{error!r}'") from None
