"""Serializers: how objects that pickle badly, or not at all, are kept."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from functionfuse.errors import MissingSerializer, OptionError

if TYPE_CHECKING:
    from functionfuse.storage._transport import BlobReader, BlobWriter

_ENTRY_POINTS = "functionfuse.serializers"


class Serializer:
    """Saves and loads the objects of some types, wherever they occur inside a result.

    A record refers to a serializer by its name, so that ``name`` must stay when classes move. ``types``
    are classes, or their full names (``"torch.Tensor"``) so that nothing needs importing. Methods are
    called on what was registered: an instance, or a class with static methods.
    """

    name: str = ""
    version: int = 1
    types: tuple[type | str, ...] = ()
    subclasses: bool = False
    """Whether subclasses of the types are handled too."""

    def save(self, obj: Any, out: BlobWriter) -> Any:
        """Return a picklable state; each ``pickle.PickleBuffer`` in it is written without a copy.

        What is too large or too lazy for the record goes into a file of its own:
        ``blob, path = out.new(".h5")``.
        """
        raise NotImplementedError

    def load(self, state: Any, inp: BlobReader, version: int) -> Any:
        """Return the object again; ``version`` is that of the serializer which saved it.

        ``inp.path(blob)`` is the path of a file made with ``out.new``.
        """
        raise NotImplementedError


class SerializerRegistry:
    """The serializers of one store, by name and by type."""

    def __init__(self) -> None:
        self._by_name: dict[str, Serializer] = {}
        self._by_type: dict[type | str, Serializer] = {}
        self._found: dict[type, Serializer | None] = {}

    def __bool__(self) -> bool:
        return bool(self._by_name)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_found": {}}

    def register(self, serializer: Serializer) -> None:
        """Add a serializer, or replace the one of the same name."""
        _check(serializer)
        previous = self._by_name.get(serializer.name)
        if previous is not None:
            self._by_type = {key: one for key, one in self._by_type.items() if one is not previous}
        self._by_name[serializer.name] = serializer
        self._by_type.update(dict.fromkeys(serializer.types, serializer))
        self._found.clear()

    def for_type(self, cls: type) -> Serializer | None:
        """Return the serializer for objects of exactly this type, if one is registered."""
        try:
            return self._found[cls]
        except KeyError:
            self._found[cls] = found = self._look_up(cls)
            return found

    def named(self, name: str) -> Serializer:
        """Return the serializer that records call ``name``; installed ones are found by entry point."""
        if name not in self._by_name:
            for entry in entry_points(group=_ENTRY_POINTS, name=name):
                self.register(entry.load())
        if name not in self._by_name:
            known = ", ".join(sorted(map(repr, self._by_name))) or "none"
            raise MissingSerializer(
                f"saved with serializer {name!r}, registered are: {known}; "
                f"pass it to store.register_persistent_serializers(...) first"
            )
        return self._by_name[name]

    def _look_up(self, cls: type) -> Serializer | None:
        for base in cls.__mro__:
            serializer = self._by_type.get(base) or self._by_type.get(f"{base.__module__}.{base.__qualname__}")
            if serializer is not None and (base is cls or getattr(serializer, "subclasses", False)):
                return serializer
        return None


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
