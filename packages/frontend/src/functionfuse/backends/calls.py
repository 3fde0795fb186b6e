"""Calls: one step made to run, in the driver's process or in a worker's.

`perform` is what every engine calls where a step runs. It never raises what the user's function raises; it returns an
`Outcome`.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse.backends.attempts import NotAsGiven, Snapshot
from functionfuse.backends.limits import TimeLimitReached, limited
from functionfuse.backends.secrets import Secret, resolved
from functionfuse.backends.texts import shown
from functionfuse.backends.unreturned import warn_of_unreturned
from functionfuse.containers import ATOMS, CONTAINERS, rebuild
from functionfuse.deferred import Deferred
from functionfuse.errors import UnknownNodeError, UsageError
from functionfuse.graph import Graph
from functionfuse.iterators import first_used_up, remedy, types_in
from functionfuse.nodes import InstanceNode, Item, Node, call_site, serials
from functionfuse.plan import Step, refs_in, steps_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from functionfuse.backends.argument_check import ArgumentCheck
    from functionfuse.backends.options import Retry
    from functionfuse.decorator import Target


_DEFERRED = frozenset({Node, InstanceNode, Item})
_LISTS = frozenset({list, tuple, set, frozenset})
_current: int | None = None
"""The mark of the call that began last, in whatever thread; None when it has ended."""
_LANGUAGE = frozenset({"builtins", "itertools"})  # modules whose iterators have no state but their position


class Call(NamedTuple):
    """All that is needed to run one step.

    Attributes:
        target: what to call.
        args: positional arguments, values only.
        kwargs: keyword arguments, values only.
        instance: the stateful object, for a method.
        initialize: what a plugin wants called first.
        retry: how often to try again.
        timeout: seconds that one attempt may take.
        check_arguments: whether an attempt that changes an argument fails.
        environment: environment variables that the call sees.
    """

    target: Target
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    instance: Any = None
    initialize: Callable[[], object] | None = None
    retry: Retry | None = None
    timeout: float | None = None
    check_arguments: bool = False
    environment: Mapping[str, str | Secret] = {}


class Expansion(NamedTuple):
    """What a dynamic node returned: steps to run instead of it, and its result in terms of theirs."""

    steps: list[Step]
    result: Any


class Outcome(NamedTuple):
    """How a call ended.

    Attributes:
        value: the result, or an Expansion.
        instance: the stateful object after the call, for a constructor or method.
        error: what was raised, or None.
        seconds: how long it took, all attempts.
        attempts: how many there were.
    """

    value: Any
    instance: Any
    error: BaseException | None
    seconds: float
    attempts: int = 1


class RemoteError(Exception):
    """Stands for an exception of a worker that cannot be pickled; holds its type and message as text."""


INTERRUPTS = (KeyboardInterrupt, TimeLimitReached)
"""What ends more than the call in which it is raised: the run, or the call of a function that made this run."""


def perform(call: Call) -> Outcome:
    """Run one step where this is called, with its plugin, retries and time limit."""
    start = time.perf_counter()
    if call.retry is not None:
        return _persistently(call, call.retry, start)
    try:
        value, instance = _attempt(call)
    except INTERRUPTS:
        raise
    except BaseException as error:
        return Outcome(None, None, error, time.perf_counter() - start)
    return Outcome(value, instance, None, time.perf_counter() - start)


def _persistently(call: Call, retry: Retry, start: float) -> Outcome:
    """Run a step until it succeeds or its attempts are used up; each starts from the arguments as they were given."""
    snapshot = Snapshot(call.instance, call.args, call.kwargs)
    attempt = 0
    while True:
        attempt += 1
        try:
            value, instance = _attempt(call)
        except INTERRUPTS:
            raise
        except BaseException as error:
            failed = Outcome(None, None, error, time.perf_counter() - start, attempt)
            if attempt > retry.times or not isinstance(error, retry.exceptions):
                return failed
            try:
                instance, args, kwargs = snapshot.restored()
                call = call._replace(instance=instance, args=args, kwargs=kwargs)
            except NotAsGiven as reason:
                error.add_note(f"not tried again: {reason}")
                return failed
            time.sleep(retry.delay * retry.backoff ** (attempt - 1))
        else:
            return Outcome(value, instance, None, time.perf_counter() - start, attempt)


def _attempt(call: Call) -> tuple[Any, Any]:
    if call.environment:
        with _variables(call.environment):
            return _attempt(call._replace(environment={}))
    target, args, kwargs, instance, initialize, _, timeout, is_checked, _ = call
    kind = target.kind

    def work() -> Any:
        if initialize is not None:
            initialize()
        function = getattr(instance, target.name) if kind == "method" else target.function  # type: ignore[union-attr]
        return evaluate(function, args, kwargs, target.cls if kind == "constructor" else None)  # type: ignore[union-attr]

    check = argument_check(args, kwargs) if is_checked else None
    value = work() if timeout is None else limited(work, timeout)
    if check is not None:
        check.refuse_changes()
    return value, value if kind == "constructor" else instance


@contextmanager
def _variables(environment: Mapping[str, str | Secret]) -> Iterator[None]:
    """Set environment variables for a while."""
    from functionfuse.backends.surroundings import set_variable  # which few calls need

    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(resolved(environment))
    try:
        yield
    finally:
        for name, value in before.items():
            set_variable(name, value)


def argument_check(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> ArgumentCheck:
    """Return what says later whether arguments were changed.

    Args:
        args: positional arguments.
        kwargs: keyword arguments.
    """
    from functionfuse.backends.argument_check import ArgumentCheck  # with fingerprints, which take long to import

    return ArgumentCheck(args, kwargs)


def evaluate(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], made: type | None = None
) -> Any:
    """Call a function; if it made nodes and returned some, its value is an Expansion.

    Args:
        function: the function.
        args: positional arguments.
        kwargs: keyword arguments.
        made: the class of the stateful object that it makes, which may be an iterator.

    Raises:
        UsageError: the value is an iterator, or a container of some.
    """
    global _current
    mark = next(serials)
    other, _current = _current, mark
    try:
        value = function(*args, **kwargs)
        is_alone = other is None and _current == mark  # else other calls may have made the nodes
    finally:
        _current = None
    made_nodes = next(serials) != mark + 1
    kind = type(value)
    if kind in ATOMS or (kind in _LISTS and ATOMS.issuperset(map(type, value))):
        if made_nodes and is_alone:
            warn_of_unreturned(function, args, kwargs, mark)
        return value
    kinds = types_in(value)
    if kind is not made or kind.__module__ in _LANGUAGE:
        used_up = first_used_up(value, kinds)
        if used_up is not None:
            raise UsageError(f"the result {'is' if used_up is value else 'holds'} {remedy(used_up)}")
    if made_nodes or not _DEFERRED.isdisjoint(kinds):
        value = expanded(value, mark)
    if made_nodes and is_alone and type(value) is not Expansion:
        warn_of_unreturned(function, args, kwargs, mark)
    return value


def expanded(value: Any, mark: int) -> Any:
    """Turn nodes in a returned value into steps; return another value as it is.

    Args:
        value: what a function returned.
        mark: the serial number of the first node that the function could have made.

    Raises:
        UnknownNodeError: the nodes need one that was made before.
    """
    found: list[Node] = []
    if not isinstance(value, (Deferred, *CONTAINERS)):
        return value

    def leaf(item: Any) -> Any:
        if isinstance(item, Deferred):
            assert isinstance(item, Item | Node)
            found.append(item._node if isinstance(item, Item) else item)
        return item

    rebuild(value, leaf)
    if not found:
        return value
    graph = Graph(found, scope="ancestors")
    for node in graph.nodes.values():
        if node._serial < mark:
            raise UnknownNodeError(
                f"a workflow function returned a graph that takes {node!r}, created outside of it at "
                f"{call_site(node)}; pass that node to the function as an argument instead"
            )
    return Expansion(steps_of(graph), refs_in(value, graph))


def called(call: Call, attempts: int = 1) -> str:
    """Return how a call was made, for an error message.

    Args:
        call: the call.
        attempts: how often it was made.
    """
    text = f"called as {call.target.qualname}({describe_arguments(call)})"
    return f"{text}, {attempts} attempts" if attempts > 1 else text


def describe_arguments(call: Call) -> str:
    """Return arguments as shapes or short representations, for an error message."""
    shown = [_short(value) for value in call.args]
    shown += [f"{key}={_short(value)}" for key, value in call.kwargs.items()]
    return ", ".join(shown)


def _short(value: Any, limit: int = 60) -> str:
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", "")
    if isinstance(shape, tuple):
        return f"{type(value).__name__}(shape={shape}{f', dtype={dtype}' if dtype else ''})"
    if isinstance(value, CONTAINERS) and len(value) > 10:
        return f"{type(value).__name__} of {len(value)} items"
    text = shown(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
