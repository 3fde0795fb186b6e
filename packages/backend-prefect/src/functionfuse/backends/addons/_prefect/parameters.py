"""The parameters of a node's function, as Prefect sees them."""

from __future__ import annotations

from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any

from functionfuse.errors import UsageError
from functionfuse.targets import ClassTarget, Method

if TYPE_CHECKING:
    from collections.abc import Callable

    from functionfuse.backends.calls import Call
    from functionfuse.decorator import Target

_RESERVED = frozenset({"return_state", "wait_for"})  # which Prefect takes for its own
_ANY = Signature([Parameter("args", Parameter.VAR_POSITIONAL), Parameter("kwargs", Parameter.VAR_KEYWORD)])
_SELF = Parameter("self", Parameter.POSITIONAL_ONLY)


def signature_of(target: Target) -> Signature:
    """Return the signature under which Prefect sees a target; a method's begins with the stateful object."""
    try:
        signature = target.check.signature()
    except UsageError:
        return _ANY
    if _RESERVED.intersection(signature.parameters):
        return _ANY
    if target.kind == "method":
        if "self" in signature.parameters:
            return _ANY
        signature = signature.replace(parameters=[_SELF, *signature.parameters.values()])
    return signature.replace(return_annotation=Signature.empty)


def function_of(target: Target) -> Callable[..., Any]:
    """Return the user's own function, or class."""
    if isinstance(target, Method):
        return getattr(target.owner.cls, target.name)  # type: ignore[no-any-return]
    return target.cls if isinstance(target, ClassTarget) else target.function


def parameters_of(call: Call, signature: Signature | None = None) -> dict[str, Any]:
    """Return the arguments of a call by the names of the parameters, defaults included.

    Args:
        call: the call.
        signature: that of its target, where it is known already.
    """
    args = (call.instance, *call.args) if call.target.kind == "method" else call.args
    bound = (signature or signature_of(call.target)).bind(*args, **call.kwargs)
    bound.apply_defaults()
    return bound.arguments


def placeholders(parameters: dict[str, Any], signature: Signature) -> dict[str, Any]:
    """Return empty values for arguments that Prefect need not know: it holds them until a task's events are sent.

    Args:
        parameters: the arguments, by the names of the parameters.
        signature: that of their function.
    """
    empty: dict[Any, Any] = {Parameter.VAR_POSITIONAL: (), Parameter.VAR_KEYWORD: {}}
    return {key: empty.get(signature.parameters[key].kind) for key in parameters}
