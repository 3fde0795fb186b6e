"""What a worker takes over from the driver, so that it runs what the plan describes.

A worker lives longer than a run: modules are edited and reloaded, constants of modules are set, the folder and the
environment change. Before calls it gets what the driver has of these, compares the code that the calls use by its
fingerprints, and loads what differs anew.
"""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import sysconfig
from contextlib import suppress
from hashlib import sha256
from importlib.machinery import ExtensionFileLoader, SourceFileLoader, SourcelessFileLoader
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from zipimport import zipimporter

from functionfuse.errors import EngineError
from functionfuse.fingerprint import Fingerprinter, Unfingerprintable
from functionfuse.fingerprint.code import facts_of
from functionfuse.fingerprint.modules import ImportedModule, absolute_names, module_named
from functionfuse.fingerprint.project import class_in_project, in_project
from functionfuse.iterators import types_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from functionfuse.plan import Step
    from functionfuse.targets import Target

Values = TypeVar("Values")

_ENVIRONMENT = dict(os.environ)  # as it was when this process began to use this package
_LIBRARIES = {path for key, path in sysconfig.get_paths().items() if key.endswith(("lib", "stdlib"))}
_ZIP = "python{}{}.zip".format(*sys.version_info)  # of the standard library
_MODULE = ""  # stands for a whole module among the names of definitions


class WorkerOutdated(EngineError):  # noqa: N818
    """A worker process has other code or values than the driver; the message names the module."""


class Surroundings(NamedTuple):
    """Where the driver is.

    Attributes:
        folder: the working directory; "" where the engine decides on that.
        environment: variables that were changed since the driver began; None for those that were deleted.
        path: where modules are searched, but for the folders of libraries, which each machine has its own of.
    """

    folder: str
    environment: Mapping[str, str | None]
    path: tuple[str, ...]

    @classmethod
    def here(cls) -> Surroundings:
        """Return those of this process."""
        names = [name for name in _ENVIRONMENT.keys() | os.environ.keys() if not _is_of_engines(name)]
        changed = {name: os.environ.get(name) for name in names if os.environ.get(name) != _ENVIRONMENT.get(name)}
        return cls(_folder(), changed, project_path())


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
        values: pickled: what was set in these modules, by module, name and value.
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
    """

    surroundings: Surroundings | None
    code: tuple[CodeState, ...] = ()

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
            _surround(self.surroundings)
        for state in self.code:
            if state.token not in _alike:
                values = _bring_up_to_date(state, values)
                _alike.add(state.token)
        return values


class DriverState:
    """What the workers of one run take over from this process.

    Args:
        dumps: pickles a value.
        steps: of the run, as far as they are known.
        surroundings: of the driver; those of this process unless given.
    """

    def __init__(
        self,
        dumps: Callable[[object], bytes],
        steps: Sequence[Step] = (),
        surroundings: Surroundings | None = None,
    ) -> None:
        self.surroundings = surroundings or Surroundings.here()
        self._dumps = dumps
        self._states: dict[int, tuple[Target, CodeState | None]] = {}  # by id; the target is kept, for its id to last
        self._of_run = code_state(code_of_steps(steps), dumps, imports=False)

    def of(self, targets: Iterable[Target]) -> WorkerState:
        """Return what a worker takes over before it makes calls of some targets."""
        states = {id(target): self._state_of(target) for target in targets}
        code = (*states.values(), self._of_run)
        return WorkerState(self.surroundings, tuple(state for state in code if state is not None))

    def _state_of(self, target: Target) -> CodeState | None:
        if id(target) not in self._states:
            self._states[id(target)] = target, code_state([target], self._dumps)
        return self._states[id(target)][1]


def state_unlike_files(steps: Sequence[Step], dumps: Callable[[object], bytes]) -> WorkerState | None:
    """Return what workers take over that begin with the files of the modules; None where these say it all.

    Args:
        steps: that the workers run.
        dumps: pickles a value.
    """
    code = code_state(code_of_steps(steps), dumps)
    return None if code is None or code.is_as_in_files else WorkerState(None, (code,))


def code_of_steps(steps: Sequence[Step]) -> list[object]:
    """Return what steps call, and the project's classes of what they are given; each once."""
    found: dict[object, None] = {}
    for step in steps:
        found[step.target] = None
        for value in (*step.args, *step.kwargs.values()):
            found.update(dict.fromkeys(kind for kind in types_in(value) if class_in_project(kind)))
    return list(found)


def code_state(code: Iterable[object], dumps: Callable[[object], bytes], *, imports: bool = True) -> CodeState | None:
    """Return what code uses of the modules of this process; None if it has no fingerprint, or uses none.

    Args:
        code: functions, classes, and what nodes call.
        dumps: pickles a value.
        imports: whether a worker loads the modules that it has not loaded yet.
    """
    fingerprinter = Fingerprinter()
    for one in code:
        with suppress(Unfingerprintable):
            fingerprinter.digest(one)
    for name in filter(_has_plain_file, sorted(fingerprinter.modules_read)):
        with suppress(Unfingerprintable):
            fingerprinter.digest(sys.modules[name])
    definitions = tuple(
        Definition(*place, digest) for code, digest in fingerprinter.definitions() if (place := _place_of(code))
    )
    if not definitions:
        return None
    used = {definition.module for definition in definitions}
    modules = tuple(_in_import_order(used))
    changes = [(name, attribute, value) for name in modules for attribute, value in _changes(name)]
    values = []
    for name, attribute, value in changes:
        if not callable(value):
            with suppress(Exception):  # what cannot be pickled is not in the worker, which the digests tell
                values.append((name, attribute, dumps(value)))
    data = pickle.dumps(values)
    token = sha256(repr((imports, definitions, modules, data)).encode()).hexdigest()
    return CodeState(token, imports, not changes, definitions, modules, data)


_alike: set[str] = set()  # tokens of what this process has as a driver has it
_original: dict[str, str | None] = {}  # environment variables of this process that a driver's stand for
_of_drivers: set[str] = set()  # what drivers added to the path of this process
_reloads = 0


def project_path() -> tuple[str, ...]:
    """Return where this process searches modules, but for the folders of libraries."""
    path = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100
    return tuple(entry for entry in path if not _is_of_python(entry))


def reloads() -> int:
    """Return how often this process loaded modules anew: what was deserialized before may be of old classes."""
    return _reloads


def _surround(driver: Surroundings) -> None:
    for name in _original.keys() - driver.environment.keys():
        _set_variable(name, _original.pop(name))
    for name, value in driver.environment.items():
        if os.environ.get(name) != value:
            _original.setdefault(name, os.environ.get(name))
            _set_variable(name, value)
    if driver.folder and driver.folder != _folder() and os.path.isdir(driver.folder):  # noqa: PTH112
        os.chdir(driver.folder)
    if tuple(sys.path[: len(driver.path)]) != driver.path:
        own = [entry for entry in sys.path if os.path.abspath(entry) not in {*driver.path, *_of_drivers}]  # noqa: PTH100
        _of_drivers.update(driver.path)
        sys.path[:] = [*driver.path, *own]


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:  # it was deleted
        return ""


def _is_of_python(folder: str) -> bool:
    folder = f"{folder}{os.sep}"
    return f"{os.sep}{_ZIP}{os.sep}" in folder or any(folder.startswith(f"{path}{os.sep}") for path in _LIBRARIES)


def _is_of_engines(variable: str) -> bool:
    """Return True for a variable that engines set for each worker."""
    return variable.startswith("RAY_") or variable.endswith("_VISIBLE_DEVICES")


def _set_variable(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


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
    for name, attribute, data in pickle.loads(state.values):
        if state.imports or name in sys.modules:
            _set(importlib.import_module(name), attribute, pickle.loads(data))
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
    return [] if module is None else module.changes(Fingerprinter().code_alone)


def _set(module: ModuleType, attribute: str, value: object) -> None:
    *path, last = attribute.split(".")
    owner: Any = module
    for name in path:
        owner = getattr(owner, name)
    setattr(owner, last, value)
