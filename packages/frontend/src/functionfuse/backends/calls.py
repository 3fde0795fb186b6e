"""Calls: all that is needed to run one step, how it ended, and what becomes of nodes that it returns."""

from __future__ import annotations

from itertools import zip_longest
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse.backends.coroutines import run_to_end
from functionfuse.backends.limits import TimeLimitReached
from functionfuse.backends.texts import describe_named
from functionfuse.backends.unreturned import warn_of_unreturned
from functionfuse.containers import ATOMS, CONTAINERS, rebuild
from functionfuse.deferred import Deferred
from functionfuse.errors import UnknownNodeError, UsageError
from functionfuse.graph import Graph
from functionfuse.iterators import first_used_up, remedy, types_in
from functionfuse.nodes import InstanceNode, Item, Node, call_site, serials
from functionfuse.plan import Step, refs_in, steps_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Mapping

    from functionfuse.backends.argument_check import ArgumentCheck
    from functionfuse.backends.options import Retry
    from functionfuse.backends.recording import CallRecord, Recording
    from functionfuse.backends.secrets import Secret
    from functionfuse.backends.tracebacks import CodeLine
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
        recording: what is recorded of it; None for nothing.
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
    recording: Recording | None = None


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
        record: what was recorded of it.
        line: of the user's code that failed, where the error comes from another process and has no traceback.
    """

    value: Any
    instance: Any
    error: BaseException | None
    seconds: float
    attempts: int = 1
    record: CallRecord | None = None
    line: CodeLine | None = None


class MemberOutcome(NamedTuple):
    """How the call of a member ended.

    Attributes:
        outcome: how it ended; None if it was not made, as a member that it needs failed, or returned nodes.
        detail: how the call was made, if it failed.
    """

    outcome: Outcome | None
    detail: str = ""


class MemberOutcomes:
    """How the calls of a collapsed step ended; its items are the results, by the names of members.

    Args:
        by_name: how each ended.
    """

    def __init__(self, by_name: Mapping[str, MemberOutcome]) -> None:
        self.by_name = by_name

    def __getitem__(self, name: str) -> Any:
        outcome = self.by_name[name].outcome
        if outcome is None or outcome.error is not None or type(outcome.value) is Expansion:
            raise KeyError(name)
        return outcome.value

    def keeping(self, names: Collection[str]) -> MemberOutcomes:
        """Return these without the results of other members.

        Args:
            names: of the members whose results are kept.
        """
        kept = {
            name: member
            if member.outcome is None or name in names or type(member.outcome.value) is Expansion
            else member._replace(outcome=member.outcome._replace(value=None))
            for name, member in self.by_name.items()
        }
        return MemberOutcomes(kept)

    def __getstate__(self) -> dict[str, Any]:
        # As plain tuples, which take a tenth of the time.
        by_name = {
            name: (tuple(outcome) if type(outcome) is Outcome else outcome, detail)
            for name, (outcome, detail) in self.by_name.items()
        }
        return {"by_name": by_name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.by_name = {
            name: MemberOutcome(Outcome._make(outcome) if type(outcome) is tuple else outcome, detail)
            for name, (outcome, detail) in state["by_name"].items()
        }

    def mapped(self, change: Callable[[Any], Any]) -> MemberOutcomes:
        """Return these with something else for each outcome, as bytes or without a value.

        Args:
            change: returns what stands for an outcome.
        """
        return MemberOutcomes(
            {
                name: member if member.outcome is None else member._replace(outcome=change(member.outcome))
                for name, member in self.by_name.items()
            }
        )


class RemoteError(Exception):
    """Stands for an exception of a worker that cannot be pickled; holds its type and message as text."""


INTERRUPTS = (KeyboardInterrupt, TimeLimitReached)
"""What ends more than the call in which it is raised: the run, or the call of a function that made this run."""


def argument_check(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> ArgumentCheck:
    """Return what says later whether arguments were changed.

    Args:
        args: positional arguments.
        kwargs: keyword arguments.
    """
    from functionfuse.backends.argument_check import ArgumentCheck  # with fingerprints, which take long to import

    return ArgumentCheck(args, kwargs)


def evaluate(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    made: type | None = None,
    finish: Callable[[Coroutine[Any, Any, Any]], Any] = run_to_end,
) -> Any:
    """Call a function; if it made nodes and returned some, its value is an Expansion.

    Args:
        function: the function.
        args: positional arguments.
        kwargs: keyword arguments.
        made: the class of the stateful object that it makes, which may be an iterator.
        finish: called if it returns a coroutine, with one whose result is the value.

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
    if kind is CoroutineType:
        return finish(_evaluated(value, function, args, kwargs, mark))
    value = _checked(value, made, mark, made_nodes=made_nodes)
    if made_nodes and is_alone and type(value) is not Expansion:
        warn_of_unreturned(function, args, kwargs, mark)
    return value


async def _evaluated(
    coroutine: Coroutine[Any, Any, Any],
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    mark: int,
) -> Any:
    """Await the coroutine of a function; what it returns is a value as that of `evaluate`."""
    global _current
    begun = next(serials)
    other, _current = _current, begun
    try:
        value = await coroutine
        is_alone = other is None and _current == begun
    finally:
        _current = None
    ended = next(serials)
    value = _checked(value, None, mark, made_nodes=ended != mark + 3)  # two others are that of `evaluate`, and `begun`
    if ended != begun + 1 and is_alone and type(value) is not Expansion:
        warn_of_unreturned(function, args, kwargs, mark)
    return value


def _checked(value: Any, made: type | None, mark: int, *, made_nodes: bool) -> Any:
    """Return what a function returned; if it holds nodes, an Expansion."""
    kinds, kind = types_in(value), type(value)
    if kind is not made or kind.__module__ in _LANGUAGE:
        used_up = first_used_up(value, kinds)
        if used_up is not None:
            raise UsageError(f"the result {'is' if used_up is value else 'holds'} {remedy(used_up)}")
    return expanded(value, mark) if made_nodes or not _DEFERRED.isdisjoint(kinds) else value


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
    """Return arguments as shapes or short representations, without secrets, for an error message."""
    names, rest = _positional(call.target)
    shown = [
        describe_named(name, value) for name, value in zip_longest(names[: len(call.args)], call.args, fillvalue=rest)
    ]
    shown += [f"{key}={describe_named(key, value)}" for key, value in call.kwargs.items()]
    return ", ".join(shown)


def _positional(target: Target) -> tuple[list[str], str]:
    """Return the names of the parameters that are given by position, and of the one that takes all further ones."""
    try:
        parameters = target.check.signature().parameters.values()
    except UsageError:  # of a function written in C
        return [], ""
    names = [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return names, next((one.name for one in parameters if one.kind is one.VAR_POSITIONAL), "")
