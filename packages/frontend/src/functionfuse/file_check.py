"""Files that steps returned: what a store notes of them, and whether they are still what they were."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from functionfuse.containers import ATOMS, CONTAINERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


STALE = "the file that it returned"
"""How the reason begins why a step runs whose stored result has a file that is not what it was."""

_MARK = "-files"


def files_used() -> bool:
    """Return True if `File` or `Env` were imported in this process; without that no value holds one."""
    return "functionfuse.files" in sys.modules


def found_in(values: Any, kinds: tuple[type, ...]) -> list[Any]:
    """Return the objects of some types in values, in containers and data classes among them at any depth.

    Args:
        values: a list or tuple of values.
        kinds: the types.
    """
    found: list[Any] = []
    stack, seen = [values], {id(values): values}  # by id, which lasts as long as the object
    while stack:
        items = stack.pop()
        if ATOMS.issuperset(map(type, items)):
            continue
        for item in items:
            if isinstance(item, kinds):
                found.append(item)
                continue
            within: Any = ()
            if isinstance(item, dict):
                within = [*item, *item.values()]
            elif isinstance(item, CONTAINERS):
                within = item
            elif type(item) not in ATOMS and hasattr(type(item), "__dataclass_fields__"):
                within = [getattr(item, name, None) for name in type(item).__dataclass_fields__]
            if within and id(item) not in seen:
                seen[id(item)] = item
                stack.append(within)
    return found


def files_of(value: Any) -> list[list[Any]]:
    """Return what a store notes of the files in a result: path, digest, and a stamp where there is a lasting one.

    A file whose content travels along is not noted, as the store has it.

    Args:
        value: the result.

    Raises:
        StorageError: a file is missing, or cannot be read.
    """
    if not files_used():
        return []
    from functionfuse._content import stamp_of
    from functionfuse.errors import StorageError
    from functionfuse.files import File

    noted = []
    for file in found_in((value,), (File,)):
        if file.ship:
            continue
        try:
            digest = file.content()
        except OSError as error:
            raise StorageError(f"{file!r}, which it returned, cannot be read: {error.strerror}") from None
        stamp = stamp_of(file.path)
        noted.append([file.path, digest, None if stamp is None else list(stamp)])
    return noted


def marked(digest: str) -> str:
    """Return the digest under which a store finds a result with files, whose footer has to be read to reuse it."""
    return f"{digest}{_MARK}"


def digest_in(recipe: Mapping[str, str]) -> str | None:
    """Return the digest of a stored recipe, without the mark of a result with files."""
    digest = recipe.get("digest")
    return None if digest is None else digest.removesuffix(_MARK)


def with_files(
    recipe: Mapping[str, str] | None, meta: dict[str, Any], value: Any
) -> tuple[Mapping[str, str] | None, dict[str, Any]]:
    """Return the recipe and the facts that a store notes of a result, with those of the files in it.

    Args:
        recipe: of the result.
        meta: other facts.
        value: the result.

    Raises:
        StorageError: a file is missing, or cannot be read.
    """
    files = files_of(value)
    if not files:
        return recipe, meta
    if recipe is not None and "digest" in recipe:
        recipe = {**recipe, "digest": marked(recipe["digest"])}
    return recipe, {**meta, "files": files}


def stale_files(meta: Mapping[str, Any] | None) -> str:
    """Return which file of a stored result is not what it was; "" if there is none.

    Args:
        meta: what the store noted of the result.
    """
    files: Sequence[Any] = (meta or {}).get("files") or ()
    if not files:
        return ""
    from functionfuse._content import content_of, take_over

    for path, digest, stamp in files:
        if stamp is not None:
            take_over(path, stamp, digest)
        try:
            if content_of(path) != digest:
                return f"{STALE} has changed: {path}"
        except FileNotFoundError:
            return f"{STALE} is missing: {path}"
        except OSError as error:
            return f"{STALE} cannot be read: {path}: {error.strerror}"
    return ""
