"""Pickles with gaps: nodes and references stay outside, and are put in when the pickle is read."""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import ray
from ray import cloudpickle
from ray.dag import DAGNode, InputAttributeNode, InputNode

from functionfuse.backends.calls import RemoteError, traceback_text
from functionfuse.decorator import reduce_class

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Reference: TypeAlias = ray.ObjectRef[Any]


class Slot(NamedTuple):
    """Stands for an argument that is the result of a task, where it is not within a container."""

    place: int


class Packed(NamedTuple):
    """A pickle, and what was left out of it, each in the order of its first appearance.

    Attributes:
        data: the pickle.
        nodes: left out.
        references: left out.
        direct: places of nodes that are arguments.
        inner: places of nodes that are within containers.
    """

    data: bytes
    nodes: list[DAGNode]
    references: list[Reference]
    direct: frozenset[int] = frozenset()
    inner: frozenset[int] = frozenset()


class _Packer(cloudpickle.Pickler):  # type: ignore[misc]  # without types
    def __init__(self, file: io.BytesIO, value_of: Callable[[DAGNode], Any] | None) -> None:
        super().__init__(file, protocol=5)
        self.nodes: dict[DAGNode, int] = {}
        self.references: dict[Reference, int] = {}
        self.inner: set[int] = set()
        self._value_of = value_of

    def persistent_id(self, obj: Any) -> tuple[str, int] | None:
        if isinstance(obj, ray.ObjectRef):
            return "reference", self.references.setdefault(obj, len(self.references))
        if is_task(obj):
            place = self.place_of(obj)
            self.inner.add(place)
            return "node", place
        return None

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, InputNode | InputAttributeNode):
            if self._value_of is None:
                raise TypeError("a DAG that a task returns cannot have an InputNode: bind values")
            return _same, (self._value_of(obj),)
        return reduce_class(obj) or super().reducer_override(obj)

    def place_of(self, node: DAGNode) -> int:
        """Return the place of a node among those that are left out."""
        return self.nodes.setdefault(node, len(self.nodes))


def is_task(value: Any) -> bool:
    """Whether something in the arguments of a task stands for the result of another one."""
    return isinstance(value, DAGNode) and not isinstance(value, InputNode | InputAttributeNode)


def pack(value: Any) -> Packed:
    """Pickle a value, leaving references out."""
    file = io.BytesIO()
    packer = _Packer(file, None)
    packer.dump(value)
    if packer.nodes:
        raise TypeError(
            f"a task returned a container with {next(iter(packer.nodes))} in it; return workflow.continuation(node), "
            "of a node that makes the container"
        )
    return Packed(file.getvalue(), [], list(packer.references))


def pack_arguments(args: Sequence[Any], kwargs: dict[str, Any], value_of: Callable[[DAGNode], Any] | None) -> Packed:
    """Pickle the arguments of a node, leaving nodes and references out.

    Args:
        args: positional arguments.
        kwargs: keyword arguments.
        value_of: what an InputNode, or an item of it, stands for.
    """
    file = io.BytesIO()
    packer = _Packer(file, value_of)
    direct: set[int] = set()

    def argument(value: Any) -> Any:
        if not is_task(value):
            return value
        place = packer.place_of(value)
        direct.add(place)
        return Slot(place)

    packer.dump((tuple(map(argument, args)), {key: argument(value) for key, value in kwargs.items()}))
    references = list(packer.references)
    return Packed(file.getvalue(), list(packer.nodes), references, frozenset(direct), frozenset(packer.inner))


class _Unpacker(pickle.Unpickler):
    def __init__(self, data: bytes, nodes: Sequence[Any], references: Sequence[Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._outside = {"node": nodes, "reference": references}

    def persistent_load(self, pid: tuple[str, int]) -> Any:
        kind, place = pid
        return self._outside[kind][place]


def unpack(data: bytes, references: Sequence[Any]) -> Any:
    """Read a pickle, with references put in."""
    return _Unpacker(data, (), references).load() if references else pickle.loads(data)


def unpack_arguments(
    data: bytes, values: Sequence[Any], nodes: Sequence[Any], references: Sequence[Any], *, fetch: bool = True
) -> tuple[list[Any], dict[str, Any]]:
    """Read arguments.

    Args:
        data: what :func:`pack_arguments` made.
        values: the results of nodes, for arguments.
        nodes: what stands for nodes within containers.
        references: what stands for references.
        fetch: replace an argument that is a reference by its value, as Ray does.
    """
    args, kwargs = _Unpacker(data, nodes, references).load()

    def argument(value: Any) -> Any:
        if type(value) is Slot:
            return values[value.place]
        return ray.get(value) if fetch and isinstance(value, ray.ObjectRef) else value

    return [argument(value) for value in args], {key: argument(value) for key, value in kwargs.items()}


def pack_error(error: BaseException) -> bytes:
    """Pickle an exception with its traceback as text; one that cannot travel is replaced by its description."""
    text = traceback_text(error)
    try:
        packed: bytes = cloudpickle.dumps((error, text))
        pickle.loads(packed)  # some exceptions can be pickled but not unpickled
    except Exception:
        packed = cloudpickle.dumps((RemoteError(f"{type(error).__qualname__}: {error}"), text))
    return packed


def unpack_error(packed: bytes) -> BaseException:
    """Return an exception, with its traceback as a note; where its class is unknown, another one."""
    try:
        error: BaseException
        error, text = pickle.loads(packed)
    except Exception as problem:
        return RemoteError(f"an exception that cannot be unpickled here: {problem}")
    error.add_note(f"in the worker:\n{text}")
    return error


def _same(value: Any) -> Any:
    return value
