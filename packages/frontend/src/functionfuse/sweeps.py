"""Sweeps: one function called with many values of some of its parameters, each node named after them.

::

    runs = sweep(train, data=data, rate=[0.1, 0.2], depth=[3, 4])
    runs[0.1, 3]                                # the node "train[rate=0.1,depth=3]"
    best(runs)                                  # gets a dict of the results by labels
    results = LocalWorkflow(runs, workflow_name="study").run()
    runs.table(results), runs.xarray(results)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, MappingView, Sequence, Set
from importlib import import_module
from itertools import product

from functionfuse._collector import collector_paused
from functionfuse._labels import label_of, labels_of, short_name, texts_of
from functionfuse._suggestions import did_you_mean
from functionfuse._typing import HasResult
from functionfuse.construction import is_decorated
from functionfuse.containers import ATOMS
from functionfuse.errors import OptionError, UnknownNodeError, UsageError
from functionfuse.nodes import BoundMethod, Node
from functionfuse.targets import ClassTarget, FunctionTarget

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable
    from types import FrameType
    from typing import Any, Literal, NoReturn, Self

_ONE = (str, bytes, bytearray, memoryview)  # sequences that are one value


class Fixed:
    """A list that `sweep` passes on as it is, as one value.

    Args:
        value: the list, or any other value.
    """

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Fixed({self.value!r})"


class Sweep(dict["Hashable", Node], HasResult["dict[Any, Any]"]):
    """The nodes of a sweep by labels, in the order in which they were made; it cannot be changed.

    The label of a node is the value of the parameter that varies, or a tuple of these for several. Numbers, texts and
    dates are labels themselves; any other value has a text. As an argument of a decorated function it arrives as a dict
    of the results by labels, and so it is returned by the `run` of a workflow that it is given to.

    Args:
        nodes: pairs of labels and nodes.
        parameters: that vary, in the order that labels have.
        suffixes: of the names of the nodes, by labels.
        is_grid: whether every value of a parameter goes with every one of the others.

    Attributes:
        parameters: that vary, in the order that labels have.
    """

    def __init__(
        self,
        nodes: Iterable[tuple[Any, Node]],
        parameters: Sequence[str],
        suffixes: Mapping[Any, str],
        *,
        is_grid: bool,
    ) -> None:
        super().__init__(nodes)
        self.parameters = tuple(parameters)
        self._suffixes = suffixes
        self._is_grid = is_grid

    def set_name(self, name: str) -> Self:
        """Name the nodes anew, `name[rate=0.1,depth=3]` instead of the function's name, and return the sweep.

        Args:
            name: any non-empty string.

        Raises:
            InvalidNameError: the name is empty or not a string.
        """
        for label, node in self.items():
            node.set_name(name).set_name(f"{name}{self._suffixes[label]}")
        return self

    def sel(self, **labels: Any) -> Any:
        """Return the nodes with some labels: `runs.sel(rate=0.1)`, `runs.sel(rate=[0.1, 0.2], depth=3)`.

        Args:
            labels: by parameter: one label, or a list of some. A parameter with one label is no part of the labels of
                what is returned, as in xarray.

        Returns:
            A sweep; the node itself, if every parameter has one label.

        Raises:
            UsageError: no parameter of this name varies.
            UnknownNodeError: no node has such a label.
        """
        places = {name: place for place, name in enumerate(self.parameters)}
        wanted: dict[int, set[Hashable]] = {}
        for name, given in labels.items():
            if name not in places:
                varied = ", ".join(self.parameters)
                raise UsageError(f"no parameter {name!r} varies, but {varied}{did_you_mean(name, self.parameters)}")
            known = self._labels_of(places[name])
            chosen = [label_of(one, place) for place, one in enumerate(given if isinstance(given, list) else [given])]
            missing = [one for one in chosen if one not in known]
            if missing:
                some = ", ".join(map(repr, list(known)[:10]))
                raise UnknownNodeError(f"no node has {name}={missing[0]!r}; the values are {some}")
            wanted[places[name]] = set(chosen)
        kept = [place for name, place in places.items() if name not in labels or isinstance(labels[name], list)]
        nodes, suffixes = {}, {}
        for label, node in self.items():
            parts = self._parts(label)
            if all(parts[place] in chosen for place, chosen in wanted.items()):
                if not kept:
                    return node
                rest = tuple(parts[place] for place in kept)
                short = rest if len(rest) > 1 else rest[0]
                nodes[short], suffixes[short] = node, self._suffixes[label]
        return Sweep(nodes.items(), [self.parameters[place] for place in kept], suffixes, is_grid=self._is_grid)

    def table(self, results: Mapping[Any, Any] | Sequence[Any]) -> Any:
        """Return results as a DataFrame of pandas, with the labels as its index.

        Args:
            results: by labels, as `run` returns them; or a list in the order of the nodes.

        Returns:
            A column for each key, if every result is a dict; else the column "result".

        Raises:
            OptionError: pandas is not installed.
            UsageError: results that are not those of these nodes.
        """
        pandas, values = _package("pandas", "table"), self._values(results)
        if len(self.parameters) > 1:
            index = pandas.MultiIndex.from_tuples(list(self), names=self.parameters)
        else:
            index = pandas.Index(list(self), name=self.parameters[0])
        if all(isinstance(value, Mapping) for value in values):
            return pandas.DataFrame(list(map(dict, values)), index=index)
        return pandas.DataFrame({"result": values}, index=index)

    def xarray(self, results: Mapping[Any, Any] | Sequence[Any]) -> Any:
        """Return results as an array or data set of xarray, with a dimension for each parameter.

        The nodes of a zipped sweep of several parameters have one dimension, "run".

        Args:
            results: as for `table`.

        Returns:
            A Dataset with a variable for each key, if every result is a dict; else a DataArray. Arrays of one shape
            have their own dimensions behind; arrays and data sets of xarray are put together with theirs.

        Raises:
            OptionError: xarray is not installed.
            UsageError: results that are not those of these nodes.
        """
        xarray, values = _package("xarray", "xarray"), self._values(results)
        if all(isinstance(value, xarray.Dataset | xarray.DataArray) for value in values):
            dims, shape, coords = self._axes()
            nested = _shaped(values, shape).tolist()
            return xarray.combine_nested(nested, concat_dim=list(dims)).assign_coords(coords).transpose(*dims, ...)
        if not all(isinstance(value, Mapping) for value in values):
            return self._array(xarray, values, "dim").rename("result")
        keys = [key for key in dict.fromkeys(key for value in values for key in value) if key not in self.parameters]
        columns = {key: [value.get(key) for value in values] for key in keys}
        return xarray.Dataset({key: self._array(xarray, column, f"{key}_dim") for key, column in columns.items()})

    def _axes(self) -> tuple[tuple[str, ...], list[int], dict[str, Any]]:
        """Return the dimensions of the results in xarray, their sizes, and coordinates."""
        if self._is_grid or len(self.parameters) == 1:
            labels = {name: list(self._labels_of(place)) for place, name in enumerate(self.parameters)}
            return self.parameters, [len(column) for column in labels.values()], labels
        columns = zip(self.parameters, zip(*self, strict=True), strict=True)
        return ("run",), [len(self)], {name: ("run", list(column)) for name, column in columns}

    def _array(self, xarray: Any, values: list[Any], dim: str) -> Any:
        dims, shape, coords = self._axes()
        array = _shaped(values, shape)
        dims += tuple(f"{dim}_{number}" for number in range(array.ndim - len(shape)))
        return xarray.DataArray(array, coords, dims)

    def _labels_of(self, place: int) -> dict[Hashable, None]:
        """Return the labels of one parameter, in their order."""
        return dict.fromkeys(self._parts(label)[place] for label in self)

    def _parts(self, label: Any) -> tuple[Hashable, ...]:
        return label if len(self.parameters) > 1 else (label,)

    def _values(self, results: Any) -> list[Any]:
        if isinstance(results, Mapping):
            missing = [label for label in self if label not in results]
            if not missing:
                return [results[label] for label in self]
            raise UsageError(
                f"there is no result of {missing[0]!r}: give what run() returned for this sweep, a dict by its labels"
            )
        if isinstance(results, list | tuple) and len(results) == len(self):
            return list(results)
        raise UsageError(
            f"results of a sweep are a dict by labels, or a list of {len(self)} in its order, got "
            f"a {type(results).__name__}: LocalWorkflow(runs, ...).run() returns them"
        )

    def _refuse_change(self, *_: object, **__: object) -> NoReturn:
        raise UsageError(f"{self!r} cannot be changed; dict(runs) is a dict that can")

    __setitem__ = __delitem__ = __ior__ = _refuse_change
    clear = pop = popitem = setdefault = update = _refuse_change

    def __copy__(self) -> dict[Any, Node]:
        return dict(self)  # which takes results in the place of nodes

    def __repr__(self) -> str:
        counts = (f"{name}: {len(self._labels_of(place))}" for place, name in enumerate(self.parameters))
        return f"<sweep of {len(self)} nodes over {', '.join(counts)}>"


def sweep(function: Callable[..., Any], how: Literal["grid", "zip"] = "grid", /, **arguments: Any) -> Sweep:
    """Call a decorated function with every combination of the values of some parameters, and name each node after them.

    What is a list is varied; every other argument, a node for example, is passed on to each call. What could be meant
    as either (a tuple, set, range or iterator, or an array of one dimension) is refused: `list(...)` of it is varied,
    and `Fixed(...)` of it, or of a list, is passed on.

    Args:
        function: a decorated function or class, or a method of a stateful object.
        how: "grid" for every combination; "zip" for the first values together, then the second ones, and so on. It is
            given by position, so that parameters may have any name.
        arguments: of the function, by name.

    Returns:
        The nodes by labels.

    Raises:
        UsageError: arguments that do not fit the function, or of which it is not clear whether they vary; nothing that
            varies, lists of different lengths to be zipped, or one combination twice.
        OptionError: an unknown way to combine values.
    """
    if how not in ("grid", "zip"):
        raise OptionError(f"values are combined by 'grid' or 'zip', got {how!r}")
    is_grid = how == "grid"
    _check_decorated(function)
    call = {name: value if type(value) is list else _passed_on(name, value) for name, value in arguments.items()}
    varied = {name: value for name, value in arguments.items() if type(value) is list}
    _check_varied(varied, is_grid=is_grid)
    labels = [labels_of(name, values, is_grid=is_grid) for name, values in varied.items()]
    texts = [texts_of(*column) for column in zip(varied, labels, varied.values(), strict=True)]
    combine: Any = product if is_grid else zip
    with collector_paused():
        nodes = _make(function, call, varied, combine(*varied.values()), sys._getframe(1))
    keys = labels[0] if len(varied) == 1 else list(combine(*labels))
    suffixes = [f"[{','.join(parts)}]" for parts in combine(*texts)]
    _refuse_twice(keys, suffixes)
    prefix = short_name(function)
    for node, suffix in zip(nodes, suffixes, strict=True):
        node._name = prefix + suffix
    by_label = zip(keys, nodes, strict=True)
    return Sweep(by_label, list(varied), dict(zip(keys, suffixes, strict=True)), is_grid=is_grid)


def _make(
    function: Callable[..., Node],
    call: dict[str, Any],
    names: Iterable[str],
    combinations: Iterable[tuple[Any, ...]],
    frame: FrameType,
) -> list[Node]:
    """Call a function with each combination of values.

    Args:
        function: the function.
        call: all arguments, by name.
        names: of those that vary.
        combinations: of their values.
        frame: where the sweep is made.
    """
    nodes = []
    names, code, lasti = tuple(names), frame.f_code, frame.f_lasti
    for values in combinations:
        call.update(zip(names, values))  # noqa: B905  they are as many
        try:
            node = function(**call)
        except UsageError as error:
            if "how" not in call:
                raise
            raise UsageError(f"{error}; sweep takes its own option by position: sweep(function, 'zip', ...)") from None
        node._code, node._lasti = code, lasti
        nodes.append(node)
    return nodes


def _refuse_twice(keys: Sequence[Hashable], suffixes: Sequence[str]) -> None:
    """Refuse two nodes with one label, or with one name."""
    for texts in (keys, suffixes):
        if len(set(texts)) < len(texts):
            known: set[Hashable] = set()
            pairs = zip(texts, suffixes, strict=True)
            twice = next(suffix for text, suffix in pairs if text in known or known.add(text))  # type: ignore[func-returns-value]
            raise UsageError(f"{twice[1:-1]} comes twice; each combination is one node")


def _check_decorated(function: Any) -> None:
    plain = getattr(function, "__func__", function)
    if not isinstance(plain, FunctionTarget | ClassTarget | BoundMethod) and not is_decorated(function):
        raise UsageError(f"sweep makes nodes from a decorated function, got {function!r}: decorate it with @workflow")


def _check_varied(varied: Mapping[str, list[Any]], *, is_grid: bool) -> None:
    if not varied:
        raise UsageError("nothing varies in this sweep: give the values of a parameter in a list, rate=[0.1, 0.2]")
    empty = next((name for name, values in varied.items() if not values), None)
    if empty is not None:
        raise UsageError(f"{empty}=[] has no values to vary; Fixed([]) passes an empty list on")
    if not is_grid and len(set(map(len, varied.values()))) > 1:
        lengths = ", ".join(f"{name} has {len(values)}" for name, values in varied.items())
        raise UsageError(f"zipped parameters have as many values each: {lengths}")


def _passed_on(name: str, value: Any) -> Any:
    """Return what is passed on to each call, unless it could be meant to vary."""
    if isinstance(value, Fixed):
        return value.value
    is_many = isinstance(value, Sequence | Set | MappingView | Iterator) and not isinstance(value, _ONE)
    if is_many or (hasattr(type(value), "ndim") and value.ndim == 1):
        kind = type(value).__name__
        raise UsageError(
            f"{name} is given as {kind!r}, which could be meant to vary or as one value: {name}=list(...) varies it, "
            f"{name}=Fixed(...) passes it on as it is"
        )
    return value


def _shaped(values: list[Any], shape: Iterable[int]) -> Any:
    """Return an array of values in a shape; arrays of one shape among them have their own dimensions behind."""
    numpy = import_module("numpy")
    plain = (numpy.ndarray, numpy.generic, *ATOMS - {type(None)}, list, tuple)
    if all(isinstance(value, plain) for value in values):
        try:
            array = numpy.asarray(values)
        except ValueError:  # of several shapes
            array = None
        if array is not None:
            return array.reshape(*shape, *array.shape[1:])
    array = numpy.empty(len(values), object)
    for place, value in enumerate(values):
        array[place] = value
    return array.reshape(*shape)


def _package(name: str, method: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise OptionError(f"{method}() needs the package {name}, which is not installed: pip install {name}") from error
