"""Where the driver is: its working directory, environment, and import path, which workers take over."""

from __future__ import annotations

import os
import sys
import sysconfig
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_ENVIRONMENT = dict(os.environ)  # as it was when this process began to use this package
_LIBRARIES = {path for key, path in sysconfig.get_paths().items() if key.endswith(("lib", "stdlib"))}
_ZIP = "python{}{}.zip".format(*sys.version_info)  # of the standard library

_original: dict[str, str | None] = {}  # environment variables of this process that a driver's stand for
_of_drivers: set[str] = set()  # what drivers added to the path of this process


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


def project_path() -> tuple[str, ...]:
    """Return where this process searches modules, but for the folders of libraries."""
    path = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100
    return tuple(entry for entry in path if not _is_of_python(entry))


def take_over_surroundings(driver: Surroundings) -> None:
    """Let this process be where a driver is."""
    for name in _original.keys() - driver.environment.keys():
        set_variable(name, _original.pop(name))
    for name, value in driver.environment.items():
        if os.environ.get(name) != value:
            _original.setdefault(name, os.environ.get(name))
            set_variable(name, value)
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


def set_variable(name: str, value: str | None) -> None:
    """Set an environment variable, or take it away.

    Args:
        name: of the variable.
        value: of it; None for a variable that is not there.
    """
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
