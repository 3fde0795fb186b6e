"""From a DAG of Ray to a graph of tasks as data. Loops, no recursion: a chain may be of any length."""

from __future__ import annotations

import hashlib
import inspect
import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, Any

import ray
from ray import cloudpickle
from ray.dag import DAGNode, FunctionNode, InputNode
from ray.dag.input_node import DAGInputData

from . import waits
from .code import code_of, code_of_graph
from .options import CARRIER, task_options, workflow_options
from .serialization import deserialize_arguments, serialize_arguments
from .spec import GraphSpec, TaskSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .serialization import SerializedValue
    from .spec import TaskKind

    StoreReferences = Callable[[Sequence[ray.ObjectRef[Any]]], list[str]]

_NO_NAME = re.compile(r"[^\w.\-]")


class CapturedDag:
    """A DAG as data.

    Args:
        dag: the node whose result is wanted.
        keep: stores the values of references, and returns their sha256.
        given: what the InputNode of the DAG stands for; None where there can be none.

    Attributes:
        graph: the tasks.
        functions: by sha256, the pickles of what they call.
        code: what they call.

    Raises:
        TypeError: something in the DAG is no function that was bound, or was bound to arguments that it does not take.
    """

    def __init__(self, dag: DAGNode, keep: StoreReferences, given: DAGInputData | None = None) -> None:
        self.functions: dict[str, bytes] = {}
        self.code: list[object] = []
        self._keep = keep
        self._given = given
        self._known: dict[Any, tuple[str, str]] = {}
        self._names: Counter[str] = Counter()
        self._taken: set[str] = set()
        indexes: dict[DAGNode, int] = {}
        tasks: list[TaskSpec] = []
        nodes = list(nodes_in_order(dag, None if given is None else self._value_of))
        refuse_wrong_arguments(node for node, _ in nodes)  # before anything is stored
        for node, serialized in nodes:
            tasks.append(self._task(node, serialized, indexes))
            indexes[node] = len(indexes)
        self.graph = GraphSpec(tuple(tasks))

    def _value_of(self, node: DAGNode) -> Any:
        """Return what an InputNode, or an item of one, stands for."""
        given = self._given
        assert given is not None
        value = given._args[0] if len(given._args) == 1 and not given._kwargs else given
        if isinstance(node, InputNode):
            return value
        if (
            isinstance(node._key, str)
            and node._accessor_method == "__getattr__"
            and not isinstance(value, DAGInputData)
        ):
            return getattr(value, node._key)
        return value[node._key]

    def _task(self, node: FunctionNode, serialized: SerializedValue, indexes: dict[DAGNode, int]) -> TaskSpec:
        ours = workflow_options(node)
        kind = waits.kind_of(node._body)
        function, code = self._function(node._body, kind)
        self.code += code_of_graph(node)
        return TaskSpec(
            self._name(ours.get("task_id") or _default_name(node._body)),
            kind,
            function,
            serialized.data,
            tuple([indexes[other] for other in serialized.nodes]),
            serialized.direct,
            serialized.inner,
            tuple(self._keep(serialized.references)) if serialized.references else (),
            task_options(node, ours),
            code,
        )

    def _name(self, wanted: str) -> str:
        """Return a name that no other task of the graph has: ``name``, ``name_1`` ..."""
        while True:
            number = self._names[wanted]
            self._names[wanted] += 1
            name = f"{wanted}_{number}" if number else wanted
            if name not in self._taken:
                self._taken.add(name)
                return name

    def _function(self, body: Any, kind: TaskKind) -> tuple[str, str]:
        """Return under which sha256 a function is stored, and the digest of its code."""
        if kind != "task":
            return "", ""
        if body not in self._known:
            pickled = cloudpickle.dumps(body)
            sha = hashlib.sha256(pickled).hexdigest()
            self.functions[sha] = pickled
            self.code.append(body)
            self._known[body] = sha, code_of(body)
        return self._known[body]


def _default_name(body: Any) -> str:
    if waits.kind_of(body) != "task":
        return waits.name_of(body)
    module = getattr(body, "__module__", "__anonymous_module__")
    qualname = getattr(body, "__qualname__", "__anonymous_func__")
    plain = unicodedata.normalize("NFKD", qualname).encode("ascii", "ignore").decode("ascii")
    return f"{module}.{_NO_NAME.sub('', plain)}"


def refuse_wrong_arguments(nodes: Iterable[FunctionNode]) -> None:
    """Refuse nodes whose functions cannot be called with their arguments.

    Raises:
        TypeError: there is one.
    """
    signatures: dict[Any, inspect.Signature | None] = {}
    for node in nodes:
        body = node._body
        if body not in signatures:
            signatures[body] = _signature(body)
        signature = signatures[body]
        if signature is None:
            continue
        try:
            signature.bind(*node._bound_args, **node._bound_kwargs)
        except TypeError as error:
            raise TypeError(f"{_default_name(body)}{signature} is bound to other arguments: {error}") from None


def _signature(body: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(body)
    except (TypeError, ValueError):  # what is compiled may have none
        return None


def nodes_in_order(
    dag: DAGNode, value_of: Callable[[DAGNode], Any] | None = None
) -> Iterator[tuple[FunctionNode, SerializedValue]]:
    """Yield the nodes of a DAG with their arguments, each behind those that it takes.

    Args:
        dag: the last one.
        value_of: what an InputNode, or an item of it, stands for.
    """
    serialized = {dag: _serialized(dag, value_of)}
    stack = [(dag, iter(serialized[dag].nodes))]
    while stack:
        node, arguments = stack[-1]
        for other in arguments:
            if other not in serialized:
                serialized[other] = _serialized(other, value_of)
                stack.append((other, iter(serialized[other].nodes)))
                break
        else:
            stack.pop()
            yield node, serialized[node]


def _serialized(node: DAGNode, value_of: Callable[[DAGNode], Any] | None) -> SerializedValue:
    if not isinstance(node, FunctionNode):
        raise TypeError(f"a workflow is made from functions that are bound, not from {type(node).__name__}: {node}")
    return serialize_arguments(node._bound_args, node._bound_kwargs, value_of)


def execute_plainly(dag: DAGNode) -> ray.ObjectRef[Any]:
    """Let Ray execute a DAG, durable in no way."""
    results: dict[DAGNode, ray.ObjectRef[Any]] = {}
    for node, serialized in nodes_in_order(dag):
        arguments = [results[other] for other in serialized.nodes]
        args, kwargs = deserialize_arguments(serialized.data, arguments, arguments, serialized.references, fetch=False)
        bound = {key: value for key, value in node._bound_options.items() if key != CARRIER}
        results[node] = ray.remote(node._body).options(**bound).remote(*args, **kwargs)
    return results[dag]
