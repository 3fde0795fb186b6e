"""The private sub-packages of the durable engine import each other in one direction."""

from __future__ import annotations

import ast
from pathlib import Path

from functionfuse.backends.addons import rayworkflow

ROOMS = ("_dag", "_records", "_worker", "_graph", "_controller")  # each imports those before it
ROOT = Path(rayworkflow.__file__).parent


def imports_of(room):
    """The names of the rooms that one imports, at any depth of its code, also for type checking only."""
    found = set()
    for file in (ROOT / room).glob("*.py"):
        nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        found |= {
            node.module.partition(".")[0] for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 2
        }
    return found & set(ROOMS)


def test_rooms_import_those_below_them_only():
    upwards = {room: found for index, room in enumerate(ROOMS) if (found := imports_of(room) - set(ROOMS[:index]))}
    assert upwards == {}


def test_every_room_but_the_lowest_imports_another_one():
    assert [room for room in ROOMS if not imports_of(room)] == ["_dag"]
