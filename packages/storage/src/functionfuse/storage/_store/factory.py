"""Make a store from its configuration."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from functionfuse.errors import OptionError

from .._file.store import FileStore
from .._ray.store import RayStore
from .._s3.store import S3Store
from .suggestions import did_you_mean

AnyStore = FileStore | S3Store | RayStore

KINDS: dict[str, type[AnyStore]] = {"file": FileStore, "S3": S3Store, "ray": RayStore}
"""The kinds of stores of this release; the parameters of each class are its options."""


def storage_factory(config: Mapping[str, Any]) -> AnyStore:
    """Return the store that ``{"kind": ..., "options": {...}}`` describes.

    Raises OptionError that names what cannot be used, and what could; StorageError when the place that the
    options name cannot be used.
    """
    if not isinstance(config, Mapping):
        raise OptionError(f"storage_factory needs {{'kind': ..., 'options': {{...}}}}, got {config!r}")
    for key in config:
        if key not in ("kind", "options"):
            hint = did_you_mean(str(key), ("kind", "options"))
            raise OptionError(f"storage_factory knows 'kind' and 'options', not {key!r}{hint}")
    cls = _class(config.get("kind"))
    options = config.get("options", {})
    if not isinstance(options, Mapping):
        raise OptionError(f"'options' must be a mapping, got {options!r}")
    _check_names(str(config["kind"]), cls, options)
    return cls(**options)


def open_file(place: str, **options: Any) -> FileStore:
    """Return the store in a folder: ``"results"``, ``"file:results"`` or ``"file:///data/results"``."""
    path = place.removeprefix("file:")
    if place.startswith("file://"):
        url = urlsplit(place)
        if url.netloc not in ("", "localhost"):
            raise OptionError(f"{place!r} names the host {url.netloc!r}; of this machine it is 'file:///path'")
        path = unquote(url.path)
    return FileStore(path, **options)


def open_s3(place: str, **options: Any) -> S3Store:
    """Return the store in a bucket: ``"s3://bucket/prefix"``, with the options of :class:`S3Store`."""
    return S3Store("/" + place.partition(":")[2].lstrip("/"), **options)


def _class(kind: object) -> type[AnyStore]:
    available = ", ".join(map(repr, KINDS))
    if kind is None:
        raise OptionError(f"storage_factory needs a 'kind'; available: {available}")
    if isinstance(kind, str) and kind in KINDS:
        return KINDS[kind]
    hint = did_you_mean(str(kind), KINDS)
    raise OptionError(f"no store of kind {kind!r}; available: {available}{hint}")


def _check_names(kind: str, cls: type[AnyStore], options: Mapping[str, Any]) -> None:
    parameters = inspect.signature(cls).parameters
    for name in options:
        if name not in parameters:
            known = ", ".join(map(repr, parameters))
            hint = did_you_mean(str(name), parameters)
            raise OptionError(f"a store of kind {kind!r} has no option {name!r}; options: {known}{hint}")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in options:
            raise OptionError(f"a store of kind {kind!r} needs option {name!r}")
