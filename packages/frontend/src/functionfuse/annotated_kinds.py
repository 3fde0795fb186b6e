"""What annotations say of values: of which built-in kinds they may be.

The kinds are numbers, text, bytes, mappings, collections and None. What an annotation does not tell for certain may be
anything: `Any`, `object`, type variables, protocols, abstract and other classes, and text that cannot be resolved. What
is returned has no classes and modules in it, so that these can be collected.
"""

from __future__ import annotations

import ast
import builtins
import typing
from abc import ABCMeta
from collections import ChainMap, abc
from types import FunctionType, NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NUMBER, _TEXT, _BYTES, _MAPPING, _COLLECTION, _NONE, _OTHER = (1 << bit for bit in range(7))
_ALL = (_OTHER << 1) - 1
_BUILTIN: dict[Any, int] = {
    **dict.fromkeys((bool, int, float, complex), _NUMBER),
    **dict.fromkeys((bytes, bytearray, memoryview), _BYTES),
    **dict.fromkeys((list, tuple, set, frozenset), _COLLECTION),
    str: _TEXT,
    dict: _MAPPING,
    NoneType: _NONE,
}
_LISTS = frozenset({list, set, frozenset})
_ABSTRACT_LISTS = frozenset({abc.Iterable, abc.Collection, abc.Sequence, abc.MutableSequence, abc.Set, abc.MutableSet})
_ABSTRACT_DICTS = frozenset({abc.Mapping, abc.MutableMapping})
_DEEPEST = 10  # annotation within annotations; an alias may contain itself


class Kinds(NamedTuple):
    """What an annotation says of a value.

    Attributes:
        mask: the kinds that it may be of, as bits.
        containers: the containers that it may be.
    """

    mask: int
    containers: tuple[Container, ...] = ()


class Container(NamedTuple):
    """What an annotation says of a container.

    Attributes:
        form: "list" for items that are alike, "dict" for values by key, "tuple" for one item after the other, "any" for
            a value whose items are not known.
        mask: the kinds that the container itself may be of.
        items: what it says of the items; one for all that are alike.
    """

    form: Literal["list", "dict", "tuple", "any"]
    mask: int
    items: tuple[Kinds, ...] = ()


ANYTHING = Kinds(_ALL, (Container("any", _ALL),))
"""What nothing is known of."""

_SIMPLE: dict[Any, Kinds] = {
    kind: Kinds(mask) for kind, mask in _BUILTIN.items() if not mask & (_COLLECTION | _MAPPING)
}


def kind_of(value: object) -> int:
    """Return the bit of the kind of a value; 0 for one that is of none."""
    return _BUILTIN.get(type(value), 0)


def kinds_in(annotation: Any, function: FunctionType) -> Kinds:
    """Return what an annotation says; of an odd one, that it may be anything.

    Args:
        annotation: an object, or its text.
        function: that has it, and knows the names in texts.
    """
    try:
        return _kinds_of(annotation, function, 0)
    except Exception:  # whatever is raised by what it refers to
        return ANYTHING


def _kinds_of(annotation: Any, function: FunctionType, depth: int) -> Kinds:
    if type(annotation) is type and annotation in _SIMPLE:
        return _SIMPLE[annotation]
    if depth > _DEEPEST:
        return ANYTHING
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        names = _names_of(function)
        if annotation.isidentifier() and annotation != "None":
            return _kinds_of(names[annotation], function, depth + 1)
        return _kinds_of(_value_of(ast.parse(annotation.strip(), mode="eval").body, names), function, depth + 1)
    if annotation is None:
        return Kinds(_NONE)
    origin = typing.get_origin(annotation) or annotation
    args = typing.get_args(annotation)
    deeper = depth + 1
    if origin is typing.Union or origin is UnionType:
        return union([_kinds_of(one, function, deeper) for one in args])
    if origin is typing.Annotated:
        return _kinds_of(args[0], function, deeper)
    if origin is Literal:
        return union([Kinds(_BUILTIN[type(one)]) if type(one) in _BUILTIN else ANYTHING for one in args])
    if type(origin) is typing.NewType:
        return _kinds_of(origin.__supertype__, function, deeper)
    if type(origin).__name__ == "TypeAliasType":  # of Python 3.12, and of typing_extensions
        return _kinds_of(origin.__value__, function, deeper)
    if type(origin) is not type and type(origin) is not ABCMeta:
        return ANYTHING
    mask = _BUILTIN.get(origin, _ALL)
    if origin is tuple:
        return Kinds(mask, (_tuple_of(args, function, deeper),))
    if origin in _LISTS or (origin in _ABSTRACT_LISTS and args):
        return Kinds(mask, (Container("list", mask, (_kinds_of(args[0], function, deeper) if args else ANYTHING,)),))
    if origin is dict or (origin in _ABSTRACT_DICTS and args):
        return Kinds(mask, (Container("dict", mask, (_kinds_of(args[1], function, deeper) if args else ANYTHING,)),))
    return ANYTHING if mask == _ALL else Kinds(mask)


def _tuple_of(args: Sequence[Any], function: FunctionType, depth: int) -> Container:
    is_unpacked = any(getattr(one, "__unpacked__", False) or typing.get_origin(one) is typing.Unpack for one in args)
    if not args or is_unpacked:
        return Container("list", _COLLECTION, (ANYTHING,))
    if args[-1] is ...:
        return Container("list", _COLLECTION, (_kinds_of(args[0], function, depth),))
    return Container("tuple", _COLLECTION, tuple([_kinds_of(one, function, depth) for one in args]))


def item_of(kinds: Kinds, key: object) -> Kinds:
    """Return what is known of an item of a value.

    Args:
        kinds: what is known of the value.
        key: of the item.
    """
    found = []
    if not kinds.mask & _OTHER:
        found += [Kinds(_TEXT)] if kinds.mask & _TEXT else []
        found += [Kinds(_NUMBER | _BYTES)] if kinds.mask & _BYTES else []
    for container in kinds.containers:
        form, _, items = container
        if form == "any":
            return ANYTHING
        if form == "dict":
            found.append(items[0])
        elif isinstance(key, slice):
            found.append(Kinds(container.mask, (container if form == "list" else ANYTHING.containers[0],)))
        elif form == "list":
            found.append(items[0])
        else:
            found.append(items[key] if type(key) is int and -len(items) <= key < len(items) else ANYTHING)
    return union(found) if found else ANYTHING


def union(several: Sequence[Kinds]) -> Kinds:
    """Return what is known of a value that is one of several."""
    if len(several) < 2:
        return several[0] if several else ANYTHING
    mask = 0
    containers: dict[Container, None] = {}
    for kinds in several:
        mask |= kinds.mask
        containers.update(dict.fromkeys(kinds.containers))
    return Kinds(mask, tuple(containers))


def _names_of(function: FunctionType) -> Mapping[str, Any]:
    """Return what the names in the annotations of a function may refer to."""
    closure = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            closure[name] = cell.cell_contents
        except ValueError:  # a variable that is assigned later
            continue
    variables = {one.__name__: one for one in getattr(function, "__type_params__", ())}
    return ChainMap(variables, closure, function.__globals__, vars(builtins))


def _value_of(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """Return the value of an annotation that is text. Nothing is called for it, as text may be prose.

    Raises:
        Exception: a name that is not known, or something that annotations of types do not have.
    """
    match node:
        case ast.Constant(value):
            return value
        case ast.Name(name):
            return names[name]
        case ast.Attribute(value, name):
            return getattr(_value_of(value, names), name)
        case ast.Tuple(items) | ast.List(items):
            values = [_value_of(item, names) for item in items]
            return tuple(values) if isinstance(node, ast.Tuple) else values
        case ast.BinOp(left, ast.BitOr(), right):
            return typing.Union[_value_of(left, names), _value_of(right, names)]  # noqa: UP007  either may be text
        case ast.UnaryOp(ast.USub(), ast.Constant(int() as number)):
            return -number
        case ast.Subscript(value, index):
            origin = _value_of(value, names)
            if origin is typing.Annotated and isinstance(index, ast.Tuple):
                return _value_of(index.elts[0], names)  # the rest may be anything
            return origin[_value_of(index, names)]
    raise ValueError(f"not the text of a type: {ast.unparse(node)}")
