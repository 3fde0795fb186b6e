"""Calls and outcomes as bytes, for engines whose workers are other processes.

The engine brings the function that pickles, such as cloudpickle's; what it cannot pickle is said here.
"""

from __future__ import annotations

import pickle
from types import BuiltinMethodType, MethodType
from typing import TYPE_CHECKING, Any

from functionfuse.backends.calls import Call, Outcome, RemoteError, traceback_text
from functionfuse.decorator import reduce_class
from functionfuse.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from functionfuse.decorator import Target

    Dumps = Callable[[object], bytes]


def by_name(obj: object) -> tuple[Any, ...] | None:
    """How a pickler refers to what is found by its name only; None for all else.

    These are plain classes under whose name the decorated one stands, and methods of a library's own objects: by
    value, ``random.seed`` would take along a copy of the generator, in whose place the worker has one of its own.
    """
    if isinstance(obj, MethodType | BuiltinMethodType):
        from functionfuse.fingerprint.project import library_name  # which takes long to import

        named = library_name(obj)
        if named is not None:
            return getattr, named
    return reduce_class(obj)


def pack(call: Call, name: str, dumps: Dumps) -> bytes:
    """Pickle a call; functions that a worker cannot import travel by value.

    Raises:
        NodeError: naming the argument that cannot be pickled.
    """
    try:
        return dumps(call)
    except Exception as error:
        others = {"the object": call.instance, "the plugin's function": call.initialize}
        raise cannot_be_sent(name, call.target, call.args, call.kwargs, others, dumps, error) from error


def cannot_be_sent(
    name: str,
    target: Target,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    others: Mapping[str, Any],
    dumps: Dumps,
    problem: Exception,
) -> NodeError:
    """Return the error of a step that cannot be pickled, which names the argument to blame.

    Args:
        name: the step's full name.
        target: what it calls.
        args: its positional arguments.
        kwargs: its keyword arguments.
        others: what else is sent, by what to call it.
        dumps: pickles one of them, or raises.
        problem: what pickling all of it raised.
    """
    named: dict[str, Any] = {f"argument {i}": value for i, value in enumerate(args)}
    named |= {f"argument {key!r}": value for key, value in kwargs.items()}
    named |= {**others, "the function": target}
    culprit = "the call"
    for what, value in named.items():
        try:
            dumps(value)
        except Exception as error:
            culprit, problem = f"{what} ({type(value).__name__})", error
            break
    failure = NodeError(
        f"node {name!r} cannot be sent to another process: {culprit} cannot be pickled "
        f"({type(problem).__name__}: {problem}); make it inside the function",
        name=name,
        function=target.qualname,
    )
    failure.__cause__ = problem
    return failure


def pack_outcome(outcome: Outcome, dumps: Dumps) -> bytes:
    """Pickle an outcome where the call took place; what cannot be pickled is an error of its own."""
    if outcome.error is not None:
        return _pack_error(outcome, outcome.error, dumps)
    try:
        return dumps((outcome, ""))
    except Exception as error:
        problem = unpicklable_result(outcome.value, error)
        return _pack_error(outcome._replace(value=None, instance=None, error=problem), problem, dumps)


def unpicklable_result(value: object, error: Exception) -> TypeError:
    """Return the error of a result that cannot be pickled."""
    kind = type(value)
    return TypeError(f"the result, a {kind.__module__}.{kind.__qualname__}, cannot be pickled: {error}")


def unpack_outcome(packed: bytes) -> Outcome:
    """Return the outcome that a worker sent; what cannot be unpickled is an error."""
    outcome: Outcome
    try:
        outcome, text = pickle.loads(packed)
    except Exception as error:
        error.add_note("while the result of a worker was unpickled")
        return Outcome(None, None, error, 0.0)
    if outcome.error is not None:
        outcome.error.add_note(f"in the worker:\n{text}")
    return outcome


def _pack_error(outcome: Outcome, error: BaseException, dumps: Dumps) -> bytes:
    text = traceback_text(error)  # a traceback itself cannot leave its process, and notes do not always
    try:
        packed = dumps((outcome, text))
        pickle.loads(packed)  # some exceptions can be pickled but not unpickled
    except Exception:
        stand_in = RemoteError(f"{type(error).__qualname__}: {error}")
        return dumps((outcome._replace(error=stand_in), text))
    return packed
