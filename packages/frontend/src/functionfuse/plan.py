"""Plans: what a run will do, step by step, as data.

A plan holds no nodes and can be pickled: an engine sends its steps where they run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

from functionfuse.backends.options import NO_OPTIONS, StepOptions
from functionfuse.containers import ATOMS, Nest, rebuild
from functionfuse.deferred import Deferred
from functionfuse.errors import UnknownNodeError
from functionfuse.nodes import InstanceNode, Item, Node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from functionfuse.graph import Graph
    from functionfuse.targets import Target

_NO_STORE = "no store is set"

Action = Literal["run", "check", "reuse", "verify", "blocked"]
TO_RUN: frozenset[Action] = frozenset({"run", "check", "verify"})
"""Actions of steps whose calls the engine has to make, as far as the plan knows."""


class Ref:
    """A reference to another step's result, or to an item of it, in the arguments of a step.

    Args:
        step: the other step's name.
        path: the keys of the item, from the outermost.
    """

    __slots__ = ("path", "step")

    def __init__(self, step: str, path: tuple[Any, ...] = ()) -> None:
        self.step = step
        self.path = path

    def __reduce__(self) -> tuple[type[Ref], tuple[Any, ...]]:  # slots alone take three times as long to pickle
        return Ref, (self.step, self.path) if self.path else (self.step,)

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
        return f"Ref({self.step!r}){self.items}"

    @property
    def items(self) -> str:
        """The path as a user writes it: ``['k'][2]``."""
        return "".join(f"[{key!r}]" for key in self.path)


class Recipe(NamedTuple):
    """The fingerprint of all that makes a step's result.

    Attributes:
        digest: equal for equal recipes, in hexadecimal.
        parts: digests of "function", "arguments" (the literal ones), "inputs" (results of other steps),
            "object" (the state of the stateful object whose method it is), "plugin" and "version", as far as the
            step has them.
    """

    digest: str
    parts: Mapping[str, str]

    def as_dict(self) -> dict[str, str]:
        """Return what a store keeps."""
        return {"digest": self.digest, **self.parts}


class Step(NamedTuple):
    """One call, ready to be made once the steps that it needs are done.

    Attributes:
        name: unique in its plan.
        target: what is called.
        args: positional arguments; a `Ref`, or a `Nest` that holds some, stands for a result.
        kwargs: keyword arguments, likewise.
        needs: names of the steps whose results the call takes, its stateful object among them.
        after: names of steps to be done before, because of the state of a stateful object.
        instance: for a constructor or method the step that made the stateful object, otherwise None.
        action: "run"; "check" (it runs, unless its inputs turn out as they were before); "reuse" (the stored result
            stands); "verify" (it stands, too, and is made again to be compared); or "blocked" (this backend cannot run
            it).
        reason: why: "no result yet", "argument lr: 0.1 -> 0.2", "input 'split' will run (and 2 more)" ...
        recipe: the fingerprint of all that makes the result; None if it is not known or not needed.
        options: what queries set for this step.
        resumes: by stateful object: the reused step whose stored state of it this step takes.
        is_tolerated: whether a run goes on when this step fails, whatever its `on_error`.
    """

    name: str
    target: Target
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    needs: Sequence[str]
    after: Sequence[str]
    instance: str | None = None
    action: Action = "run"
    reason: str = _NO_STORE
    recipe: Recipe | None = None
    options: StepOptions = NO_OPTIONS
    resumes: Mapping[str, str] = {}
    is_tolerated: bool = False

    @property
    def may_run(self) -> bool:
        """Whether the engine has to make the call, as far as the plan knows."""
        return self.action in TO_RUN

    def arguments(self, value_of: Callable[[Ref], Any]) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """Return the arguments with every Ref replaced by ``value_of(ref)``.

        Every engine puts arguments together with this method.
        """
        if not self.needs:
            return self.args, self.kwargs
        args = tuple([value_of(v) if type(v) is Ref else fill(v, value_of) for v in self.args])
        kwargs = {key: fill(value, value_of) for key, value in self.kwargs.items()} if self.kwargs else self.kwargs
        return args, kwargs


def fill(value: Any, value_of: Callable[[Ref], Any]) -> Any:
    """Replace the Refs in one argument, or in what a dynamic node returned.

    Args:
        value: a `Ref`, a `Nest` that holds some, or any other value, which is returned as it is.
        value_of: called with each `Ref`; returns what replaces it.
    """
    if type(value) is Ref:
        return value_of(value)
    if type(value) is Nest:
        return rebuild(value.value, lambda item: value_of(item) if type(item) is Ref else item)
    return value


def refs_within(value: Any) -> list[Ref]:
    """Return the Refs in one argument, or in what a dynamic node returned."""
    refs: list[Ref] = []
    fill(value, refs.append)
    return refs


class Plan(Sequence[Step]):
    """The steps of a run in the order of their execution; also found by name: ``plan["node1"]``.

    ``print(plan)`` shows a table of names, actions and reasons, and so do notebooks.

    Args:
        steps: in the order of their execution.
        workflow_name: for the table.
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
        """The steps by name."""
        if len(self._by_name) != len(self.steps):
            self._by_name = {step.name: step for step in self.steps}
        return self._by_name

    def having(self, action: Action) -> list[str]:
        """Return the names of the steps with this action."""
        return [step.name for step in self.steps if step.action == action]

    def __str__(self) -> str:
        width = max((len(step.name) for step in self.steps), default=0)
        lines = [f"{step.action:7} {step.name:{width}}  {step.reason}{_needs_of(step)}" for step in self.steps]
        return "\n".join([self._title(), *lines])

    def __repr__(self) -> str:
        return f"<plan of {self.workflow_name!r} with {len(self.steps)} steps>"

    def _repr_html_(self) -> str:
        from functionfuse._tables import SHOWN, Table  # which notebooks need

        rows = [(step.name, step.action, f"{step.reason}{_needs_of(step)}") for step in self.steps[:SHOWN]]
        left_out = len(self.steps) - len(rows)
        return Table(self._title(), ("step", "action", "reason"), rows, frozenset(), left_out).html()

    def _title(self) -> str:
        counts = ", ".join(
            f"{len(self.having(a))} {a}" for a in ("run", "check", "reuse", "verify", "blocked") if self.having(a)
        )
        return f"plan of {self.workflow_name!r}: {counts or 'nothing to do'}"


def _needs_of(step: Step) -> str:
    """Return the resources that a step needs, for the table of a plan."""
    needs = step.options.needs
    return f" [{', '.join(f'{name}: {need}' for name, need in needs.items())}]" if needs else ""


def steps_of(graph: Graph, options_of: Callable[[str], StepOptions] | None = None) -> list[Step]:
    """Return the steps of a graph, with names and Refs instead of nodes.

    Args:
        graph: the graph.
        options_of: returns the options of the step with a name; without it no step has options.
    """
    refs = {node: Ref(name) for name, node in graph.nodes.items()}
    ref = partial(_ref, refs)
    steps = []
    for name, node in graph.nodes.items():
        args, kwargs, needs = node._args, node._kwargs, node._needs
        needed: tuple[str, ...] = ()
        if needs:
            args = tuple([v if type(v) in ATOMS else _with_refs(v, ref) for v in args])
            if kwargs:
                kwargs = {key: _with_refs(value, ref) for key, value in kwargs.items()}
            needed = tuple([refs[parent].step for parent in needs])
        after = tuple([refs[earlier].step for earlier in node._after]) if node._after else ()
        instance = None
        if node._instance is not None:
            instance = refs[node._instance].step
            needed = tuple(dict.fromkeys((*needed, instance)))
        elif type(node) is InstanceNode:
            instance = name
        options = NO_OPTIONS if options_of is None else options_of(name)
        steps.append(Step(name, node._target, args, kwargs, needed, after, instance, "run", _NO_STORE, None, options))
    return steps


def refs_in(value: Any, graph: Graph) -> Any:
    """Replace the nodes in what a dynamic node returned by Refs, which `fill` replaces by values.

    Args:
        value: a node, an item of one, or a container that holds some.
        graph: the graph of these nodes.
    """
    if isinstance(value, Node | Item):
        return ref_of(value, graph)
    return Nest(rebuild(value, lambda item: ref_of(item, graph) if isinstance(item, Node | Item) else item))


def ref_of(node: Node | Item, graph: Graph) -> Ref:
    """Return the Ref to a node of a graph, or to an item of it.

    Args:
        node: the node or item.
        graph: the graph that the node belongs to.

    Raises:
        UnknownNodeError: the node belongs to another graph.
    """
    if isinstance(node, Item):
        return Ref(graph.name_of(node._node), node._path)
    return Ref(graph.name_of(node))


def _with_refs(value: Any, ref: Callable[[Any], Ref]) -> Any:
    if isinstance(value, Deferred):
        return ref(value)
    if type(value) is Nest:
        return Nest(rebuild(value.value, lambda item: ref(item) if isinstance(item, Deferred) else item))
    return value


def _ref(refs: Mapping[Node, Ref], value: Node | Item) -> Ref:
    return Ref(refs[value._node].step, value._path) if isinstance(value, Item) else refs[value]
