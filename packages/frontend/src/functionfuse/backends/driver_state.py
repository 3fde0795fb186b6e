"""What a worker takes over from the driver, so that it runs what the plan describes.

A worker lives longer than a run: modules are edited and reloaded, constants of modules are set, the folder and the
environment change. With each batch of calls it gets what the driver has of these, compares the code that the calls
use by its fingerprints, and loads what differs anew.
"""

from __future__ import annotations

import importlib
import os
import pickle
import sys
from contextlib import suppress
from hashlib import sha256
from importlib.machinery import ExtensionFileLoader, SourceFileLoader, SourcelessFileLoader
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple
from zipimport import zipimporter

from functionfuse.errors import EngineError
from functionfuse.fingerprint import Fingerprinter, Unfingerprintable
from functionfuse.fingerprint.code import facts_of
from functionfuse.fingerprint.modules import ImportedModule, absolute_names, module_named
from functionfuse.fingerprint.project import in_project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from functionfuse.targets import Target

_ENVIRONMENT = dict(os.environ)  # as it was when this process began to use this package
_MODULE = ""  # stands for a whole module among the names of definitions


class WorkerOutdated(EngineError):  # noqa: N818
    """A worker process has other code or values than the driver; the message names the module."""


class Surroundings(NamedTuple):
    """Where the driver is.

    Attributes:
        folder: the working directory.
        environment: variables that were changed since the driver began; None for those that were deleted.
        path: where modules are searched.
    """

    folder: str
    environment: Mapping[str, str | None]
    path: tuple[str, ...]

    @classmethod
    def here(cls) -> Surroundings:
        """Return those of this process."""
        names = _ENVIRONMENT.keys() | os.environ.keys()
        changed = {name: os.environ.get(name) for name in names if os.environ.get(name) != _ENVIRONMENT.get(name)}
        return cls(os.getcwd(), changed, tuple(map(os.path.abspath, sys.path)))  # noqa: PTH109


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
    """What calls of one target use of the driver's modules.

    Attributes:
        token: equal if all else is.
        definitions: what a worker has to have alike.
        modules: of the project, in which these are; a module comes before those that import it.
        values: pickled: what was set in these modules, by module, name and value.
    """

    token: str
    definitions: tuple[Definition, ...]
    modules: tuple[str, ...]
    values: bytes


class DriverState:
    """What the workers of one run take over from this process.

    Args:
        dumps: pickles a value.
    """

    def __init__(self, dumps: Callable[[object], bytes]) -> None:
        self.surroundings = Surroundings.here()
        self._dumps = dumps
        self._states: dict[int, tuple[Target, CodeState | None]] = {}  # by id; the target is kept, for its id to last

    def of(self, targets: Iterable[Target]) -> tuple[Surroundings, tuple[CodeState, ...]]:
        """Return what a worker takes over before it makes calls of some targets."""
        states = {id(target): self._state_of(target) for target in targets}
        return self.surroundings, tuple(state for state in states.values() if state is not None)

    def _state_of(self, target: Target) -> CodeState | None:
        if id(target) not in self._states:
            self._states[id(target)] = target, code_state(target, self._dumps)
        return self._states[id(target)][1]


def code_state(target: Target, dumps: Callable[[object], bytes]) -> CodeState | None:
    """Return what a target uses of the modules of this process; None if it has no fingerprint, or uses none.

    Args:
        target: what is called.
        dumps: pickles a value.
    """
    fingerprinter = Fingerprinter()
    try:
        fingerprinter.digest(target)
        for name in filter(_has_plain_file, sorted(fingerprinter.modules_read)):
            fingerprinter.digest(sys.modules[name])
    except Unfingerprintable:
        return None
    definitions = tuple(
        Definition(*place, digest) for code, digest in fingerprinter.definitions() if (place := _place_of(code))
    )
    if not definitions:
        return None
    used = {definition.module for definition in definitions}
    modules = tuple(_in_import_order(used))
    values = []
    for name in modules:
        for attribute, value in _changes(name):
            with suppress(Exception):  # what cannot be pickled is not in the worker, which the digests tell
                values.append((name, attribute, dumps(value)))
    data = pickle.dumps(values)
    return CodeState(sha256(repr((definitions, modules, data)).encode()).hexdigest(), definitions, modules, data)


def take_over(surroundings: Surroundings, states: Iterable[CodeState]) -> None:
    """Let this process have what the driver has, before it makes calls.

    Args:
        surroundings: of the driver.
        states: of the targets of the calls.

    Raises:
        WorkerOutdated: code or values of a module are not those of the driver, also when loaded anew.
    """
    _surround(surroundings)
    for state in states:
        if state.token not in _alike:
            _bring_up_to_date(state)
            _alike.add(state.token)


_alike: set[str] = set()  # tokens of what this process has as a driver has it
_original: dict[str, str | None] = {}  # environment variables of this process that a driver's stand for


def _surround(driver: Surroundings) -> None:
    for name in _original.keys() - driver.environment.keys():
        _set_variable(name, _original.pop(name))
    for name, value in driver.environment.items():
        if os.environ.get(name) != value:
            _original.setdefault(name, os.environ.get(name))
            _set_variable(name, value)
    if os.path.isdir(driver.folder):  # noqa: PTH112
        os.chdir(driver.folder)
    own = [entry for entry in sys.path if os.path.abspath(entry) not in driver.path]  # noqa: PTH100
    if sys.path != [*driver.path, *own]:
        sys.path[:] = [*driver.path, *own]


def _set_variable(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _bring_up_to_date(state: CodeState) -> None:
    if not _differing(state.definitions):
        return
    _alike.clear()
    importlib.invalidate_caches()
    for name in state.modules:
        module = sys.modules.get(name)
        if module is not None:
            importlib.reload(module)
    for name, attribute, data in pickle.loads(state.values):
        _set(importlib.import_module(name), attribute, pickle.loads(data))
    differing = _differing(state.definitions)
    if differing:
        definition = differing[0]
        what = f"{definition.qualname} of module" if definition.qualname else "module"
        raise WorkerOutdated(
            f"{what} {definition.module!r} is not in a worker process as it is in the driver: its code, or a value "
            "that it uses, was changed in the driver's memory and cannot be loaded from its file; reload the module "
            "in the driver (importlib.reload), or run without workers"
        )


def _differing(definitions: Iterable[Definition]) -> list[Definition]:
    fingerprinter = Fingerprinter()
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
    digests = {_place_of(code): digest for code, digest in fingerprinter.definitions()}
    return digests.get((definition.module, definition.qualname)) == definition.digest


def _in_import_order(names: set[str]) -> Iterator[str]:
    """Yield names of modules, each behind those that it imports, as far as imports make no circle."""
    waiting = {name: _imports_of(name) & names for name in sorted(names)}
    while waiting:
        ready = next((name for name, imports in waiting.items() if not imports & waiting.keys() - {name}), None)
        name = ready or next(iter(waiting))
        del waiting[name]
        yield name


def _imports_of(name: str) -> set[str]:
    module = module_named(name)
    if module is None or module.code is None:
        return set()
    return {found for one in facts_of(module.code).imports for found in absolute_names(one, module.package)}


def _place_of(code: object) -> tuple[str, str] | None:
    """Return where a worker finds a function, class or module of the project; None if it travels by value."""
    if isinstance(code, ImportedModule):
        return (code.name, _MODULE) if _has_plain_file(code.name) else None
    assert isinstance(code, FunctionType | type)
    module, qualname = code.__module__, code.__qualname__
    if module in ("__main__", "__mp_main__") or not _has_plain_file(module) or not in_project(module):
        return None
    return (module, qualname) if _found(module, qualname) is code else None


def _has_plain_file(module: str) -> bool:
    """Return True if a loaded module has the code of its file; pytest, for one, loads other code than it finds."""
    loader = getattr(getattr(sys.modules.get(module), "__spec__", None), "loader", None)
    return isinstance(loader, SourceFileLoader | SourcelessFileLoader | ExtensionFileLoader | zipimporter)


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


def _changes(name: str) -> list[tuple[str, Any]]:
    module = module_named(name)
    if module is None:
        return []
    changes = module.changes(Fingerprinter().code_alone)
    return [(attribute, value) for attribute, value in changes if not callable(value)]


def _set(module: ModuleType, attribute: str, value: object) -> None:
    *path, last = attribute.split(".")
    owner: Any = module
    for name in path:
        owner = getattr(owner, name)
    setattr(owner, last, value)
