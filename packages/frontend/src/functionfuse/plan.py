"""Plans: what a run will do, step by step, as data.

A plan holds no nodes and can be pickled: an engine sends its steps where they run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

from functionfuse.containers import ATOMS, Nest, rebuild
from functionfuse.errors import UnknownNodeError
from functionfuse.nodes import Deferred, InstanceNode, Item, Node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from functionfuse.decorator import Target
    from functionfuse.fingerprint import Recipe
    from functionfuse.graph import Graph

Action = Literal["run", "reuse", "blocked"]


class Ref:
    """The place of another step's result, or of an item of it, in the arguments of a step."""

    __slots__ = ("path", "step")

    def __init__(self, step: str, path: tuple[Any, ...] = ()) -> None:
        self.step = step
        self.path = path

    def take(self, value: Any) -> Any:
        """Follow the path of items in the step's result."""
        for key in self.path:
            value = value[key]
        return value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and (self.step, self.path) == (other.step, other.path)

    def __hash__(self) -> int:
        return hash((self.step, repr(self.path)))  # a slice in a path has no hash of its own

    def __repr__(self) -> str:
        return f"Ref({self.step!r})" + "".join(f"[{key!r}]" for key in self.path)


class Step(NamedTuple):
    """One call, ready to be made once the steps that it needs are done.

    Attributes:
        name: unique in its plan.
        target: what is called.
        args: positional arguments; a Ref, or a Nest with Refs inside, stands where a result goes.
        kwargs: keyword arguments, likewise.
        needs: names of the steps whose results the call takes, its object among them.
        after: names of steps to be done before, for the sake of an object's state.
        instance: for a constructor or method the step that made the object, else None.
        action: "run", "reuse" (the stored result stands), or "blocked" (this backend cannot run it).
        reason: why.
        recipe: the fingerprint of all that makes the result, or None: not known, or not asked for.
        options: what queries set for this step.
    """

    name: str
    target: Target
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    needs: Sequence[str]
    after: Sequence[str]
    instance: str | None = None
    action: Action = "run"
    reason: str = "no store is set"
    recipe: Recipe | None = None
    options: Mapping[str, Any] = {}

    def arguments(self, value_of: Callable[[Ref], Any]) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """Return the arguments with every Ref replaced by ``value_of(ref)``.

        This is the one place where arguments are put together, for every engine.
        """
        if not self.needs:
            return self.args, self.kwargs
        args = tuple([value_of(v) if type(v) is Ref else fill(v, value_of) for v in self.args])
        kwargs = {key: fill(value, value_of) for key, value in self.kwargs.items()} if self.kwargs else self.kwargs
        return args, kwargs


def fill(value: Any, value_of: Callable[[Ref], Any]) -> Any:
    """Replace the Refs in one argument, or in what a dynamic node returned."""
    if type(value) is Ref:
        return value_of(value)
    if type(value) is Nest:
        return rebuild(value.value, lambda item: value_of(item) if type(item) is Ref else item)
    return value


class Plan(Sequence[Step]):
    """The steps of a run in the order of their execution; also found by name: ``plan["node1"]``.

    ``print(plan)`` shows a table of names, actions and reasons.
    """

    def __init__(self, steps: Iterable[Step], *, workflow_name: str = "") -> None:
        self.workflow_name = workflow_name
        self.steps = tuple(steps)
        self._by_name: dict[str, Step] = {}

    def __len__(self) -> int:
        return len(self.steps)

    @overload
    def __getitem__(self, key: int | str) -> Step: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[Step, ...]: ...
    def __getitem__(self, key: int | str | slice) -> Step | tuple[Step, ...]:
        if not isinstance(key, str):
            return self.steps[key]
        try:
            return self.by_name[key]
        except KeyError:
            raise UnknownNodeError(f"no step is named {key!r}") from None

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __contains__(self, item: object) -> bool:
        return item in self.by_name if isinstance(item, str) else item in self.steps

    @property
    def by_name(self) -> Mapping[str, Step]:
        """Name to step."""
        if len(self._by_name) != len(self.steps):
            self._by_name = {step.name: step for step in self.steps}
        return self._by_name

    def having(self, action: Action) -> list[str]:
        """Names of the steps with this action."""
        return [step.name for step in self.steps if step.action == action]

    def __str__(self) -> str:
        counts = ", ".join(f"{len(self.having(a))} {a}" for a in ("run", "reuse", "blocked") if self.having(a))
        width = max((len(step.name) for step in self.steps), default=0)
        lines = [f"{step.action:7} {step.name:{width}}  {step.reason}" for step in self.steps]
        return "\n".join([f"plan of {self.workflow_name!r}: {counts or 'nothing to do'}", *lines])

    def __repr__(self) -> str:
        return f"<plan of {self.workflow_name!r} with {len(self.steps)} steps>"


def steps_of(graph: Graph) -> list[Step]:
    """Turn nodes into steps: names and Refs in the place of nodes."""
    names = graph.names
    refs = {node: Ref(name) for name, node in graph.nodes.items()}
    steps = []
    for name, node in graph.nodes.items():
        args, kwargs, needs = node._args, node._kwargs, graph.needs(node)
        if needs:
            args = tuple([v if type(v) in ATOMS else _with_refs(v, node, graph, refs) for v in args])
            if kwargs:
                kwargs = {key: _with_refs(value, node, graph, refs) for key, value in kwargs.items()}
        needed = tuple([names[parent] for parent in needs])
        after = tuple([names[earlier] for earlier in node._after]) if node._after else ()
        instance = None
        if node._instance is not None:
            instance = names[node._instance]
            needed = tuple(dict.fromkeys((*needed, instance)))
        elif type(node) is InstanceNode:
            instance = name
        steps.append(Step(name, graph.target(node), args, kwargs, needed, after, instance))
    return steps


def refs_in(value: Any, graph: Graph) -> Any:
    """Return what a dynamic node returned, with Refs in the place of nodes; for :func:`fill`."""
    refs = {node: Ref(name) for name, node in graph.nodes.items()}
    if isinstance(value, Deferred):
        return _ref(value, None, graph, refs)
    return Nest(rebuild(value, lambda item: _ref(item, None, graph, refs) if isinstance(item, Deferred) else item))


def _with_refs(value: Any, consumer: Node, graph: Graph, refs: Mapping[Node, Ref]) -> Any:
    if type(value) is Node and not graph.edited:
        return refs[value]
    if isinstance(value, Deferred):
        return _ref(value, consumer, graph, refs)
    if type(value) is Nest:
        return Nest(
            rebuild(
                value.value,
                lambda item: _ref(item, consumer, graph, refs) if isinstance(item, Deferred) else item,
            )
        )
    return value


def _ref(value: Deferred, consumer: Node | None, graph: Graph, refs: Mapping[Node, Ref]) -> Ref:
    if isinstance(value, Item):
        return Ref(refs[graph.source(consumer, value._node)].step, value._path)
    assert isinstance(value, Node)
    return refs[graph.source(consumer, value)]
