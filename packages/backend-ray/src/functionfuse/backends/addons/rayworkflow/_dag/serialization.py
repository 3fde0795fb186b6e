"""Pickles with gaps: nodes and references stay outside, and are put in when the pickle is read."""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import ray
from ray import cloudpickle
from ray.dag import DAGNode, InputAttributeNode, InputNode

from functionfuse.backends.serialization import Serializer, by_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Reference: TypeAlias = ray.ObjectRef[Any]


SERIALIZER = Serializer(cloudpickle.Pickler)


class ArgumentSlot(NamedTuple):
    """Stands for an argument that is the result of a task, where it is not within a container."""

    node: int


class SerializedValue(NamedTuple):
    """A pickle, and what was left out of it, each in the order of its first appearance.

    Attributes:
        data: the pickle.
        nodes: left out.
        references: left out.
        direct: indexes of nodes that are arguments.
        inner: indexes of nodes that are within containers.
    """

    data: bytes
    nodes: list[DAGNode]
    references: list[Reference]
    direct: frozenset[int] = frozenset()
    inner: frozenset[int] = frozenset()


class _ArgumentPickler(cloudpickle.Pickler):  # type: ignore[misc]  # without types
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
            index = self.index_of(obj)
            self.inner.add(index)
            return "node", index
        return None

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, InputNode | InputAttributeNode):
            if self._value_of is None:
                raise TypeError("a DAG that a task returns cannot have an InputNode: bind values")
            return _same, (self._value_of(obj),)
        return by_name(obj) or super().reducer_override(obj)

    def index_of(self, node: DAGNode) -> int:
        """Return the index of a node among those that are left out."""
        return self.nodes.setdefault(node, len(self.nodes))


def is_task(value: Any) -> bool:
    """Return True if something in the arguments of a task stands for the result of another one."""
    return isinstance(value, DAGNode) and not isinstance(value, InputNode | InputAttributeNode)


def serialize(value: Any) -> SerializedValue:
    """Pickle a value, leaving references out."""
    file = io.BytesIO()
    packer = _ArgumentPickler(file, None)
    packer.dump(value)
    if packer.nodes:
        raise TypeError(
            f"a task returned a container with {next(iter(packer.nodes))} in it; return workflow.continuation(node), "
            "of a node that makes the container"
        )
    return SerializedValue(file.getvalue(), [], list(packer.references))


def serialize_arguments(
    args: Sequence[Any], kwargs: dict[str, Any], value_of: Callable[[DAGNode], Any] | None
) -> SerializedValue:
    """Pickle the arguments of a node, leaving nodes and references out.

    Args:
        args: positional arguments.
        kwargs: keyword arguments.
        value_of: what an InputNode, or an item of it, stands for.
    """
    file = io.BytesIO()
    packer = _ArgumentPickler(file, value_of)
    direct: set[int] = set()

    def argument(value: Any) -> Any:
        if not is_task(value):
            return value
        index = packer.index_of(value)
        direct.add(index)
        return ArgumentSlot(index)

    packer.dump((tuple(map(argument, args)), {key: argument(value) for key, value in kwargs.items()}))
    references = list(packer.references)
    return SerializedValue(file.getvalue(), list(packer.nodes), references, frozenset(direct), frozenset(packer.inner))


class _ArgumentUnpickler(pickle.Unpickler):
    def __init__(self, data: bytes, nodes: Sequence[Any], references: Sequence[Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._outside = {"node": nodes, "reference": references}

    def persistent_load(self, pid: tuple[str, int]) -> Any:
        kind, index = pid
        return self._outside[kind][index]


def deserialize(data: bytes, references: Sequence[Any]) -> Any:
    """Read a pickle, with references put in.

    Args:
        data: the pickle.
        references: those that were left out.
    """
    return _ArgumentUnpickler(data, (), references).load() if references else pickle.loads(data)


def deserialize_arguments(
    data: bytes, values: Sequence[Any], nodes: Sequence[Any], references: Sequence[Any], *, fetch: bool = True
) -> tuple[list[Any], dict[str, Any]]:
    """Read arguments.

    Args:
        data: what `serialize_arguments` made.
        values: the results of nodes, for arguments.
        nodes: what stands for nodes within containers.
        references: what stands for references.
        fetch: replace an argument that is a reference by its value, as Ray does.
    """
    args, kwargs = _ArgumentUnpickler(data, nodes, references).load()

    def argument(value: Any) -> Any:
        if type(value) is ArgumentSlot:
            return values[value.node]
        return ray.get(value) if fetch and isinstance(value, ray.ObjectRef) else value

    return [argument(value) for value in args], {key: argument(value) for key, value in kwargs.items()}


def _same(value: Any) -> Any:
    return value
