"""What travels to and from task runners whose workers are other processes."""

from __future__ import annotations

import io
import pickle
from functools import cached_property
from typing import TYPE_CHECKING, Any

import cloudpickle
import prefect.utilities.annotations as prefect_annotations

from functionfuse.backends.shipping import by_name, pack, pack_outcome, unpack_outcome

from .parameters import parameters_of

if TYPE_CHECKING:
    from functionfuse.backends.calls import Call, Outcome


_opaque: Any = prefect_annotations.opaque


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    def reducer_override(self, obj: Any) -> Any:
        return by_name(obj) or super().reducer_override(obj)


def dumps(value: object) -> bytes:
    """Pickle a value; functions that a worker cannot import travel by value."""
    stream = io.BytesIO()
    _Pickler(stream).dump(value)
    return stream.getvalue()


class Parcel:
    """One call, pickled as a whole so that its arguments stay what they are to each other; opened once."""

    def __init__(self, packed: bytes) -> None:
        self._packed = packed

    @cached_property
    def call(self) -> Call:
        """The call."""
        try:
            call: Call = pickle.loads(self._packed)
        except Exception as error:
            error.add_note("while a worker unpickled the function and its arguments")
            raise
        return call

    def __reduce__(self) -> tuple[Any, ...]:
        return Parcel, (self._packed,)

    @classmethod
    def of(cls, call: Call, name: str) -> Parcel:
        """Pack a call. NodeError names the argument that cannot be pickled."""
        return cls(pack(call, name, dumps))


class Sealed:
    """One parameter of a call that travels in a parcel. Prefect cannot look into it before it is there."""

    def __init__(self, parcel: Parcel, key: str) -> None:
        self._content = parcel, key

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, self._content


class _Opened(_opaque):  # type: ignore[misc]  # mypy cannot read its type variable
    """A parameter where its task runs. Dask's scheduler opens and sends it once more."""

    sealed: tuple[Parcel, str]

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, self.sealed


def _opened(parcel: Parcel, key: str) -> _Opened:
    opened = _Opened(parameters_of(parcel.call)[key])
    opened.sealed = parcel, key
    return opened


class Answer:
    """How a call ended, as what a task returns. Prefect does not search it, as it would a list."""

    def __init__(self, outcome: Outcome | None, packed: bytes = b"") -> None:
        self._outcome = outcome
        self._packed = packed

    @classmethod
    def sealed(cls, outcome: Outcome) -> Answer:
        """Return an answer for another process."""
        return cls(None, pack_outcome(outcome, dumps))

    def open(self) -> Outcome:
        """Take the outcome out; an answer is opened once."""
        outcome, self._outcome = self._outcome, None
        return outcome or unpack_outcome(self._packed)


class Failure(Exception):  # noqa: N818  it stands for what a function raised
    """Carries how a call failed from one process to another; Prefect shows the type and text of what was raised."""

    text = ""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def __str__(self) -> str:
        return self.text

    def __reduce__(self) -> tuple[Any, ...]:
        return Failure, (self.answer,)


def failure(outcome: Outcome) -> Exception:
    """Return an exception that is of the same type as a call's error, and takes the outcome along to the driver."""
    error = outcome.error
    assert error is not None
    kind = type(error)
    body: dict[str, Any] = {"text": str(error), "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    bases = (Failure, kind) if isinstance(error, Exception) else (Failure,)
    try:
        stand_in: type[Exception] = type(kind.__name__, bases, body)
        made = stand_in.__new__(stand_in)
    except TypeError:  # a type that cannot be derived from
        made = Failure.__new__(type(kind.__name__, (Failure,), body))
    made.__dict__.update(error.__dict__, answer=Answer.sealed(outcome))
    made.args = error.args
    return made.with_traceback(error.__traceback__)
