"""Artifacts as files: a value, the values of a group, or the failures because of which there is no value.

This module travels with the code of a workflow, and every pod imports it when it starts: it imports little, and no
pathlib.
"""

# ruff: noqa: PTH103, PTH120, PTH123

from __future__ import annotations

import functools
import io
import os
import pickle
from typing import IO, TYPE_CHECKING, Any

from functionfuse.backends.serialization import unserializable_result

from .serialization import serialize_to

if TYPE_CHECKING:
    from collections.abc import Mapping

    OutputKey = tuple[str, str | None]  # a step, for its result; or with an object, for its state after the step

_FAILURES = b"!"  # begins an artifact with failures; no pickle begins so
_BUNDLE = b"#"  # begins an artifact with several values


class Failures:
    """Serialized failures by step, instead of a value; the first caused the others."""

    def __init__(self, by_step: dict[str, bytes]) -> None:
        self.by_step = by_step


class WithoutRecipe:
    """A value that was made from failed inputs, of which its step's recipe does not tell."""

    def __init__(self, value: object) -> None:
        self.value = value


def create_file(path: str) -> IO[bytes]:
    """Open a new file for writing, and make its folder if that is missing."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    return open(path, "wb")


def serialize_artifact(value: object) -> bytes:
    """Return a value, or `Failures`, as the content of an artifact.

    Raises:
        TypeError: the value cannot be pickled; the message names its type.
    """
    stream = io.BytesIO()
    _write(value, stream)
    return stream.getvalue()


def write_artifact(value: object, path: str) -> None:
    """Write a value, or `Failures`, to the file of an artifact.

    Args:
        value: the value.
        path: path of the file.

    Raises:
        TypeError: the value cannot be pickled; the message names its type.
    """
    with create_file(path) as file:
        _write(value, file)


def write_bundle(contents: Mapping[OutputKey, bytes], path: str) -> None:
    """Write all outputs of a group to the file of one artifact.

    Args:
        contents: what `serialize_artifact` returned for each output.
        path: path of the file.
    """
    with create_file(path) as file:
        file.write(_BUNDLE + pickle.dumps(dict(contents), protocol=5))


def read_artifact(path: str, key: OutputKey) -> Any:
    """Return a value from the file of an artifact.

    Args:
        path: path of the file.
        key: which output; it matters where the file holds those of a group.
    """
    value = load_artifact(path, key)
    return value.value if isinstance(value, WithoutRecipe) else value


def load_artifact(path: str, key: OutputKey) -> Any:
    """Return a value, or `WithoutRecipe`, from the file of an artifact.

    Args:
        path: path of the file.
        key: which output; it matters where the file holds those of a group.
    """
    with _open_content(path, key) as file:
        return pickle.load(file)


def read_failures(path: str, key: OutputKey | None = None) -> dict[str, bytes]:
    """Return the serialized failures that the file of an artifact holds instead of a value.

    Args:
        path: path of the file.
        key: which output; None for all that the file holds.

    Returns:
        Failures by step; empty when there is a value.
    """
    with open(path, "rb") as file:
        is_bundle = file.read(1) == _BUNDLE
    if is_bundle and key is None:
        found = [read_failures(path, one) for one in _bundle(path)]
        return {name: failure for failures in found for name, failure in failures.items()}
    with _open_content(path, key or ("", None)) as file:
        by_step: dict[str, bytes] = pickle.load(file) if file.read(1) == _FAILURES else {}
        return by_step


def _write(value: object, file: IO[bytes]) -> None:
    if isinstance(value, Failures):
        file.write(_FAILURES + pickle.dumps(value.by_step))
        return
    try:
        serialize_to(value, file)
    except Exception as error:
        raise unserializable_result(value.value if isinstance(value, WithoutRecipe) else value, error) from error


def _open_content(path: str, key: OutputKey) -> IO[bytes]:
    file = open(path, "rb")  # noqa: SIM115  the caller closes it
    if file.read(1) != _BUNDLE:
        file.seek(0)
        return file
    file.close()
    return io.BytesIO(_bundle(path)[key])


@functools.cache
def _bundle(path: str) -> dict[OutputKey, bytes]:
    with open(path, "rb") as file:
        file.seek(1)
        contents: dict[OutputKey, bytes] = pickle.load(file)
        return contents
