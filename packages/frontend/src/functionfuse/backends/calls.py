"""Calls: one step made to run, in the driver's process or in a worker's.

`perform` is what every engine calls where a step runs. It never raises what the user's function raises; it returns an
`Outcome`.
"""

from __future__ import annotations

import contextvars
import copy
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse.backends.unreturned import warn_of_unreturned
from functionfuse.containers import CONTAINERS, rebuild
from functionfuse.deferred import Deferred
from functionfuse.errors import UnknownNodeError
from functionfuse.graph import Graph
from functionfuse.nodes import InstanceNode, Item, Node, call_site, serials
from functionfuse.plan import Step, refs_in, steps_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from functionfuse.backends.options import Retry
    from functionfuse.decorator import Target


_DEFERRED = frozenset({Node, InstanceNode, Item})
_LISTS = frozenset({list, tuple, set, frozenset})
_current: int | None = None
"""The mark of the call that began last, in whatever thread; None when it has ended."""


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
    """

    target: Target
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    instance: Any = None
    initialize: Callable[[], object] | None = None
    retry: Retry | None = None
    timeout: float | None = None


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


class TimeLimitExceeded(TimeoutError):  # noqa: N818
    """Raised when a call took longer than its time limit."""


def perform(call: Call) -> Outcome:
    """Run one step where this is called, with its plugin, retries and time limit."""
    start = time.perf_counter()
    if call.retry is not None:
        return _persistently(call, call.retry, start)
    try:
        value, instance = _attempt(call, call.instance)
    except (Exception, SystemExit) as error:
        return Outcome(None, None, error, time.perf_counter() - start)
    return Outcome(value, instance, None, time.perf_counter() - start)


def _persistently(call: Call, retry: Retry, start: float) -> Outcome:
    """Run a step until it succeeds or its attempts are used up."""
    attempt = 0
    while True:
        attempt += 1
        instance = call.instance
        try:
            if instance is not None and attempt <= retry.times:  # a failed attempt may change it halfway
                instance = copy.deepcopy(instance)
            value, after = _attempt(call, instance)
        except (Exception, SystemExit) as error:
            if attempt > retry.times or not isinstance(error, retry.exceptions):
                return Outcome(None, None, error, time.perf_counter() - start, attempt)
            time.sleep(retry.delay * retry.backoff ** (attempt - 1))
        else:
            return Outcome(value, after, None, time.perf_counter() - start, attempt)


def _attempt(call: Call, instance: Any) -> tuple[Any, Any]:
    target, args, kwargs, _, initialize, _, timeout = call
    kind = target.kind

    def work() -> Any:
        if initialize is not None:
            initialize()
        function = getattr(instance, target.name) if kind == "method" else target.function  # type: ignore[union-attr]
        return evaluate(function, args, kwargs)

    value = work() if timeout is None else _limited(work, timeout)
    return value, value if kind == "constructor" else instance


def evaluate(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Call a function; if it made nodes and returned some, its value is an Expansion.

    Args:
        function: the function.
        args: positional arguments.
        kwargs: keyword arguments.
    """
    global _current
    mark = next(serials)
    other, _current = _current, mark
    try:
        value = function(*args, **kwargs)
    except BaseException:
        _current = None
        raise
    if next(serials) != mark + 1:
        is_alone = other is None and _current == mark  # else other calls may have made the nodes
        value = expanded(value, mark)
        if is_alone and type(value) is not Expansion:
            warn_of_unreturned(function, args, kwargs, mark)
    elif isinstance(value, Deferred) or (type(value) in _LISTS and _holds_node(value)):
        value = expanded(value, mark)
    _current = None
    return value


def _holds_node(value: Any) -> bool:
    """Whether a node is among the items; a longer search would take too long for what is rarely there."""
    return not _DEFERRED.isdisjoint(map(type, value))


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


def _limited(function: Callable[[], Any], seconds: float) -> Any:
    if threading.current_thread() is threading.main_thread() and _alarm_is_free():
        return _interrupted(function, seconds)
    return _abandoned(function, seconds)


def _alarm_is_free() -> bool:
    return hasattr(signal, "setitimer") and signal.getitimer(signal.ITIMER_REAL)[0] == 0


def _interrupted(function: Callable[[], Any], seconds: float) -> Any:
    """Stop the function with an alarm; code that never returns to the interpreter is not stopped."""

    def stop(*_: object) -> None:
        raise TimeLimitExceeded(f"took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return function()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _abandoned(function: Callable[[], Any], seconds: float) -> Any:
    """Wait for the function no longer than the limit; a thread cannot be stopped and is left to itself."""
    ended: list[tuple[Any, BaseException | None]] = []

    def work() -> None:
        try:
            ended.append((function(), None))
        except BaseException as error:
            ended.append((None, error))

    context = contextvars.copy_context()  # where engines keep what they know of the call
    thread = threading.Thread(target=context.run, args=(work,), daemon=True, name="functionfuse-time-limit")
    thread.start()
    thread.join(seconds)
    if not ended:
        raise TimeLimitExceeded(f"took longer than {seconds:g} s (its thread cannot be stopped and goes on)")
    value, error = ended[0]
    if error is not None:
        raise error
    return value


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
    try:
        text = repr(value)
    except Exception:
        text = object.__repr__(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def traceback_text(error: BaseException) -> str:
    """Return the traceback of an error as text, which unlike the traceback itself can leave the process."""
    import traceback  # which takes long to import, and is needed after a failure only

    return "".join(traceback.format_exception(error))
