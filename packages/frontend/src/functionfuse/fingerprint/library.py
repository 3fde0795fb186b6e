"""Objects of libraries that do not describe themselves by what they pickle to, and what describes them instead."""

from __future__ import annotations

import sys
import typing
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from functionfuse.errors import UsageError
from functionfuse.fingerprint.encoding import Unfingerprintable, short
from functionfuse.fingerprint.project import held_by_library, in_project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FunctionType

CACHE = type(lru_cache(len))
"""The type of functions with a cache, which hand their arguments on and look at nothing of what they wrap."""

GENERATED = {
    "__pydantic_core_schema__",  # of the fields and functions of a model, which are described themselves
    "__pydantic_validator__",
    "__pydantic_serializer__",
    "__pydantic_complete__",
    "__pydantic_parent_namespace__",
    "__pydantic_setattr_handlers__",
    "__signature__",
}
"""Attributes of classes that libraries generate, often when the class is used first."""


_HANDLES = frozenset(
    {
        "distributed.actor.Actor",
        "distributed.client.Future",
        "multiprocessing.managers.BaseProxy",
        "multiprocessing.shared_memory.SharedMemory",
        "prefect.futures.PrefectFuture",
        "ray.ObjectRef",
        "ray.actor.ActorHandle",
        "ray.util.client.common.ClientActorHandle",
        "ray.util.client.common.ClientObjectRef",
    }
)


@lru_cache(maxsize=4096)
def is_handle(kind: type) -> bool:
    """Return True for types whose objects name what a running process or cluster has, such as Ray's ObjectRef.

    The names, and what pickling writes, say nothing about the content: the next cluster uses them for other things.
    """
    return any(f"{base.__module__}.{base.__qualname__}" in _HANDLES for base in kind.__mro__)


def stand_in(value: Any) -> Any:
    """Return what is described instead of an object of a library; the object itself for most."""
    kind = type(value)
    describe = _BUILTIN.get(kind)
    if describe is None:
        for base in kind.__mro__[:-1]:
            describe = _BY_NAME.get(f"{base.__module__}.{base.__qualname__}")
            if describe is not None:
                break
    return value if describe is None else describe(value)


def checked_function(function: FunctionType) -> Any:
    """Return the function that beartype checks the arguments of; None for any other.

    The names in the code of such a check are made of addresses in memory.
    """
    is_check = function.__code__.co_filename.startswith("<@beartype(")
    return vars(function).get("__wrapped__") if is_check else None


def named_code(arguments: Any) -> Iterator[object]:
    """Yield the functions and classes of the project that a pickled form names by text.

    Args:
        arguments: what an object is made of when it is loaded.
    """
    texts = [text for text in arguments if type(text) is str] if isinstance(arguments, tuple) else []
    for text in texts:
        module, _, name = text.replace(":", ".").rpartition(".")
        places = [(module, name), *((text, other) for other in texts)]
        for place, attribute in places:
            if place in sys.modules and in_project(place):
                found = getattr(sys.modules[place], attribute, None)
                if callable(found):
                    yield found


def _type_variable(value: Any) -> Any:
    facts = ("__bound__", "__constraints__", "__covariant__", "__contravariant__")
    return type(value).__name__, value.__name__, [getattr(value, fact, None) for fact in facts]


def _new_type(value: Any) -> Any:
    return value.__name__, value.__supertype__


def _random_generator(value: Any) -> Any:
    """Return the place of a generator that a library shares among all; its state changes with every use."""
    return held_by_library(value) or value


def _pydantic_decorator(value: Any) -> Any:
    return value.cls_var_name, value.func, value.shim, value.info  # without the address of the class


def _numba_function(value: Any) -> Any:
    return value.py_func, dict(value.targetoptions)


def _wrapt_wrapper(value: Any) -> Any:
    return value.__wrapped__, value._self_wrapper


def _torch_tensor(value: Any) -> Any:
    tensor = value.detach().cpu()
    if tensor.is_sparse or tensor.is_quantized:
        tensor = tensor.to_dense() if tensor.is_sparse else tensor.dequantize()
    tensor = tensor.contiguous()
    raw = tensor.reshape(-1).view(sys.modules["torch"].uint8).numpy()
    return str(value.dtype), tuple(value.shape), str(value.device), value.requires_grad, raw.tobytes()


def _struct_format(value: Any) -> Any:
    return value.format


def _handle(value: Any) -> Any:
    raise Unfingerprintable(
        f"{short(value)} is a handle to what a running process has; pass the value itself, or a node that makes it"
    )


def _ray_function(remote: Any) -> Any:
    return remote._function


def _dask_delayed(value: Any) -> Any:
    """Return the calls of a delayed object, with numbers for the keys, of which dask makes new ones each time."""
    graph = value.__dask_graph__()
    numbers: dict[Any, int] = {}
    calls: list[Any] = []

    def number_of(key: Any) -> int:
        if key not in numbers:
            numbers[key] = len(numbers)
            calls.append(described(graph[key]))
        return numbers[key]

    def described(task: Any) -> Any:
        if type(task).__name__ in ("TaskRef", "Alias"):
            key = task.key if type(task).__name__ == "TaskRef" else task.target
            return "key", number_of(getattr(key, "key", key))
        if type(task).__name__ == "DataNode":
            return "data", task.value
        if hasattr(task, "func") and hasattr(task, "args"):
            return "call", task.func, [described(arg) for arg in task.args], described(dict(task.kwargs or {}))
        if isinstance(task, list | tuple | set):
            return type(task)(map(described, task))
        if isinstance(task, dict):
            return {key: described(item) for key, item in task.items()}
        return task

    return [number_of(key) for key in value.__dask_keys__()], calls


def _file(file: Any) -> Any:
    try:
        return file.name, file.content()
    except OSError as error:
        raise Unfingerprintable(f"{file!r} cannot be read: {error.strerror}") from None


def _environment_variable(variable: Any) -> Any:
    try:
        return variable.value
    except UsageError as error:
        raise Unfingerprintable(str(error)) from None


_BUILTIN: dict[type, Callable[[Any], Any]] = {typing.TypeVar: _type_variable, typing.NewType: _new_type}
for _name in ("ParamSpec", "TypeVarTuple"):
    if hasattr(typing, _name):
        _BUILTIN[getattr(typing, _name)] = _type_variable
_BY_NAME: dict[str, Callable[[Any], Any]] = {
    "functionfuse.files.File": _file,
    "functionfuse.files.Env": _environment_variable,
    "random.Random": _random_generator,
    "numpy.random.mtrand.RandomState": _random_generator,
    "numpy.random._generator.Generator": _random_generator,
    "_struct.Struct": _struct_format,
    "pydantic._internal._decorators.Decorator": _pydantic_decorator,
    "numba.core.dispatcher.Dispatcher": _numba_function,
    "_wrappers.FunctionWrapper": _wrapt_wrapper,
    "wrapt.wrappers.FunctionWrapper": _wrapt_wrapper,
    "torch.Tensor": _torch_tensor,
    "dask.delayed.Delayed": _dask_delayed,
    "ray.remote_function.RemoteFunction": _ray_function,
    **dict.fromkeys(_HANDLES, _handle),
}
