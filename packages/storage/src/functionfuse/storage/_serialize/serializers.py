"""Serializers: how objects that pickle badly, or not at all, are kept."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from functionfuse._warning import warn_user
from functionfuse.errors import MissingSerializer, OptionError

from .original import OriginalSerializer, is_original

if TYPE_CHECKING:
    from .._store.transport import BlobReader, BlobWriter

_ENTRY_POINTS = "functionfuse.serializers"


class Serializer:
    """Saves and loads the objects of some types, wherever they occur inside a result.

    A record refers to a serializer by its name, so that `name` must stay when classes move. `types`
    are classes, or their full names (`"torch.Tensor"`) so that nothing needs importing. Methods are
    called on what was registered: an instance, or a class with static methods.
    """

    name: str = ""
    version: int = 1
    types: tuple[type | str, ...] = ()
    subclasses: bool = False
    """Whether subclasses of the types are handled too."""
    requires: tuple[str, ...] = ()
    """Modules that `save` and `load` import. Where one is not installed, discovery leaves this one out."""

    def save(self, obj: Any, out: BlobWriter) -> Any:
        """Return a picklable state; each `pickle.PickleBuffer` in it is written without a copy.

        What is too large or too lazy for the record goes into a file of its own:
        `blob, path = out.new(".h5")`. `NotImplemented` leaves an object to plain pickling.

        Args:
            obj: of one of the types.
            out: makes files beside the record.

        Raises:
            NotImplementedError: the subclass does not define it.
        """
        raise NotImplementedError

    def load(self, state: Any, inp: BlobReader, version: int) -> Any:
        """Return the object again; `version` is that of the serializer which saved it.

        `inp.path(blob)` is the path of a file made with `out.new`.

        Args:
            state: what `save` returned.
            inp: finds the files of the record.
            version: of the serializer that saved the object.

        Raises:
            NotImplementedError: the subclass does not define it.
        """
        raise NotImplementedError


class SerializerRegistry:
    """The serializers of one store, by name and by type: the registered ones, then the installed ones.

    Installed are those that packages declare as entry points `functionfuse.serializers`, under the
    serializer's own name.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, Serializer] = {}
        self._by_type: dict[type | str, Serializer] = {}
        self._found: dict[type, Serializer | None] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_found": {}}

    def register(self, serializer: Any) -> None:
        """Add a serializer, or replace the one of the same name.

        Raises:
            OptionError: the object is not a serializer.
        """
        serializer = _adapted(serializer)
        previous = self._by_name.get(serializer.name)
        if previous is not None:
            self._by_type = {key: one for key, one in self._by_type.items() if one is not previous}
        self._by_name[serializer.name] = serializer
        self._by_type.update(dict.fromkeys(serializer.types, serializer))
        self._found.clear()

    def for_type(self, cls: type) -> Serializer | None:
        """Return the serializer for objects of exactly this type, if there is one."""
        try:
            return self._found[cls]
        except KeyError:
            self._found[cls] = found = _look_up(cls, self._by_type) or _look_up(cls, _installed_types())
            return found

    def named(self, name: str) -> Serializer:
        """Return the serializer that records refer to by a name.

        Raises:
            MissingSerializer: there is none, or modules that it needs are not installed.
        """
        serializer = self._by_name.get(name) or _installed().get(name)
        if serializer is None:
            known = ", ".join(sorted(map(repr, self._by_name))) or "none"
            raise MissingSerializer(
                f"saved with serializer {name!r}, registered are: {known}; "
                f"pass it to store.register_persistent_serializers(...) first"
            )
        missing = _missing(serializer)
        if missing:
            raise MissingSerializer(
                f"saved with serializer {name!r}, which needs {', '.join(missing)}: not installed here"
            )
        return serializer


@cache
def _installed() -> dict[str, Serializer]:
    """Return the serializers that installed packages declare, by name."""
    found: dict[str, Serializer] = {}
    for entry in entry_points(group=_ENTRY_POINTS):
        try:
            serializer = _adapted(entry.load())
        except Exception as error:  # of another package: results that do not need it must still be saved
            warn_user(f"serializer {entry.name!r} cannot be used: {entry.value!r} failed to load: {error!r}")
        else:
            found[serializer.name] = serializer
    return found


@cache
def _installed_types() -> dict[type | str, Serializer]:
    """Return the installed serializers that can save here, by type."""
    usable = [one for one in _installed().values() if not _missing(one)]
    return {key: one for one in usable for key in one.types}


def _missing(serializer: Serializer) -> list[str]:
    return [module for module in getattr(serializer, "requires", ()) if find_spec(module) is None]


def _look_up(cls: type, by_type: dict[type | str, Serializer]) -> Serializer | None:
    for base in cls.__mro__:
        serializer = by_type.get(base) or by_type.get(f"{base.__module__}.{base.__qualname__}")
        if serializer is not None and (base is cls or getattr(serializer, "subclasses", False)):
            return serializer
    return None


def _adapted(serializer: Any) -> Serializer:
    """Return what was given as a serializer in today's form."""
    if is_original(serializer):
        serializer = OriginalSerializer(serializer)
    elif isinstance(serializer, type) and issubclass(serializer, Serializer):
        serializer = serializer()
    _check(serializer)
    return serializer  # type: ignore[no-any-return]  # checked right above


def _check(serializer: Serializer) -> None:
    for attribute, kind in (("name", str), ("version", int), ("types", tuple)):
        value = getattr(serializer, attribute, None)
        if not isinstance(value, kind) or not value:
            raise OptionError(
                f"serializer {serializer!r} needs {attribute!r}, a non-empty {kind.__name__}; got {value!r}"
            )
    for method in ("save", "load"):
        if not callable(getattr(serializer, method, None)):
            raise OptionError(f"serializer {serializer!r} needs a method {method!r}")
