"""Calls, outcomes and errors as bytes, for engines whose workers are other processes.

The engine brings the pickler, such as cloudpickle's; what users wrote, and what cannot be pickled, is decided here.
"""

from __future__ import annotations

import io
import pickle
from contextlib import suppress
from contextvars import ContextVar
from types import BuiltinMethodType, CodeType, MemberDescriptorType, MethodType
from typing import IO, TYPE_CHECKING, Any

from functionfuse.backends.calls import Call, MemberOutcomes, Outcome, RemoteError
from functionfuse.backends.texts import described, shown, text_of, traceback_text
from functionfuse.backends.tracebacks import user_line
from functionfuse.decorator import reduce_class
from functionfuse.errors import NodeError, WorkerDiedError, WorkflowFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from functionfuse.plan import Step

_AROUND: ContextVar[tuple[BaseException, ...]] = ContextVar("functionfuse_errors_around", default=())
"""The errors whose parts are being serialized."""
_NO_FILE = "<dynamic-code>"  # what cloudpickle writes for the name of a file
_NOT_SENT = frozenset({"obj"})  # of an AttributeError: whatever had no such attribute, of any size


class Serializer:
    """Pickles what travels between a driver and its workers.

    Args:
        pickler: a pickler class with the constructor and `reducer_override` of cloudpickle's.
    """

    def __init__(self, pickler: type[Any]) -> None:
        class ByName(pickler):  # type: ignore[misc]  # its base is known at run time
            def reducer_override(self, obj: Any) -> Any:
                return by_name(obj) or reduced_code(obj, self) or super().reducer_override(obj)

        class WithErrors(ByName):
            def reducer_override(self, obj: Any) -> Any:
                if isinstance(obj, BaseException):
                    return _reduced(obj, serializer._dumps_part_of(obj))
                return super().reducer_override(obj)

        serializer = self
        self._pickler = ByName
        self._pickler_with_errors = WithErrors

    def dumps(self, value: object) -> bytes:
        """Return a value as bytes; functions that a worker cannot import travel by value."""
        return _dumped(self._pickler, value)

    def dump(self, value: object, file: IO[bytes]) -> None:
        """Write a value to a file, as `dumps` returns it.

        Args:
            value: the value.
            file: a file that is open for writing.
        """
        self.pickler(file).dump(value)

    def pickler(self, file: IO[bytes]) -> Any:
        """Return what pickles several values into a file, as `dump` does one; what they share stays shared.

        Args:
            file: a file that is open for writing.
        """
        return self._pickler(file, protocol=5)

    def dumps_with_errors(self, value: object) -> bytes:
        """Return a value as bytes; errors in it keep type, attributes, notes and cause where they can.

        An error that cannot be pickled is replaced by a RemoteError with its type and message.
        """
        return _dumped(self._pickler_with_errors, value)

    def _dumps_part_of(self, error: BaseException) -> Callable[[object], bytes]:
        """Return what serializes the parts of an error; an error that is around them is not serialized again."""
        around = _AROUND.get()
        if any(error is other for other in around):
            raise RecursionError(f"{type(error).__name__} is a part of itself")

        def dumps(value: object) -> bytes:
            token = _AROUND.set((*around, error))
            try:
                return self.dumps_with_errors(value)
            finally:
                _AROUND.reset(token)

        return dumps

    def call(self, call: Call, name: str) -> bytes:
        """Return a call as bytes.

        Args:
            call: the call.
            name: the step's full name.

        Raises:
            NodeError: it cannot be pickled; the message names the argument.
        """
        try:
            return self.dumps(call)
        except Exception as error:
            others = {"the object": call.instance, "the plugin's function": call.initialize}
            raise unserializable(call, name, self.dumps, error, others) from error

    def outcome(self, outcome: Outcome) -> bytes:
        """Return an outcome as bytes, where its call took place; a result that cannot be pickled is an error."""
        if outcome.error is None:
            if isinstance(outcome.value, MemberOutcomes):
                outcome = outcome._replace(value=outcome.value.mapped(self.outcome))
            try:
                return self.dumps((outcome, None))
            except Exception as problem:
                error = unserializable_result(outcome.value, problem)
                outcome = outcome._replace(value=None, instance=None, error=error)
        assert outcome.error is not None
        line = outcome.line or user_line(outcome.error)
        return self.dumps((outcome._replace(error=None, line=line), self.error(outcome.error)))

    def error(self, error: BaseException) -> bytes:
        """Return an error as bytes, with the text of its traceback; see `dumps_with_errors`."""
        try:
            data = self.dumps_with_errors(error)
        except Exception:  # such as a chain of causes that is too long
            data = self.dumps(RemoteError(described(error)))
        return pickle.dumps((data, traceback_text(error)))


def deserialized_outcome(data: bytes) -> Outcome:
    """Return the outcome that a worker serialized; what cannot be deserialized is its error."""
    outcome: Outcome
    try:
        outcome, error = pickle.loads(data)
    except Exception as problem:
        problem.add_note("while the result of a worker was deserialized")
        return Outcome(None, None, problem, 0.0)
    if error is not None:
        return outcome._replace(error=deserialized_error(error))
    if isinstance(outcome.value, MemberOutcomes):
        return outcome._replace(value=outcome.value.mapped(deserialized_outcome))
    return outcome


def deserialized_error(data: bytes, where: str = "in the worker") -> BaseException:
    """Return an error that was serialized elsewhere; a note has its traceback.

    Args:
        data: what `Serializer.error` returned.
        where: where it was raised, for the note.
    """
    serialized, text = pickle.loads(data)
    try:
        error: BaseException = pickle.loads(serialized)
    except Exception as problem:
        error = RemoteError(f"what was raised cannot be deserialized here: {described(problem)}")
    error.add_note(f"{where}:\n{text}")
    return error


def by_name(obj: object) -> tuple[Any, ...] | None:
    """Return how a pickler refers to what is found by its name only; None for all else.

    These are plain classes under whose name the decorated one stands, and methods of a library's own objects: by
    value, `random.seed` would take along a copy of the generator, in whose place the worker has one of its own.
    """
    if isinstance(obj, MethodType | BuiltinMethodType):
        from functionfuse.fingerprint.project import library_name  # which takes long to import

        named = library_name(obj)
        if named is not None:
            return getattr, named
    return reduce_class(obj)


def reduced_code(obj: object, pickler: Any) -> tuple[Any, ...] | None:
    """Return how a pickler writes code, with the name of its file; None for all else.

    cloudpickle leaves the name out since 3.1.3, and with it goes the user's own line in what a worker raises.

    Args:
        obj: what is pickled.
        pickler: cloudpickle's, or one derived from it.
    """
    if not isinstance(obj, CodeType):
        return None
    make, parts = pickler.dispatch_table[CodeType](obj)
    return make, tuple([obj.co_filename if part == _NO_FILE else part for part in parts])


def parts_of_error(error: BaseException) -> tuple[Any, ...]:
    """Return what `error_of_parts` makes an error from; any pickler can pickle it that can pickle its class."""
    make, content = _without_the_unpicklable(error, pickle.dumps)
    cause = error.__cause__
    return make, content, tuple(_notes(error)), None if cause is None else parts_of_error(cause)


def error_of_parts(
    make: Callable[..., BaseException], content: tuple[Any, ...], notes: Iterable[str], cause: tuple[Any, ...] | None
) -> BaseException:
    """Return an error with its notes and causes.

    Args:
        make: makes the error.
        content: what that takes.
        notes: of the error.
        cause: its parts.
    """
    error = make(*content)
    for note in notes:
        error.add_note(note)
    error.__cause__ = None if cause is None else error_of_parts(*cause)
    return error


# -- errors of engines


def unserializable(
    called: Call | Step, name: str, dumps: Callable[[object], bytes], problem: Exception, others: Mapping[str, Any]
) -> NodeError:
    """Return the error of a step that cannot be pickled, which names the argument to blame.

    Args:
        called: the call, or the step.
        name: the step's full name.
        dumps: pickles one of its arguments, or raises.
        problem: what pickling all of it raised.
        others: what else is sent, by what to call it.
    """
    named: dict[str, Any] = {f"argument {i}": value for i, value in enumerate(called.args)}
    named |= {f"argument {key!r}": value for key, value in called.kwargs.items()}
    named |= {**others, "the function": called.target}
    culprit = "the call"
    for what, value in named.items():
        try:
            dumps(value)
        except Exception as error:
            culprit, problem = f"{what} ({type(value).__name__})", error
            break
    failure = NodeError(
        f"node {name!r} cannot be sent to another process: {culprit} cannot be pickled "
        f"({described(problem)}); make it inside the function",
        name=name,
        function=called.target.qualname,
    )
    failure.__cause__ = problem
    return failure


def unserializable_result(value: object, error: Exception) -> TypeError:
    """Return the error of a result that cannot be pickled.

    Args:
        value: the result.
        error: what pickling it raised.
    """
    kind = type(value)
    return TypeError(f"the result, a {kind.__module__}.{kind.__qualname__}, cannot be pickled: {text_of(error)}")


def worker_died(name: str, function: str, cause: BaseException | None, detail: str = "") -> WorkerDiedError:
    """Return the error of a step whose worker died.

    Args:
        name: the step's full name.
        function: the name of what it called.
        cause: how the engine tells it.
        detail: what else is known.
    """
    known = detail or (f" ({type(cause).__name__}: {cause})" if cause is not None else "")
    error = WorkerDiedError(
        f"node {name!r} failed: a worker process died{known}; out of memory and crashes in native code are the "
        "usual causes, and set_retry tries again",
        name=name,
        function=function,
    )
    error.__cause__ = cause
    return error


# -- how errors are pickled


def _dumped(pickler: type[Any], value: object) -> bytes:
    stream = io.BytesIO()
    pickler(stream, protocol=5).dump(value)
    return stream.getvalue()


def _reduced(error: BaseException, dumps: Callable[[object], bytes]) -> tuple[Any, ...]:
    """Return the reduction of an error: itself as bytes that can be unpickled, and what pickling drops."""
    kept: dict[str, Any] = {"__cause__": error.__cause__, "__notes__": _notes(error)}
    if isinstance(error, WorkflowFailed):
        kept["report"] = error.report
    return _rebuilt, (_as_bytes(error, dumps),), tuple(kept.items()), None, None, _set_attributes


def _as_bytes(error: BaseException, dumps: Callable[[object], bytes]) -> bytes:
    """Return an error as bytes that can be unpickled: whole, without what cannot be pickled, or as a RemoteError."""
    for reduced in (_own_reduction, _without_init, _without_the_unpicklable):
        try:
            # Not the error itself: libraries register reductions of their own for exceptions, with all of the causes.
            data = dumps(reduced(error, dumps))
            _rebuilt(data)  # some exceptions can be pickled but not unpickled
        except Exception:  # noqa: S112  the next way may do
            continue
        return data
    return dumps(RemoteError(described(error)).__reduce_ex__(5))


def _own_reduction(error: BaseException, _: Callable[[object], bytes]) -> Any:
    """Return the reduction that the error's class defines; that of Python calls ``__init__``, which may take others."""
    if _base_of(type(error)).__reduce__ is type(error).__reduce__:
        raise NotImplementedError
    return error.__reduce_ex__(5)


def _without_init(error: BaseException, _: Callable[[object], bytes]) -> Any:
    """Return what makes the error again from its ``args`` and attributes."""
    reduction: Any = _base_of(type(error)).__reduce__(error)
    args = reduction[1]
    attributes = {name: value for name, value in vars(error).items() if name != "__notes__"}
    for name, slot in _slots_of(type(error)).items():
        with suppress(AttributeError):  # it has no value, which those of Python's own exceptions say as None
            value = slot.__get__(error)
            if value is not None or slot.__objclass__.__module__ != "builtins":
                attributes[name] = value
    return _made_again, (type(error), args, attributes)


def _slots_of(kind: type[BaseException]) -> dict[str, Any]:
    """Return what a class keeps in slots, as that of an ImportError does with the name of the module."""
    return {
        name: slot
        for base in kind.__mro__
        if base not in (BaseException, object)
        for name, slot in vars(base).items()
        if isinstance(slot, MemberDescriptorType) and name not in _NOT_SENT
    }


def _without_the_unpicklable(error: BaseException, dumps: Callable[[object], bytes]) -> Any:
    """Return the same with text for those of ``args``, and without those attributes, that cannot be pickled."""

    def is_picklable(value: object) -> bool:
        try:
            pickle.loads(dumps(value))
        except Exception:
            return False
        return True

    make, (kind, args, attributes) = _without_init(error, dumps)
    args = tuple([value if is_picklable(value) else shown(value) for value in args])
    return make, (kind, args, {name: value for name, value in attributes.items() if is_picklable(value)})


def _base_of(kind: type[BaseException]) -> type[BaseException]:
    """Return the exception of Python that a class is derived from."""
    while kind.__module__ != "builtins":
        kind = kind.__base__  # type: ignore[assignment]
    return kind


def _made_again(kind: type[BaseException], args: tuple[Any, ...], attributes: dict[str, Any]) -> BaseException:
    base = _base_of(kind)
    error = base.__new__(kind, *args)
    base.__init__(error, *args)  # which sets what cannot be set later, as the exceptions of a group
    slots = _slots_of(kind)
    vars(error).update({name: value for name, value in attributes.items() if name not in slots})
    for name in slots.keys() & attributes.keys():
        with suppress(AttributeError, TypeError):  # it cannot be set
            setattr(error, name, attributes[name])
    return error


def _notes(error: BaseException) -> list[str]:
    notes = vars(error).get("__notes__")
    return [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else []


def _rebuilt(data: bytes) -> BaseException:
    make, arguments, *state = pickle.loads(data)
    error: BaseException = make(*arguments)
    if state and state[0] is not None:
        error.__setstate__(state[0])
    return error


def _set_attributes(error: BaseException, kept: Iterable[tuple[str, Any]]) -> None:
    for name, value in kept:
        setattr(error, name, value)
