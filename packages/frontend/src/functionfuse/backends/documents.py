"""Files of settings, in TOML or JSON, with the line of each key for error messages."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from functionfuse.errors import ProfileError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

Keys = tuple[str, ...]

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|\n')
_PART = r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)"""
_NAME = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*\[\s*({_NAME})\s*\]")
_KEY = re.compile(rf"\s*({_NAME})\s*=")
_PLACE = re.compile(r" \(at line (\d+), column (\d+)\)$")


class Document:
    """A file of settings.

    Args:
        path: of a file whose name ends with ``.toml`` or ``.json``.

    Attributes:
        data: what the file holds.
        path: of the file.

    Raises:
        ProfileError: there is no such file, it is neither TOML nor JSON, or is malformed; the message has the line.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            text = self.path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ProfileError(f"{self.path}: cannot be read: {error}") from None
        if self.path.suffix not in (".toml", ".json"):
            raise ProfileError(f"{self.path}: the name of a file of settings ends with .toml or .json")
        self._lines: dict[Keys, int] = {}
        if self.path.suffix == ".toml":
            self.data = self._toml(text)
            self._note(_toml_keys(text))
        else:
            self.data = self._json(text)
            self._note(_json_keys(text))
        if not isinstance(self.data, dict):
            raise self.error((), f"holds a {type(self.data).__name__}; a table is expected")

    def line_of(self, keys: Keys) -> int:
        """Return the line of a key, or of the table that holds it.

        Args:
            keys: the keys that lead to a value, from the outermost.
        """
        while keys and keys not in self._lines:
            keys = keys[:-1]
        return self._lines.get(keys, 1)

    def error(self, keys: Keys, problem: str) -> ProfileError:
        """Return the error of a value of the file.

        Args:
            keys: that lead to the value.
            problem: what is wrong with it.
        """
        return ProfileError(f"{self.path}:{self.line_of(keys)}: {_dotted(keys)}{problem}")

    def _toml(self, text: str) -> Any:
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            found = _PLACE.search(str(error))
            line, column = found.groups() if found else (str(text.count("\n") + 1), "1")
            problem = _PLACE.sub("", str(error)).removesuffix(" (at end of document)")
            raise ProfileError(f"{self.path}:{line}:{column}: this is no TOML: {problem}") from None

    def _json(self, text: str) -> Any:
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise ProfileError(f"{self.path}:{error.lineno}:{error.colno}: this is no JSON: {error.msg}") from None

    def _note(self, found: Iterator[tuple[Keys, int]]) -> None:
        for keys, line in found:
            first = self._lines.setdefault(keys, line)
            if first != line and self.path.suffix == ".json":
                raise ProfileError(f"{self.path}:{line}: {_dotted(keys)}stands in line {first} already")


def _toml_keys(text: str) -> Iterator[tuple[Keys, int]]:
    table: Keys = ()
    for number, line in enumerate(text.splitlines(), 1):
        header, key = _HEADER.match(line), _KEY.match(line)
        if header:
            table = _parts(header[1])
            yield table, number
        elif key:
            yield (*table, *_parts(key[1])), number


def _parts(name: str) -> Keys:
    """Return the parts of a dotted key of TOML."""
    nested = tomllib.loads(f"{name} = 0")
    parts: list[str] = []
    while isinstance(nested, dict):
        ((part, nested),) = nested.items()
        parts.append(part)
    return tuple(parts)


def _json_keys(text: str) -> Iterator[tuple[Keys, int]]:
    """Yield the keys of a valid JSON text, each with those of the objects around it; items of lists have none."""
    line = 1
    keys: list[str] = []  # of the objects that are open; "" for lists
    last = ""
    for part in _TOKEN.findall(text):
        if part == "\n":
            line += 1
        elif part in "{[":
            keys.append("")
        elif part in "}]":
            keys.pop()
        elif part == ":":
            keys[-1] = json.loads(last)
            yield tuple(keys), line
        elif part != ",":
            last = part


def _dotted(keys: Keys) -> str:
    shown = [key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False) for key in keys]
    return f"{'.'.join(shown)}: " if shown else ""
