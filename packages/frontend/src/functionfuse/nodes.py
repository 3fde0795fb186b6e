"""Nodes: what was called, and with which arguments.

A node is created by calling a decorated function or class. It is immutable but for its name, and knows
nothing of runs: the same node can run twice, on two engines, at the same time.
"""

from __future__ import annotations

import sys
from itertools import count
from operator import attrgetter, is_
from types import FunctionType

from functionfuse._typing import Any, Generic, R
from functionfuse.containers import ATOMS, CONTAINERS, Nest, rebuild
from functionfuse.deferred import Deferred
from functionfuse.errors import InvalidNameError, NodeAttributeError, UsageError
from functionfuse.hidden import refuse_hidden

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import CodeType, FrameType
    from typing import ClassVar, Literal, NoReturn, Self, SupportsIndex, TypeVar, overload

    from functionfuse.targets import ClassTarget, Method, Target

serials = count()
"""Numbers of nodes in order of creation, which is the order of the user's program."""

_NO_ARGUMENTS: dict[str, object] = {}
_FEW = 10  # arguments that are nodes; more are collected in a list


if TYPE_CHECKING:
    T = TypeVar("T")

    class _ItemOf(Generic[R]):
        """How checkers find the type of ``node[key]``, where `R` is that of the node's result."""

        @overload
        def __call__(self: _ItemOf[tuple[T, *tuple[Any, ...]]], key: Literal[0], /) -> Item[T]: ...
        @overload
        def __call__(self: _ItemOf[tuple[Any, T, *tuple[Any, ...]]], key: Literal[1], /) -> Item[T]: ...
        @overload
        def __call__(self: _ItemOf[tuple[Any, Any, T, *tuple[Any, ...]]], key: Literal[2], /) -> Item[T]: ...
        @overload
        def __call__(self: _ItemOf[tuple[Any, Any, Any, T, *tuple[Any, ...]]], key: Literal[3], /) -> Item[T]: ...
        @overload
        def __call__(self: _ItemOf[Mapping[Any, T]], key: object, /) -> Item[T]: ...
        @overload
        def __call__(self: _ItemOf[list[T]], key: slice, /) -> Item[list[T]]: ...
        @overload
        def __call__(self: _ItemOf[Sequence[T]], key: slice, /) -> Item[Sequence[T]]: ...
        @overload
        def __call__(self: _ItemOf[Sequence[T]], key: SupportsIndex, /) -> Item[T]: ...
        @overload
        def __call__(self, key: object, /) -> Item[Any]: ...
        def __call__(self, key: object, /) -> Item[Any]:
            raise NotImplementedError


class Item(Deferred[R], Any):  # type: ignore[misc]  # it goes wherever a value goes
    """The item of a node's result, or an item of that: ``node[i]``, ``node["k"][2]``."""

    __slots__ = ("_node", "_path")

    def __init__(self, node: Node, path: tuple[object, ...]) -> None:
        self._node = node
        self._path = path

    if TYPE_CHECKING:
        set_name: ClassVar[None]

        @property
        def __getitem__(self) -> _ItemOf[R]: ...
    else:

        def __getitem__(self, key: object) -> Item:
            return Item(self._node, (*self._path, _item_key(key)))

        def set_name(self, name: str) -> NoReturn:
            """Refuse a name, because an item is not a node.

            Raises:
                UsageError: always.
            """
            raise UsageError(
                f"{self!r} is an item of a result and cannot be named {name!r}; name the node, "
                "or return the item from a decorated function of its own"
            )

    def __repr__(self) -> str:
        return repr(self._node) + "".join(f"[{key!r}]" for key in self._path)


class Node(Deferred[R], Any):  # type: ignore[misc]  # it goes wherever a value goes
    """One call of a decorated function, or of a method of a decorated class."""

    _path: ClassVar[tuple[object, ...]] = ()  # of an item; a node is the whole result

    __slots__ = (
        "_after",
        "_args",
        "_children",
        "_code",
        "_instance",
        "_kwargs",
        "_lasti",
        "_name",
        "_needs",
        "_serial",
        "_target",
    )

    def __init__(
        self,
        target: Target,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        frame: FrameType,
        instance: InstanceNode | None = None,
    ) -> None:
        needs: tuple[Node, ...] = ()
        for value in args:
            if type(value) is Node and len(needs) < _FEW:
                needs += (value,)
            elif type(value) not in ATOMS:
                args, needs = _capture(args)
                break
        if kwargs:
            values, more = _capture(tuple(kwargs.values()))
            kwargs = dict(zip(kwargs, values, strict=True))
            needs += more
        else:
            kwargs = _NO_ARGUMENTS
        if len(needs) > 1:
            needs = tuple(dict.fromkeys(needs))
            if len(needs) == len(args) and all(map(is_, needs, args)):
                needs = args  # type: ignore[assignment]  # they are the same nodes: one tuple is enough
        if needs and (edges := target.check.edges) is not False:
            (edges or _check_first_edges)(target, args, kwargs)
        self._target = target
        self._args = args
        self._kwargs = kwargs
        self._needs: Sequence[Node] = needs  # whose results the arguments hold
        self._after: Sequence[Node] = ()  # who has to be done before, for the sake of an object's state
        self._instance = instance
        self._children: Sequence[Node] = ()
        self._name: str | None = None
        self._serial = next(serials)
        self._code: CodeType = frame.f_code
        self._lasti = frame.f_lasti
        for parent in needs:
            if parent._children:
                parent._children.append(self)  # type: ignore[attr-defined]
            else:  # most nodes have no children for long, or few: no list before there is one
                parent._children = [self]
            if type(parent) is InstanceNode:
                parent._read_by(self)
        if instance is not None:
            instance._changed_by(self)

    def set_name(self, name: str) -> Self:
        """Give the node a name, unique in its graph, and return the node.

        Args:
            name: any non-empty string.

        Raises:
            InvalidNameError: the name is empty or not a string.
        """
        if not isinstance(name, str) or not name:
            raise InvalidNameError(f"a name must be a non-empty string, got {name!r} for {self!r}")
        self._name = name
        return self

    def get_name(self) -> str | None:
        """Return the name given with `set_name`, or None; a graph gives unnamed nodes a name of their own."""
        return self._name

    if TYPE_CHECKING:

        @property
        def __getitem__(self) -> _ItemOf[R]: ...
    else:

        def __getitem__(self, key: object) -> Item:
            return Item(self, (_item_key(key),))

    def __repr__(self) -> str:
        name = "" if self._name is None else f" {self._name!r}"
        return f"<node{name} of {self._target.qualname}>"


class InstanceNode(Node):
    """One stateful object of a decorated class; calling its methods makes nodes that run in program order."""

    __slots__ = ("_last_change", "_readers")

    _target: ClassTarget

    def __init__(
        self, target: ClassTarget, args: tuple[object, ...], kwargs: Mapping[str, object], frame: FrameType
    ) -> None:
        self._last_change: Node = self
        self._readers: list[Node] = []  # nodes that take the object as an argument since its last change
        super().__init__(target, args, kwargs, frame)

    def __getattr__(self, name: str) -> BoundMethod:
        if name in Node.__slots__:  # a half-made node in a debugger
            raise AttributeError(name)
        method = self._target.methods.get(name)
        if method is None:
            known = ", ".join(sorted(n for n in self._target.methods if not n.startswith("_"))) or "none"
            raise NodeAttributeError(
                f"{self._target.qualname} has no method {name!r} (methods: {known}); the attributes of a stateful "
                "object exist only while the workflow runs: add a method that returns the attribute"
            )
        return BoundMethod(self, method)

    def __call__(self, /, *args: object, **kwargs: object) -> Node:
        return self.__getattr__("__call__").at(sys._getframe(1), args, kwargs)

    def __getitem__(self, key: object) -> NoReturn:  # type: ignore[override]
        raise UsageError(
            f"{self!r} is a stateful object, not a result; call one of its methods, and take [{key!r}] of that"
        )

    def _read_by(self, reader: Node) -> None:
        """Order a node that takes the object as an argument after the last change and before the next."""
        if self._last_change is not self:
            _order(self._last_change, reader)
        self._readers.append(reader)

    def _changed_by(self, method: Node) -> None:
        """Order a call of a method after the last change and all nodes that took the object since."""
        for earlier in self._readers or [self._last_change]:
            if earlier is not method:
                _order(earlier, method)
        self._last_change = method
        self._readers = []


class BoundMethod:
    """A method of an instance node; calling it makes a node."""

    __slots__ = ("_instance", "_method")

    def __init__(self, instance: InstanceNode, method: Method) -> None:
        self._instance = instance
        self._method = method

    def __call__(self, /, *args: object, **kwargs: object) -> Node:
        return self.at(sys._getframe(1), args, kwargs)

    def at(self, frame: FrameType, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Node:
        """Make the node of a call.

        Args:
            frame: where the call is made.
            args: positional arguments.
            kwargs: keyword arguments.

        Raises:
            UsageError: the arguments do not fit the method's signature.
        """
        self._method.check(args, kwargs)
        return Node(self._method, args, kwargs, frame, self._instance)

    def __repr__(self) -> str:
        return f"<method {self._method.qualname} of {self._instance!r}>"


def call_site(node: Node) -> str:
    """Return where in the user's program a node was created, as ``file:line``."""
    for start, end, line in node._code.co_lines():
        if start <= node._lasti < end and line is not None:
            return f"{node._code.co_filename}:{line}"
    return node._code.co_filename


def _check_first_edges(target: Target, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
    """Read what the annotations of a target's parameters say, and check the nodes among its arguments by them."""
    check = target.check
    if not _is_annotated(check.function):
        check.edges = False
        return
    from functionfuse.edge_check import edge_check_of  # which many programs do not need

    edges = edge_check_of(check, Node)
    check.edges = False if edges is None else edges.check
    if check.edges:
        check.edges(target, args, kwargs)


def _is_annotated(function: object) -> bool:
    try:
        return type(function) is FunctionType and bool(function.__annotations__)
    except Exception:  # of Python 3.14, which evaluates annotations here
        return True


def _item_key(key: object) -> object:
    if isinstance(key, Deferred):
        raise UsageError(
            f"{key!r} cannot be an index, because its value is not known yet; index in a decorated function"
        )
    return key


def _order(earlier: Node, later: Node) -> None:
    if later._after:
        later._after.append(earlier)  # type: ignore[attr-defined]
    else:
        later._after = [earlier]
    if earlier._children:
        earlier._children.append(later)  # type: ignore[attr-defined]
    else:
        earlier._children = [later]


def _capture(values: tuple[object, ...]) -> tuple[tuple[object, ...], tuple[Node, ...]]:
    """Copy the containers among arguments, and find the nodes in them, in order of creation."""
    needs: list[Node] = []

    def leaf(item: object) -> object:
        if isinstance(item, Node):
            needs.append(item)
        elif isinstance(item, Item):
            needs.append(item._node)
        elif type(item) not in ATOMS:
            refuse_hidden(item)
        return item

    captured = []
    for value in values:
        before = len(needs)
        copied = rebuild(value, leaf)
        holds_nodes = len(needs) > before and isinstance(value, CONTAINERS)
        captured.append(Nest(copied) if holds_nodes else copied)
    needs.sort(key=attrgetter("_serial"))  # a set has no order of its own
    return tuple(captured), tuple(needs)
