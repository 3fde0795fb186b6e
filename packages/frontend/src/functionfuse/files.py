"""Files and environment variables as arguments and results, which recipes count by what is in them."""

from __future__ import annotations

import os

from functionfuse._typing import Any
from functionfuse.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from functionfuse._content import Payload

_LARGE = 64 << 20  # bytes
secret_values: set[str] = set()
"""The values of variables that steps took, and whose names look secret: they are left out of messages."""


class File:
    """A file or folder, as an argument or a result: its content counts, and not where it is.

    A recipe counts the last part of the path and the content: of a folder, the names and contents of all that is in it.
    Symbolic links are followed. A file that changed, or is missing, makes what is made from it stale; so does one that
    a node returned. It is opened as any other path, `open(file)`, `pandas.read_csv(file)`, and `str(file)` is its path.

    Args:
        path: of the file or folder. A relative one counts from the present working directory.
        ship: whether the content travels along, in calls and in stored results, to workers that have other disks. It is
            held in memory, and written to a temporary folder where the path is not there.

    Raises:
        UsageError: the path is none.
    """

    __slots__ = ("_digest", "_path", "_payload", "_ship")

    _path: str
    _ship: bool
    _digest: str  # of the content that a recipe counted, or that was there when it was pickled; "" if neither was
    _payload: Payload | None  # the content that travelled along

    def __init__(self, path: str | os.PathLike[str], *, ship: bool = False) -> None:
        try:
            given = os.fspath(path)
        except TypeError:
            given = ""
        if not isinstance(given, str) or not given:
            raise UsageError(f"a File is made from the path of a file or folder, a text, got {path!r}")
        _fill(self, os.path.abspath(given), ship=bool(ship))  # noqa: PTH100  pathlib takes long to import

    @property
    def path(self) -> str:
        """The absolute path of where it was made."""
        return self._path

    @property
    def name(self) -> str:
        """The last part of the path, which recipes count."""
        return os.path.basename(self._path)  # noqa: PTH119

    @property
    def ship(self) -> bool:
        """Whether the content travels along."""
        return self._ship

    def content(self) -> str:
        """Return the digest of the content: as it is now, or of what travelled along.

        Raises:
            OSError: it cannot be read.
        """
        from functionfuse._content import content_of

        return content_of(self._path) if self._payload is None else self._digest

    def __fspath__(self) -> str:
        if self._payload is not None:
            return self._path if self._is_as_it_was() else self._copy()
        if self._digest and not os.path.exists(self._path):  # noqa: PTH110
            raise FileNotFoundError(
                2,
                f"{self!r} was here when it was passed on, and is not on this machine, or not any more; File(path, "
                "ship=True) takes the content along",
                self._path,
            )
        return self._path

    def _is_as_it_was(self) -> bool:
        from functionfuse._content import content_of

        try:
            return content_of(self._path) == self._digest
        except OSError:
            return False

    def _copy(self) -> str:
        from functionfuse._content import copy_of

        assert self._payload is not None
        return copy_of(self._payload, self.name, self._digest)

    def _counted(self, digest: str) -> File:
        """Return this file, with the digest that a recipe counts."""
        counted = object.__new__(File)
        _fill(counted, self._path, ship=self._ship, digest=digest, payload=self._payload)
        return counted

    def __reduce__(self) -> tuple[Any, ...]:
        from functionfuse._content import content_of, payload_of

        digest, payload = self._digest, self._payload
        try:
            if not self._ship:
                digest = content_of(self._path)
            elif payload is None:
                payload, digest = payload_of(self._path)
                self._warn_of_size(payload)
        except OSError as error:
            if self._ship:
                raise UsageError(f"{self!r} cannot be shipped: {error}") from None
        return _loaded, (self._path, self._ship, digest, payload)

    def __copy__(self) -> File:
        return self

    def __deepcopy__(self, memo: object) -> File:
        return self

    def _warn_of_size(self, payload: Payload) -> None:
        size = sum(len(data) for data in payload.values() if data is not None)
        if size > _LARGE:
            from functionfuse._warning import warn_user

            warn_user(
                f"{self!r} has {size >> 20} MiB, which are held in memory, and sent with each call that takes it; a "
                "path on a disk that all workers reach needs no ship=True"
            )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, File) and (self._path, self._ship) == (other._path, other._ship)

    def __hash__(self) -> int:
        return hash((self._path, self._ship))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a File cannot be changed; make another one to set {name!r}")

    def __str__(self) -> str:
        return self.__fspath__()

    def __repr__(self) -> str:
        return f"File({self._path!r}{', ship=True' if self._ship else ''})"


class Env(Any):  # type: ignore[misc]  # it goes wherever a text goes
    """The value of an environment variable, as an argument: the function gets the text that it has.

    The value counts that the variable has where the workflow is planned, on every engine, and recipes count it. As a
    global, a default or an attribute it stays an Env, with the value in `value`.

    Args:
        name: of the variable.
        default: the value where it is not set; without one, the node cannot run then.

    Raises:
        UsageError: the name or the default is no text.
    """

    __slots__ = ("_default", "_name", "_value")

    _name: str
    _default: str | None
    _value: str | None  # that it had where it was pickled

    def __init__(self, name: str, default: str | None = None) -> None:
        if not isinstance(name, str) or not name or {"=", "\0"} & set(name):
            raise UsageError(f"an Env is made from the name of an environment variable, got {name!r}")
        if not isinstance(default, str | None):
            raise UsageError(f"the default of Env({name!r}) is a text, as all environment variables, got {default!r}")
        _fill_env(self, name, default)

    @property
    def name(self) -> str:
        """The name of the variable."""
        return self._name

    @property
    def value(self) -> str:
        """The value of the variable.

        Raises:
            UsageError: it is not set, and there is no default.
        """
        value = os.environ.get(self._name, self._default) if self._value is None else self._value
        if value is None:
            raise UsageError(f"the environment variable {self._name} is not set, and {self!r} has no default")
        return value

    def __reduce__(self) -> tuple[Any, ...]:
        value = os.environ.get(self._name, self._default) if self._value is None else self._value
        return _loaded_env, (self._name, self._default, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Env) and (self._name, self._default) == (other._name, other._default)

    def __hash__(self) -> int:
        return hash((self._name, self._default))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an Env cannot be changed; make another one to set {name!r}")

    def __repr__(self) -> str:
        default = ""
        if self._default is not None:
            from functionfuse.backends.texts import HIDDEN, looks_secret

            default = f", {HIDDEN if looks_secret(self._name) else repr(self._default)}"
        return f"Env({self._name!r}{default})"


def _fill(file: File, path: str, *, ship: bool, digest: str = "", payload: Payload | None = None) -> None:
    for name, value in (("_path", path), ("_ship", ship), ("_digest", digest), ("_payload", payload)):
        object.__setattr__(file, name, value)


def _loaded(path: str, ship: bool, digest: str, payload: Payload | None) -> File:
    file = object.__new__(File)
    _fill(file, path, ship=ship, digest=digest, payload=payload)
    return file


def _fill_env(env: Env, name: str, default: str | None, value: str | None = None) -> None:
    for attribute, given in (("_name", name), ("_default", default), ("_value", value)):
        object.__setattr__(env, attribute, given)


def _loaded_env(name: str, default: str | None, value: str | None) -> Env:
    env = object.__new__(Env)
    _fill_env(env, name, default, value)
    return env
