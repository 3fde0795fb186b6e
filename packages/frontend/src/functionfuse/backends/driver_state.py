"""What a worker takes over from the driver, so that it runs what the plan describes.

A worker lives longer than a run: modules are edited and reloaded, constants of modules are set, the folder and the
environment change. Before calls it gets what the driver has of these, compares the code that the calls use by its
fingerprints, and loads what differs anew.
"""

from __future__ import annotations

import pickle
import sys
import uuid
from contextlib import suppress
from functools import cache, cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from functionfuse.backends.surroundings import Surroundings
from functionfuse.backends.worker_state import CodeState, Definition, WorkerState, has_plain_file, place_of
from functionfuse.fingerprint import Fingerprinter, Unfingerprintable
from functionfuse.fingerprint.code import facts_of
from functionfuse.fingerprint.modules import absolute_names, is_data, module_named
from functionfuse.fingerprint.project import class_in_project, in_project
from functionfuse.iterators import types_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from functionfuse.plan import Step
    from functionfuse.targets import Target


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
        self._steps = steps
        self._modules = _Modules()
        self._run = uuid.uuid4().hex

    @cached_property
    def _of_run(self) -> CodeState | None:
        """What all steps use, for modules that a worker has loaded; nothing is asked for where nothing runs."""
        return code_state(code_of_steps(self._steps), self._dumps, self._modules, imports=False)

    def of(self, targets: Iterable[Target]) -> WorkerState:
        """Return what a worker takes over before it makes calls of some targets."""
        states = {id(target): self._state_of(target) for target in targets}
        code = (*states.values(), self._of_run)
        return WorkerState(self.surroundings, tuple(state for state in code if state is not None), self._run)

    def _state_of(self, target: Target) -> CodeState | None:
        if id(target) not in self._states:
            self._states[id(target)] = target, code_state([target], self._dumps, self._modules)
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
    targets: dict[object, None] = {}
    kinds: dict[type, None] = {}
    for step in steps:
        targets[step.target] = None
        for value in (*step.args, *step.kwargs.values()):
            kinds.update(dict.fromkeys(types_in(value)))
    return [*targets, *filter(class_in_project, kinds)]


class _Modules:
    """Modules of this process, each of which is read once."""

    def __init__(self) -> None:
        self.named = cache(module_named)
        self.changes = cache(self._changes)
        self.imported = cache(self._imported)
        self.imports_of = cache(self._imports_of)

    def _changes(self, name: str) -> list[tuple[str, Any]]:
        module = self.named(name)
        return [] if module is None else module.changes(Fingerprinter().code_alone)

    def _imported(self, name: str) -> list[tuple[str, Any]]:
        module = self.named(name)
        return [] if module is None else list(module.imported())

    def _imports_of(self, name: str) -> set[str]:
        module = self.named(name)
        if module is None or module.code is None:
            return set()
        return {found for one in facts_of(module.code).imports for found in absolute_names(one, module.package)}

    def with_sources(self, names: Iterable[str]) -> set[str]:
        """Return modules with those from which they take values under names of their own: ``from settings import N``.

        Args:
            names: of the modules.
        """
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                if any(is_data(value) for _, value in self.imported(name)):
                    waiting += [one for one in self.imports_of(name) if in_project(one) and has_plain_file(one)]
        return found

    def in_import_order(self, names: set[str]) -> Iterator[str]:
        """Yield names of modules, each behind those that it imports, as far as imports make no circle.

        Args:
            names: of the modules.
        """
        waiting = {name: self.imports_of(name) & names for name in sorted(names)}
        while waiting:
            ready = next((name for name, imports in waiting.items() if not imports & waiting.keys() - {name}), None)
            name = ready or next(iter(waiting))
            del waiting[name]
            yield name


def code_state(
    code: Iterable[object],
    dumps: Callable[[object], bytes],
    known: _Modules | None = None,
    *,
    imports: bool = True,
) -> CodeState | None:
    """Return what code uses of the modules of this process; None if it has no fingerprint, or uses none.

    Args:
        code: functions, classes, and what nodes call.
        dumps: pickles a value.
        known: what was read of modules for other code of the same run.
        imports: whether a worker loads the modules that it has not loaded yet.
    """
    known = known or _Modules()
    fingerprinter = Fingerprinter()
    for one in code:
        with suppress(Unfingerprintable):
            fingerprinter.digest(one)
    for name in filter(has_plain_file, sorted(fingerprinter.modules_read)):
        with suppress(Unfingerprintable):
            fingerprinter.digest(sys.modules[name])
    definitions = tuple(
        Definition(*place, digest) for code, digest in fingerprinter.definitions() if (place := place_of(code))
    )
    if not definitions:
        return None
    modules = tuple(known.in_import_order(known.with_sources(definition.module for definition in definitions)))
    changes = [(name, attribute, value) for name in modules for attribute, value in known.changes(name)]
    imported = [(name, attribute, value) for name in modules for attribute, value in known.imported(name)]
    data = pickle.dumps(list(_pickled(changes, imported, dumps)))
    token = sha256(repr((imports, definitions, modules, data)).encode()).hexdigest()
    return CodeState(token, imports, not changes, definitions, modules, data)


def _pickled(
    changes: Sequence[tuple[str, str, Any]],
    imported: Sequence[tuple[str, str, Any]],
    dumps: Callable[[object], bytes],
) -> Iterator[tuple[list[tuple[str, str]], bytes]]:
    """Yield each changed value, pickled, with all the places that have it: one object is one in the worker too.

    Args:
        changes: module, attribute and value.
        imported: as `changes`, what modules took from others, the values among it.
        dumps: pickles a value.
    """
    values = {id(value): value for _, _, value in changes}
    places: dict[int, list[tuple[str, str]]] = {key: [] for key in values}
    for name, attribute, value in (*imported, *changes):
        if id(value) in places:
            places[id(value)].append((name, attribute))
    for key, value in values.items():
        with suppress(Exception):  # what cannot be pickled is not in the worker, which the digests tell
            yield places[key], dumps(value)
