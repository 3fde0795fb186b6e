"""Targets: what `file.py:name` and `module:name` name."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse._suggestions import did_you_mean
from functionfuse.errors import FunctionFuseError
from functionfuse.nodes import Item, Node
from functionfuse.sweeps import Sweep

from .exit_codes import REFUSED, USAGE, Failure, failure_of
from .streams import note, prints_to_stderr

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOW = "write file.py:name or module:name, where name is a node, nodes, or a function that returns them"


class Target(NamedTuple):
    """What a target names.

    Attributes:
        name: the last part of the target.
        value: a node, nodes, or a function that returns them.
        folder: where its settings are looked for.
    """

    name: str
    value: Any
    folder: Path

    @property
    def is_function(self) -> bool:
        """Whether it is a function that returns nodes."""
        return callable(self.value) and not _is_node(self.value)


def load_target(text: str) -> Target:
    """Import the module of a target, and return what it names there.

    Raises:
        Failure: there is no such file, module or name; or it cannot be imported, after its traceback was shown.
    """
    place, name = _parts(text)
    with prints_to_stderr():
        module = _imported_file(place) if place.endswith(".py") else _imported_module(place)
    value: Any = module
    for part in (name or "").split("."):
        value = getattr(value, part, None) if part else None
        if value is None:
            raise Failure(USAGE, _unknown(place, name, module))
    file = getattr(module, "__file__", None)
    assert name is not None
    return Target(name.rpartition(".")[2], value, Path(file).resolve().parent if file else Path.cwd())


def nodes_of(target: Target, arguments: Mapping[str, Any]) -> list[Node | Item | Sweep]:
    """Return the nodes of a target.

    Args:
        target: which is called, if it is a function.
        arguments: of the function, by parameter.

    Raises:
        Failure: it raises, after its traceback was shown, or returns no nodes.
    """
    value = _called(target, arguments) if target.is_function else target.value
    if isinstance(value, dict) and not isinstance(value, Sweep):
        value = list(value.values())
    nodes = list(value) if isinstance(value, list | tuple) else [value]
    other = next((one for one in nodes if not _is_node(one)), None)
    if not nodes or other is not None:
        what = "nothing" if not nodes else f"a {type(other).__name__}"
        verb = "returns" if target.is_function else "is, or holds,"
        raise Failure(REFUSED, f"{target.name!r} {verb} {what}, not a node or nodes")
    return nodes


def names_in_source(path: Path) -> dict[str, list[str]]:
    """Return what a target may name in a file, without running it: variables and functions, these with parameters."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return {}
    names: dict[str, list[str]] = {}
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef) and not statement.decorator_list:
            given = statement.args
            names[statement.name] = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        elif isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call | ast.List | ast.Tuple):
            names.update({one.id: [] for one in statement.targets if isinstance(one, ast.Name)})
    return {name: parameters for name, parameters in names.items() if not name.startswith("_") and not name.isupper()}


# -- importing


def _parts(text: str) -> tuple[str, str | None]:
    """Return the file or module of a target, and the name in it."""
    place, _, name = text.rpartition(":")
    if place:
        return place, name.removesuffix("()") or None
    if text.endswith(".py") or importlib.util.find_spec(text.partition(".")[0]) is not None:
        return text, None
    raise Failure(USAGE, f"{text!r} is no target: {_HOW}")


def _imported_file(place: str) -> ModuleType:
    path = Path(place).resolve()
    if not path.is_file():
        near = did_you_mean(path.name, (one.name for one in path.parent.glob("*.py"))) if path.parent.is_dir() else ""
        raise Failure(USAGE, f"there is no file {place}{near}")
    sys.path.insert(0, str(path.parent))  # as for a script
    try:
        spec = importlib.util.find_spec(path.stem) if path.stem.isidentifier() else None
    except ValueError:  # of a module that was made by hand
        spec = None
    if spec is not None and spec.origin is not None and Path(spec.origin).resolve() == path:
        return _imported(path.stem, place)
    return _imported_from(path, place)


def _imported_module(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None and name not in sys.modules:
        raise Failure(USAGE, f"there is no module {name!r} here, nor among the installed ones; {_HOW}")
    return _imported(name, name)


def _imported(name: str, place: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except BaseException as error:
        raise _not_imported(place, error) from None


def _imported_from(path: Path, place: str) -> ModuleType:
    """Import a file that is not found by its name, as that is no identifier, or one of another module."""
    name = f"_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        raise _not_imported(place, error) from None
    return module


def _not_imported(place: str, error: BaseException) -> BaseException:
    if isinstance(error, KeyboardInterrupt):
        return error
    if isinstance(error, SystemExit):
        guard = 'if __name__ == "__main__":'
        return Failure(REFUSED, f"{place} cannot be imported, as it exits then ({error}): guard that with {guard!r}")
    _show_traceback(error)
    return Failure(REFUSED, f"{place} cannot be imported: {type(error).__name__}: {error}", type(error).__name__)


def _called(target: Target, arguments: Mapping[str, Any]) -> Any:
    signature = inspect.signature(target.value)
    positional = [one.name for one in signature.parameters.values() if one.kind is one.POSITIONAL_ONLY]
    args = [arguments[name] for name in positional if name in arguments]
    kwargs = {name: value for name, value in arguments.items() if name not in positional}
    try:
        with prints_to_stderr():
            return target.value(*args, **kwargs)
    except FunctionFuseError as error:
        _show_traceback(error)
        raise Failure(REFUSED, f"{target.name}() built no graph: {error}", failure_of(error).kind) from None
    except Exception as error:
        _show_traceback(error)
        text = f"{type(error).__name__}: {error}"
        raise Failure(REFUSED, f"{target.name}() built no graph: {text}", type(error).__name__) from None


def _show_traceback(error: BaseException) -> None:
    """Show the traceback of an error without frames that are not the user's."""
    import traceback

    found = error.__traceback__
    while found is not None and _is_above(found.tb_frame.f_code.co_filename):
        found = found.tb_next
    note("".join(traceback.format_exception(type(error), error, found)).rstrip())


def _is_above(file: str) -> bool:
    return file.startswith("<frozen importlib") or file == importlib.__file__ or Path(file).parent == _HERE


_HERE = Path(__file__).parent


# -- what is there


def _is_node(value: object) -> bool:
    return isinstance(value, Node | Item | Sweep)


def _unknown(place: str, name: str | None, module: ModuleType) -> str:
    known = _names_of(module)
    listed = f"it has {', '.join(known)}" if known else "it has no node, and no function that could return some"
    if name is None:
        return f"{place!r} is a whole module; {listed}: write {place}:{known[0] if known else 'name'}"
    return f"{place} has no {name!r}{did_you_mean(name, known)}; {listed}"


def _names_of(module: ModuleType) -> list[str]:
    """Return what a target may name in a module: nodes, and plain functions of its own."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (
            _is_node(value)
            or (isinstance(value, list | tuple) and value and all(map(_is_node, value)))
            or (isinstance(value, FunctionType) and value.__module__ == module.__name__)
        )
    ]
