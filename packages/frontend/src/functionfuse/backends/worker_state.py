"""What a worker takes over from the driver before it makes calls: surroundings, code, and values of modules."""

from __future__ import annotations

import importlib
import pickle
import sys
from contextlib import suppress
from importlib.machinery import ExtensionFileLoader, SourceFileLoader, SourcelessFileLoader
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from zipimport import zipimporter

from functionfuse.backends.surroundings import Surroundings, take_over_surroundings
from functionfuse.errors import EngineError
from functionfuse.fingerprint import Fingerprinter, Unfingerprintable
from functionfuse.fingerprint.modules import ImportedModule
from functionfuse.fingerprint.project import in_project

if TYPE_CHECKING:
    from collections.abc import Callable

Values = TypeVar("Values")

_MODULE = ""  # stands for a whole module among the names of definitions

_MOST_TOKENS = 10_000

_alike: set[tuple[str, str]] = set()  # runs, and tokens of what this process had as their drivers had it
_reloads = 0


class WorkerOutdated(EngineError):  # noqa: N818
    """A worker process has other code or values than the driver; the message names the module."""


class Definition(NamedTuple):
    """A function, class or module that a worker imports.

    Attributes:
        module: its module.
        qualname: its name in the module; empty for the module itself.
        digest: of it, with all that it uses.
    """

    module: str
    qualname: str
    digest: bytes


class CodeState(NamedTuple):
    """What some code uses of the driver's modules.

    Attributes:
        token: equal if all else is.
        imports: whether a worker loads the modules that it has not loaded yet.
        is_as_in_files: whether modules have the code and values of their files, so that importing them is enough.
        definitions: what a worker has to have alike.
        modules: of the project, in which these are; a module comes before those that import it.
        values: pickled: what was set in these modules, each value with the modules and names that have it.
    """

    token: str
    imports: bool
    is_as_in_files: bool
    definitions: tuple[Definition, ...]
    modules: tuple[str, ...]
    values: bytes


class WorkerState(NamedTuple):
    """What a worker takes over from the driver before it makes some calls.

    Attributes:
        surroundings: of the driver; None for a worker that has its own.
        code: what the calls use of the driver's modules.
        run: for which a worker makes sure of it once; what nodes of an earlier run set in its modules is undone.
    """

    surroundings: Surroundings | None
    code: tuple[CodeState, ...] = ()
    run: str = ""

    def take_over(self, values: Values) -> Values:
        """Let this process have what the driver has.

        Args:
            values: what was deserialized before.

        Returns:
            The values; made anew if modules were, with whose classes they were made.

        Raises:
            WorkerOutdated: code or values of a module are not those of the driver, also when loaded anew.
        """
        if self.surroundings is not None:
            take_over_surroundings(self.surroundings)
        for state in self.code:
            if (self.run, state.token) not in _alike:
                values = _bring_up_to_date(state, values)
                if len(_alike) >= _MOST_TOKENS:
                    _alike.clear()
                _alike.add((self.run, state.token))
        return values


def reloads() -> int:
    """Return how often this process loaded modules anew: what was deserialized before may be of old classes."""
    return _reloads


def place_of(code: object) -> tuple[str, str] | None:
    """Return where a worker finds a function, class or module of the project; None if it travels by value."""
    if isinstance(code, ImportedModule):
        return (code.name, _MODULE) if has_plain_file(code.name) else None
    assert isinstance(code, FunctionType | type)
    module, qualname = code.__module__, code.__qualname__
    if module in ("__main__", "__mp_main__") or not has_plain_file(module) or not in_project(module):
        return None
    return (module, qualname) if _found(module, qualname) is code else None


def has_plain_file(module: str) -> bool:
    """Return True if a loaded module has the code of its file; pytest, for one, loads other code than it finds."""
    loader = getattr(getattr(sys.modules.get(module), "__spec__", None), "loader", None)
    return isinstance(loader, SourceFileLoader | SourcelessFileLoader | ExtensionFileLoader | zipimporter)


def _bring_up_to_date(state: CodeState, values: Values) -> Values:
    global _reloads
    if not _differing(state):
        return values
    _alike.clear()
    remade = _remade(values)
    importlib.invalidate_caches()
    for name in state.modules:
        module = sys.modules.get(name)
        if module is not None:
            importlib.reload(module)
    for places, data in pickle.loads(state.values):
        places = [(name, attribute) for name, attribute in places if state.imports or name in sys.modules]
        if places:
            with suppress(Exception):  # the digests tell that it is missing
                value = pickle.loads(data)
                for name, attribute in places:
                    _set(importlib.import_module(name), attribute, value)
    _reloads += 1
    differing = _differing(state)
    if differing:
        definition = differing[0]
        what = f"{definition.qualname} of module" if definition.qualname else "module"
        raise WorkerOutdated(
            f"{what} {definition.module!r} is not in a worker process as it is in the driver: its code, or a value "
            "that it uses, was changed in the driver's memory and cannot be loaded from its file; reload the module "
            "in the driver (importlib.reload), or run without workers"
        )
    return remade()


def _remade(values: Values) -> Callable[[], Values]:
    """Return what makes values anew, with the classes that modules have then; buffers are not copied."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        data = pickle.dumps(values, protocol=5, buffer_callback=buffers.append)
    except Exception:  # what cannot be pickled stays as it is
        return lambda: values
    return lambda: pickle.loads(data, buffers=buffers)


def _differing(state: CodeState) -> list[Definition]:
    fingerprinter = Fingerprinter()
    definitions = [one for one in state.definitions if state.imports or one.module in sys.modules]
    return [one for one in definitions if not _is_alike(one, fingerprinter)]


def _is_alike(definition: Definition, fingerprinter: Fingerprinter) -> bool:
    """Return True if this process has a definition like the driver's, or cannot have it at all."""
    try:
        importlib.import_module(definition.module)
    except ImportError:
        return True  # the call says what is missing
    try:
        fingerprinter.digest(_found(definition.module, definition.qualname))
    except Unfingerprintable:
        return False
    digests = {place_of(code): digest for code, digest in fingerprinter.definitions()}
    return digests.get((definition.module, definition.qualname)) == definition.digest


def _found(module: str, qualname: str) -> object:
    """Return a definition of a loaded module, without what decorators make of it."""
    if qualname == _MODULE:
        return sys.modules[module]
    found: Any = sys.modules[module]
    for name in qualname.split("."):
        found = vars(found).get(name) if isinstance(found, type | ModuleType) else None
    while found is not None and not isinstance(found, FunctionType | type):
        found = getattr(found, "__func__", None) or getattr(found, "__wrapped__", None)
    return found


def _set(module: ModuleType, attribute: str, value: object) -> None:
    *path, last = attribute.split(".")
    owner: Any = module
    for name in path:
        owner = getattr(owner, name)
    setattr(owner, last, value)
