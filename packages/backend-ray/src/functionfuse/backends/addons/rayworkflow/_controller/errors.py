"""The errors of tasks of Ray, as drivers get them."""

from __future__ import annotations

from functools import cache
from typing import Any

from ray.exceptions import RayTaskError


class ReportedError(RayTaskError):  # type: ignore[misc]  # without types
    """An exception that a task raised, and at once the RayTaskError that Ray reports it with.

    Each instance belongs to the class of the exception, too. It reads as the exception, without the traceback of the
    process that raised it.

    Attributes:
        cause: what the task raised.
        traceback_str: how Ray reported it.
    """

    cause: Exception
    traceback_str: str

    def __str__(self) -> str:
        return str(self.cause)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reported, (self.cause, self.cause.__cause__, self.traceback_str)


def reported_error(error: RayTaskError) -> Exception:
    """Return what a task raised as an exception that is a RayTaskError, too.

    Args:
        error: what ``ray.get`` raised.
    """
    cause = error.cause
    return _reported(cause, cause.__cause__, str(error)) if isinstance(cause, Exception) else error


def _reported(error: Exception, cause: BaseException | None, text: str) -> Exception:
    try:
        kind = _reported_kind(type(error))  # type: ignore[arg-type]  # mypy: classes of exceptions cannot be hashed
        reported: Exception = kind.__new__(kind, *error.args)
    except TypeError:  # a class that cannot have subclasses, or makes its instances otherwise
        return error
    reported.__dict__.update({**vars(error), "cause": error, "traceback_str": text})
    reported.__cause__ = error.__cause__ = cause
    return reported


@cache
def _reported_kind(kind: Any) -> Any:
    named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (ReportedError, kind), named)
