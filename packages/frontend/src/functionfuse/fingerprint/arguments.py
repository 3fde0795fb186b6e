"""Arguments of calls, described by the parameters that take them and not by how the call is spelled.

``f(1, 2)``, ``f(b=2, a=1)`` and a spelled-out default come to the same, where Python itself binds the arguments.
A wrapper that takes ``*args`` and ``**kwargs`` for another function sees how it was called, and so does its recipe.
"""

from __future__ import annotations

from inspect import Parameter, Signature
from operator import itemgetter
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse.errors import OptionError, UsageError
from functionfuse.fingerprint.library import CACHE
from functionfuse.targets import ClassTarget

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from functionfuse.plan import Step
    from functionfuse.targets import Target

_SHAPES_KEPT = 256


class _Layout(NamedTuple):
    """How the arguments of calls of one shape are put into the order of the parameters.

    Attributes:
        head: names the parameters.
        defaults: of the parameters that are not given.
        pick: takes the arguments from those of the call and the defaults; None where they are in order.
    """

    head: str
    defaults: tuple[Any, ...]
    pick: Callable[[tuple[Any, ...]], Sequence[Any]] | None


class Parameters:
    """The parameters of a target.

    Args:
        target: what is called.
        has_digest: whether a value has a fingerprint; a default without one is left out.
    """

    def __init__(self, target: Target, has_digest: Callable[[object], bool]) -> None:
        self._target = target
        self._has_digest = has_digest
        self._signature = _binding(target)
        self._layouts: dict[object, _Layout] = {}

    def arrange(self, step: Step, ignore: tuple[str, ...]) -> list[Any]:
        """Return a text that names the parameters, and what they take in a call.

        Args:
            step: the call.
            ignore: names of parameters to be left out.

        Raises:
            OptionError: a name in `ignore` is none of a parameter.
        """
        args, kwargs = step.args, step.kwargs
        shape: object = (len(args), ignore, *kwargs) if kwargs or ignore else len(args)
        layout = self._layouts.get(shape)
        if layout is None:
            layout = self._layout(step, ignore)
            if len(self._layouts) < _SHAPES_KEPT:
                self._layouts[shape] = layout
        head, defaults, pick = layout
        pool = (*args, *kwargs.values(), *defaults) if kwargs or defaults else args
        return [head, *(pool if pick is None else pick(pool))]

    def _layout(self, step: Step, ignore: Sequence[str]) -> _Layout:
        positions = range(len(step.args))
        keywords = {name: len(positions) + number for number, name in enumerate(step.kwargs)}
        declared = self._target.check.signature() if ignore else self._signature
        names: list[object]
        try:
            bound = None if declared is None else declared.bind(*positions, **keywords).arguments
        except TypeError:  # of a function that was put in another's place
            bound = None
        if declared is None or bound is None:
            names, order = [len(positions), *keywords], [*positions, *keywords.values()]
            return _Layout(repr(names), (), _picking(order, len(order)))
        unknown = sorted(set(ignore) - set(declared.parameters))
        if unknown:
            raise OptionError(
                f"{step.name!r} has no parameter {unknown[0]!r} to ignore; {self._target.qualname} has "
                f"{', '.join(declared.parameters)}"
            )
        names, order = [], []
        defaults: list[Any] = []
        size = len(positions) + len(keywords)
        for name, parameter in declared.parameters.items():
            if name in ignore:
                continue
            if name not in bound:
                if parameter.default is Parameter.empty or not self._has_digest(parameter.default):
                    continue
                names.append(name)
                order.append(size + len(defaults))
                defaults.append(parameter.default)
            elif parameter.kind is Parameter.VAR_POSITIONAL:
                names.append((name, len(bound[name])))
                order += bound[name]
            elif parameter.kind is Parameter.VAR_KEYWORD:  # whose order a function sees
                names.append((name, *bound[name]))
                order += bound[name].values()
            else:
                names.append(name)
                order.append(bound[name])
        return _Layout(repr(names), tuple(defaults), _picking(order, size + len(defaults)))


def _picking(order: list[int], size: int) -> Callable[[tuple[Any, ...]], Sequence[Any]] | None:
    """Return what takes items in an order; None where that is all of them as they are."""
    if order == list(range(size)):
        return None
    if len(order) < 2:  # of which `itemgetter` makes no tuple
        return lambda pool: [pool[index] for index in order]
    return itemgetter(*order)


def _binding(target: Target) -> Signature | None:
    """Return the signature by which Python binds the arguments of a target; None where that is not known."""
    called: Any = target.check.function
    if isinstance(target, ClassTarget):
        if not _has_one_maker(target.cls):
            return None
        if called is target.cls:
            makers = called.__new__, getattr(called, "__init__")  # noqa: B009  the type checker refuses it
            called = next((maker for maker in makers if isinstance(maker, FunctionType)), None)
    function = called.__wrapped__ if isinstance(called, CACHE) else called
    if not isinstance(function, FunctionType | BuiltinFunctionType):
        return None
    if hasattr(function, "__wrapped__") or hasattr(function, "__signature__"):  # it declares another's parameters
        return None
    try:
        return target.check.signature()
    except UsageError:
        return None


def _has_one_maker(cls: type) -> bool:
    """Return True unless both ``__new__`` and ``__init__``, or a metaclass, see how a call is spelled."""
    if type(cls).__call__ is not type.__call__:
        return False
    bases = [vars(base) for base in cls.__mro__[:-1]]
    makers = [any(_own(base.get(name)) is not None for base in bases) for name in ("__new__", "__init__")]
    return makers != [True, True]


def _own(maker: Any) -> Any:
    """Return what a class defines by itself; the ``__new__`` of a decorated class may stand for none."""
    return getattr(maker, "plain", maker)
