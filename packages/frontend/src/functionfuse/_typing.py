"""What makes classes generic for type checkers, and nothing at run time.

Importing `typing` would take longer than the rest of the package, and a base class would be looked up at each call.
"""

from __future__ import annotations

__all__ = ["Any", "Generic", "HasResult", "P", "R"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Generic

    from typing_extensions import ParamSpec, TypeVar  # with defaults; every checker has them

    P = ParamSpec("P", default=...)
    R = TypeVar("R", covariant=True, default=Any)

    class HasResult(Generic[R]):
        """What a workflow can be made from: a node, an item of one, or a stateful object."""
else:

    class _NoBase:
        """Leaves no trace among the bases of a class, with parameters or without."""

        def __getitem__(self, parameters):
            return self

        def __mro_entries__(self, bases):
            return ()

    Any = Generic = HasResult = P = R = _NoBase()
