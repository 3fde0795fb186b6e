"""The options of Prefect's tasks and flows, checked when they are set."""

from __future__ import annotations

import difflib
import inspect
import re
from copy import copy
from typing import TYPE_CHECKING, Any

from prefect import Flow, Task
from prefect.cache_policies import NO_CACHE, CachePolicy

from functionfuse.errors import OptionError

from .cache import with_recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prefect.context import TaskRunContext

    from .cache import Lookup

_BANNED = re.compile(r"[/%&><\x00-\x1f\x7f]")  # in names of flows; control characters spoil its requests
_CACHING = frozenset({"cache_policy", "cache_key_fn", "result_storage_key"})
_PERSISTING = frozenset({"persist_result", "result_storage", "result_serializer"})
TASK_OPTIONS = frozenset(inspect.signature(Task).parameters) - {"fn"}
FLOW_OPTIONS = frozenset(inspect.signature(Flow).parameters) - {"fn"}


def checked_task_args(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of ``prefect.task``.

    Raises:
        OptionError: Prefect does not know an option, or refuses its value.
    """
    return _checked(args, TASK_OPTIONS, "set_task_args", "prefect.task", lambda **known: Task(_anything, **known))


def checked_flow_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of ``prefect.flow``.

    Raises:
        OptionError: Prefect does not know an option, or refuses its value.
    """
    return _checked(
        options, FLOW_OPTIONS, "set_prefect_flow_options", "prefect.flow", lambda **known: Flow(_anything, **known)
    )


def _checked(
    options: Mapping[str, Any], known: frozenset[str], method: str, of: str, try_out: Callable[..., object]
) -> dict[str, Any]:
    for key in options:
        if key not in known:
            close = difflib.get_close_matches(str(key), known)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"
            raise OptionError(f"{method}: {of} has no option {key!r}; {hint}")
    try:
        try_out(**options)
    except (TypeError, ValueError) as error:
        raise OptionError(f"{method}: {error}") from error
    return dict(options)


def _anything() -> None:
    pass


def reads_parameters(args: Mapping[str, Any]) -> bool:
    """Return True if Prefect needs a task's parameters beside the call: for keys of its cache, or names."""
    return not (_CACHING | {"task_run_name"}).isdisjoint(args)


def is_cached(args: Mapping[str, Any]) -> bool:
    """Return True if Prefect may take a task's result from another run."""
    return not _CACHING.isdisjoint(args)


def allowed_name(name: str) -> str:
    """Return a flow's name without the characters that Prefect refuses."""
    return _BANNED.sub("_", name).strip() or "_"


class TaskFactory:
    """Makes the tasks of one run; nodes of one function with equal options share what takes time to make.

    Args:
        persist: True if Prefect keeps the results of this flow's tasks.
    """

    def __init__(self, *, persist: bool) -> None:
        self._persist = persist
        self._made: dict[Any, Task[..., Any]] = {}

    def make(
        self,
        name: str,
        target: object,
        function: Callable[..., Any],
        args: Mapping[str, Any],
        lookup: Lookup | None = None,
    ) -> Task[..., Any]:
        """Return the task of a node; its task run has the node's name.

        Args:
            name: the node's full name.
            target: what nodes have in common that share what takes time to make.
            function: what the task runs.
            args: the options of ``prefect.task``.
            lookup: how the node's result is looked up in Prefect's cache.
        """
        key = target, *((option, id(value)) for option, value in args.items())
        pattern = self._made.get(key)
        if pattern is None:
            defaults: dict[str, Any] = {"cache_result_in_memory": False}
            if not is_cached(args):
                defaults["cache_policy"] = _EACH_RUN if self._is_kept(args) else NO_CACHE
            pattern = self._made[key] = Task(function, **{**defaults, **args})
            # It outlives the node, and classes of annotations need not be known where the task runs.
            vars(pattern).update(fn=_anything, __wrapped__=_anything, __annotations__={})
        task = copy(pattern)
        vars(task).update(fn=function, __wrapped__=function)
        if "name" not in args:
            task.name = name
        if "task_run_name" not in args:
            task.task_run_name = name.__str__  # a plain text would be taken for a format
        if lookup is not None:
            task.cache_policy = with_recipe(task.cache_policy, lookup.recipe)
            if lookup.refresh or "result_storage_key" in args:  # a key that has no room for the recipe
                task.refresh_cache = True
        return task

    def _is_kept(self, args: Mapping[str, Any]) -> bool:
        persist = args.get("persist_result")
        return bool(persist) if persist is not None else self._persist or not _PERSISTING.isdisjoint(args)


def _task_run_id(context: TaskRunContext, _: Mapping[str, Any]) -> str:
    return str(context.task_run.id)


_EACH_RUN = CachePolicy.from_cache_key_fn(_task_run_id)
"""Prefect keeps nothing without a key. This one is of no other run, so that equal nodes are calls each."""
