"""Classes that travel by value: what a record holds of them gives way to the class that the process has itself.

Scripts and notebooks define classes in `__main__`. A record takes them along, so that it can be read anywhere; where
a class of that module and name exists already, objects are of that class. Records name `make_class` and
`set_class_state`: module and functions are part of the format and can never move.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def reduced_class(cls: type, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return how a class is written that cannot be imported.

    Args:
        cls: the class.
        reduced: how cloudpickle writes it.
    """
    make, arguments, state, *items, set_state = reduced
    place = cls.__module__, cls.__qualname__
    return make_class, (*place, make, arguments), (*place, set_state, state), *items, set_class_state


def make_class(module: str, qualname: str, make: Callable[..., type], arguments: tuple[Any, ...]) -> type:
    """Return the class of this process, or else a new one; pickle calls this.

    Args:
        module: of the class.
        qualname: of the class.
        make: makes a class.
        arguments: of `make`.
    """
    return _class_here(module, qualname) or make(*arguments)


def set_class_state(cls: type, given: tuple[str, str, Callable[..., object], Any]) -> None:
    """Fill a class that `make_class` made; pickle calls this.

    Args:
        cls: the class.
        given: module and qualified name of the class, what sets its state, and the state.
    """
    module, qualname, set_state, state = given
    if _class_here(module, qualname) is not cls:
        set_state(cls, state)


def _class_here(module: str, qualname: str) -> type | None:
    found: Any = sys.modules.get(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    found = getattr(found, "__wrapped__", found) if not isinstance(found, type) else found
    is_it = isinstance(found, type) and (found.__module__, found.__qualname__) == (module, qualname)
    return found if is_it else None
