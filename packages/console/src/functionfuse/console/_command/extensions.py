"""Verbs that other distributions add, by the entry points `functionfuse.commands`.

Such an entry point names a function that is called with the arguments behind the verb, as a list, and with the name of
the program for its messages. It returns the exit code.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Main = Callable[[list[str], str], int]

GROUP = "functionfuse.commands"


class Extension(NamedTuple):
    """A verb of another distribution.

    Attributes:
        distribution: its name.
        value: the module and name of the function.
    """

    distribution: str
    value: str

    def load(self) -> Main:
        """Import the function, and return it."""
        from importlib.metadata import EntryPoint  # which takes as long to import as all the rest

        function: Main = EntryPoint("", self.value, GROUP).load()
        return function


@cache
def extensions() -> dict[str, Extension]:
    """Return the verbs of other distributions by name, sorted.

    The files are read here, as importing importlib.metadata would double the time that the help takes.
    """
    found: dict[str, Extension] = {}
    for distribution, text in _entry_points():
        section = text.partition(f"[{GROUP}]")[2].partition("\n[")[0]
        for line in section.splitlines():
            name, equals, value = map(str.strip, line.partition("="))
            if equals:
                found.setdefault(name, Extension(distribution, value))
    return dict(sorted(found.items()))


def _entry_points() -> Iterator[tuple[str, str]]:
    """Yield the names of the distributions that declare verbs, each with the text of its entry points."""
    for folder in sys.path:
        with suppress(OSError), os.scandir(folder or ".") as entries:
            for entry in entries:
                if entry.name.endswith(".dist-info"):
                    text = _read(os.path.join(entry.path, "entry_points.txt"))  # noqa: PTH118  pathlib takes long to import
                    if f"[{GROUP}]" in text:
                        yield entry.name.partition("-")[0].replace("_", "-"), text


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""
