"""Defaults that a project gives: the table `[tool.functionfuse]` of the nearest pyproject.toml that has one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from functionfuse._suggestions import did_you_mean

from .exit_codes import USAGE, Failure

_KEYS = ("backend", "profile", "storage")


class Settings(NamedTuple):
    """The defaults of a project; None where it gives none.

    Attributes:
        backend: the name of a backend.
        profile: the path of a profile.
        storage: the location of a store.
        source: the file that gives them.
    """

    backend: str | None = None
    profile: str | None = None
    storage: str | None = None
    source: Path | None = None


def settings_of(folder: Path) -> Settings:
    """Return the defaults for a folder. Paths in a file are relative to its folder.

    Raises:
        Failure: a file cannot be read, or its table has an unknown key or a value that is no text.
    """
    for parent in (folder, *folder.parents):
        source = parent / "pyproject.toml"
        table = _table_of(source) if source.is_file() else None
        if table is not None:
            return _checked(source, table)
    return Settings()


def _table_of(source: Path) -> object:
    import tomllib  # which few commands need

    try:
        document = tomllib.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Failure(USAGE, f"{source} cannot be read: {error}") from error
    tools = document.get("tool")
    return tools.get("functionfuse") if isinstance(tools, dict) else None


def _checked(source: Path, table: object) -> Settings:
    if not isinstance(table, dict):
        raise Failure(USAGE, f"{source}: tool.functionfuse is no table")
    for key, value in table.items():
        if key not in _KEYS:
            known = ", ".join(map(repr, _KEYS))
            raise Failure(
                USAGE, f"{source}: [tool.functionfuse] has no key {key!r}{did_you_mean(key, _KEYS)} (known: {known})"
            )
        if not isinstance(value, str) or not value:
            raise Failure(USAGE, f"{source}: {key} under [tool.functionfuse] must be a text, got {value!r}")
    profile, storage = table.get("profile"), table.get("storage")
    return Settings(
        table.get("backend"),
        None if profile is None else str(source.parent / profile),
        None if storage is None else _located(storage, source.parent),
        source,
    )


def folder_of(location: str) -> Path | None:
    """Return the folder that a location of a store names; None for one that is no folder of this machine."""
    kind, colon, rest = location.partition(":")
    if not colon or len(kind) == 1:  # the drive of a path on Windows
        return Path(location).expanduser()
    if kind.lower() != "file":
        return None
    return Path(unquote(urlsplit(rest).path) if rest.startswith("//") else rest).expanduser()


def _located(storage: str, folder: Path) -> str:
    """Return the location of a store, where it is a relative path as seen from a folder."""
    own = folder_of(storage)
    return storage if own is None else str(folder / own)
